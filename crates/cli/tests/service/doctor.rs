//! `tonemill admin doctor`: what it finds where all is well, and where something is not.

use std::process::Output;

use serde_json::Value;
use tonemill_testbed::mail::{MailSecurity, MailServer};
use tonemill_testbed::redis::RedisServer;

use crate::separate::Separate;
use crate::support::process::program;

/// Asks it about everything; its exit code and what it found, by what about.
async fn ask(all: &Separate, variables: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let mut command = program();
    command.args(["admin", "doctor", "--json"]).env("TONEMILL_REDIS_URL", all.redis.url());
    command.envs(all.s3.variables()).env("TONEMILL_DATABASE_URL", &all.database);
    command.envs(variables.iter().copied());
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
    (status.code().expect("an exit code"), findings)
}

/// What it found that is not well, as `about: verdict`; each comes with advice.
fn troubles(findings: &[Value]) -> Vec<String> {
    let troubles = findings.iter().filter(|finding| finding["verdict"] != "ok");
    let text = |finding: &Value| {
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
        let word = |name: &str| finding[name].as_str().unwrap().to_owned();
        format!("{}: {}", word("about"), word("verdict"))
    };
    // These are the machine's that the tests run on.
    let of_machine =
        |text: &String| !["disk", "limits", "lame"].contains(&text.split(':').next().unwrap());
    troubles.map(text).filter(of_machine).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_is_well_there_is_nothing_to_do() {
    let all = Separate::start(None, 1, 0);
    let mail = MailServer::start(MailSecurity::Tls);
    let url =
        format!("smtps://tone%3Amill%40example.org:p%40ss%2Fw%C3%B6rd@localhost:{}", mail.port());
    let ca_file = mail.authority().ca_file();
    let variables = [
        ("TONEMILL_SMTP_URL", url.as_str()),
        ("TONEMILL_SMTP_CA_FILE", ca_file.to_str().unwrap()),
        ("TONEMILL_MAIL_FROM", "tonemill@example.org"),
        ("TONEMILL_PUBLIC_URL", "https://tonemill.example.org"),
    ];
    let (code, findings) = ask(&all, &variables).await;
    assert_eq!((code, troubles(&findings)), (0, Vec::new()), "{findings:#?}");
    for about in ["ffmpeg", "lame", "redis", "ledger", "store", "mail"] {
        assert!(findings.iter().any(|finding| finding["about"] == about), "{about}: {findings:#?}");
    }
    assert_eq!(mail.mails().len(), 0);

    let wrong = url.replace("p%40ss", "wrong");
    let (code, findings) =
        ask(&all, &[&variables[1..], &[("TONEMILL_SMTP_URL", wrong.as_str())]].concat()).await;
    assert_eq!((code, troubles(&findings)), (1, vec!["mail: bad".to_owned()]), "{findings:#?}");
    let (code, findings) = ask(&all, &[]).await;
    assert_eq!((code, troubles(&findings)), (0, vec!["mail: warning".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_well_is_found() {
    let mut all = Separate::start(None, 1, 0);
    let no_mail = "mail: warning".to_owned();
    let wrong = [("TONEMILL_S3_SECRET_ACCESS_KEY", "wrong")];
    let (code, findings) = ask(&all, &wrong).await;
    assert_eq!((code, troubles(&findings)), (1, vec!["store: bad".to_owned(), no_mail.clone()]));

    let other = Separate::start(None, 1, 0);
    let others = other.s3.variables();
    let others: Vec<(&str, &str)> =
        others.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (code, findings) = ask(&all, &others).await;
    assert_eq!((code, troubles(&findings)), (1, vec!["store: bad".to_owned(), no_mail.clone()]));
    assert!(
        findings.iter().any(|finding| finding["says"] == "the store belongs to another ledger")
    );

    let forgetful =
        ["--appendonly", "no", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    all.redis = RedisServer::start_with(&forgetful);
    let (code, findings) = ask(&all, &[]).await;
    let due = vec!["redis: bad".to_owned(), "redis: warning".to_owned(), no_mail];
    assert_eq!((code, troubles(&findings)), (1, due));

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("redis://{nobody}");
    let nowhere = [
        ("TONEMILL_REDIS_URL", url.as_str()),
        ("TONEMILL_DATABASE_URL", "sqlite:/nowhere/ledger.db"),
    ];
    let (code, findings) = ask(&all, &nowhere).await;
    assert_eq!(
        (code, troubles(&findings)),
        (1, vec!["redis: bad".to_owned(), "ledger: bad".to_owned()])
    );
}
