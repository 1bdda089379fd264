//! `tonemill admin doctor`: what it finds where all is well, and where something is not; and that
//! it leaves what it looks at as it is.

use serde_json::Value;
use tonemill_testbed::mail::{MailSecurity, MailServer};
use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::redis_fleet::RedisCluster;
use tonemill_testbed::tls::Authority;

use crate::PATIENCE;
use crate::ledger::Ledger;
use crate::separate::{NOWHERE, Separate};
use crate::service::Service;
use crate::support::process::{Finished, program, start};

/// Asks it about everything; its exit code and what it found.
async fn ask(all: &Separate, variables: &[(&str, &str)]) -> (i32, Vec<Value>) {
    ask_at(all, variables, true).await
}

/// The same; with the bucket, or with the store that `variables` name.
async fn ask_at(all: &Separate, variables: &[(&str, &str)], in_bucket: bool) -> (i32, Vec<Value>) {
    let data = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["admin", "doctor", "--json"]).env("TONEMILL_REDIS_URL", all.redis.url());
    command.env("TONEMILL_DATABASE_URL", &all.database);
    if in_bucket {
        command.envs(all.s3.variables());
    }
    command.env("TONEMILL_DATA", data.path()).envs(variables.iter().copied());
    let run = move || start(&mut command).finish(PATIENCE);
    let finished = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "it made something");
    (finished.code.unwrap_or_else(|| panic!("{finished:?}")), findings(&finished))
}

fn findings(finished: &Finished) -> Vec<Value> {
    let wrong = |error| panic!("{error}: {}", finished.stderr);
    serde_json::from_slice(&finished.stdout).unwrap_or_else(wrong)
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

/// What it says about something.
fn says<'a>(findings: &'a [Value], about: &str) -> &'a str {
    let finding = findings.iter().find(|finding| finding["about"] == about);
    finding.unwrap_or_else(|| panic!("{about}: {findings:#?}"))["says"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_is_well_there_is_nothing_to_do() {
    let all = Separate::start(None, 1, 0);
    let (mail, https) = (MailServer::start(MailSecurity::Tls), Authority::new());
    let url =
        format!("smtps://tone%3Amill%40example.org:p%40ss%2Fw%C3%B6rd@localhost:{}", mail.port());
    let files = [mail.authority().ca_file(), https.certificate_file(), https.key_file()];
    let [ca_file, certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let variables = [
        ("TONEMILL_SMTP_URL", url.as_str()),
        ("TONEMILL_SMTP_CA_FILE", ca_file),
        ("TONEMILL_MAIL_FROM", "tonemill@example.org"),
        ("TONEMILL_PUBLIC_URL", "https://tonemill.example.org"),
        ("TONEMILL_TLS_CERT", certificate),
        ("TONEMILL_TLS_KEY", key),
    ];
    let (code, findings) = ask(&all, &variables).await;
    assert_eq!((code, troubles(&findings)), (0, Vec::new()), "{findings:#?}");
    for about in ["ffmpeg", "lame", "disk", "limits", "redis", "ledger", "store", "mail"] {
        says(&findings, about);
    }
    assert!(says(&findings, "ledger").starts_with("SQLite 3."), "{findings:#?}");
    assert!(says(&findings, "certificate").contains("4096-01-01"), "{findings:#?}");
    assert_eq!(mail.mails().len(), 0);

    let wrong = url.replace("p%40ss", "wrong");
    let wrong = [("TONEMILL_SMTP_URL", wrong.as_str()), ("TONEMILL_TLS_KEY", certificate)];
    let (code, findings) = ask(&all, &[&variables[1..], &wrong].concat()).await;
    let due = vec!["mail: bad".to_owned(), "certificate: bad".to_owned()];
    assert_eq!((code, troubles(&findings)), (1, due), "{findings:#?}");
    let (code, findings) = ask(&all, &[]).await;
    assert_eq!((code, troubles(&findings)), (0, vec!["mail: warning".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_well_is_found() {
    let all = Separate::start(None, 1, 0);
    let no_mail = "mail: warning".to_owned();
    let wrong = [("TONEMILL_S3_SECRET_ACCESS_KEY", "wrong")];
    let (code, findings) = ask(&all, &wrong).await;
    assert_eq!((code, troubles(&findings)), (1, vec!["store: bad".to_owned(), no_mail.clone()]));

    let other = Separate::start(None, 1, 0);
    let others = other.s3.variables();
    let others: Vec<(&str, &str)> =
        others.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (code, findings) = ask(&all, &others).await;
    assert_eq!((code, troubles(&findings)), (1, vec!["store: bad".to_owned(), no_mail]));
    assert_eq!(says(&findings, "store"), "the store belongs to another ledger");

    let texts = tempfile::tempdir().unwrap();
    std::fs::write(texts.path().join("job.failed.txt"), "{{ job.").unwrap();
    let new = texts.path().join("not-yet");
    let variables = [
        ("TONEMILL_MAIL_TEMPLATES", texts.path().to_str().unwrap()),
        ("TONEMILL_FOLDER", new.to_str().unwrap()),
    ];
    let (code, findings) = ask_at(&all, &variables, false).await;
    let due = ["store: warning", "mail: bad"].map(str::to_owned).to_vec();
    assert_eq!((code, troubles(&findings)), (1, due), "{findings:#?}");
    assert!(says(&findings, "mail").contains("job.failed.txt") && !new.exists(), "{findings:#?}");

    let (redis, mail) = (format!("redis://{NOWHERE}"), format!("smtp://{NOWHERE}?tls=none"));
    let nowhere = [
        ("TONEMILL_REDIS_URL", redis.as_str()),
        ("TONEMILL_DATABASE_URL", "sqlite:/nowhere/ledger.db"),
        ("TONEMILL_SMTP_URL", mail.as_str()),
    ];
    let (code, findings) = ask(&all, &nowhere).await;
    let due = ["redis: bad", "ledger: bad", "mail: bad"].map(str::to_owned).to_vec();
    assert_eq!((code, troubles(&findings)), (1, due), "{findings:#?}");
}

/// Each of them answers, but for the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_carry_jobs_or_may_lose_them_is_found() {
    let all = Separate::start(None, 1, 0);
    let port = all.redis.port().to_string();
    let everything = ["--user", "default", "on", "nopass", "~*", "&*", "+@all"];
    let user = |but: &[&'static str]| [&everything, but].concat();
    for (options, due) in [
        (&["--replicaof", "127.0.0.1", &port][..], &["bad", "bad"][..]),
        (&user(&["-eval", "-evalsha"]), &["bad"]),
        (&user(&["-info"]), &["warning"]),
        (&["--appendonly", "no"], &["warning"]),
        (&["--appendfsync", "no"], &["warning"]),
        (&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"], &["bad"]),
        (&["--maxmemory", "200kb"], &["bad", "warning"]),
    ] {
        let server = RedisServer::start_with(options);
        let (code, findings) = ask(&all, &[("TONEMILL_REDIS_URL", &server.url())]).await;
        let due = due.iter().map(|verdict| format!("redis: {verdict}"));
        let due: Vec<String> = due.chain(["mail: warning".to_owned()]).collect();
        assert_eq!(troubles(&findings), due, "{options:?}: {findings:#?}");
        assert_eq!(code, i32::from(due[0] == "redis: bad"), "{options:?}");
    }
    let cluster = RedisCluster::start();
    let dead = format!("redis+cluster://{NOWHERE}");
    for (url, code) in [(cluster.url(), 0), (dead, 1)] {
        let (ended, findings) = ask(&all, &[("TONEMILL_REDIS_URL", &url)]).await;
        assert_eq!(ended, code, "{url}: {findings:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_not_there_is_not_made() {
    let all = Separate::without_processes(None);
    let file = all.database.trim_start_matches("sqlite://").trim_end_matches("?mode=rwc");
    for _ in 0..2 {
        let (code, findings) = ask(&all, &[]).await;
        let due = vec!["ledger: bad".to_owned(), "mail: warning".to_owned()];
        assert_eq!((code, troubles(&findings)), (1, due), "{findings:#?}");
        assert!(!std::fs::exists(file).unwrap());
    }
}

/// Neither marks nor tables are made or changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_lacks_something_goes_on_lacking_it() {
    let mut service = Service::embedded();
    // While it runs, it marks what lacks a mark.
    service.process.drain().await;
    let mark = service.data().join("objects/tonemill-ledger");
    std::fs::remove_file(&mark).expect("the store was marked");
    let mut ledger = Ledger::of(&service).await;
    let mut ask = async |statement: &'static str| {
        ledger.change(statement, &[]).await;
        let before = ledger.texts("SELECT CAST(version AS TEXT) FROM _sqlx_migrations").await;
        let found = findings(&service.operate(&["doctor", "--json"]).await);
        let after = ledger.texts("SELECT CAST(version AS TEXT) FROM _sqlx_migrations").await;
        assert_eq!(before, after, "{statement}");
        assert!(!mark.exists(), "it marked the store");
        found
    };
    let found = ask("UPDATE _sqlx_migrations SET version = 1000 WHERE version = 3").await;
    assert_eq!(troubles(&found)[..2], ["ledger: warning", "ledger: warning"], "{found:#?}");
    assert!(says(&found, "ledger").contains("newer than this program"), "{found:#?}");

    let found = ask("UPDATE _sqlx_migrations SET version = 3 WHERE version = 1000").await;
    assert_eq!(troubles(&found), ["mail: warning"], "{found:#?}");
    let of_store = found.iter().filter(|finding| finding["about"] == "store");
    let of_store: Vec<String> = of_store.map(|finding| finding["says"].to_string()).collect();
    assert!(of_store.iter().any(|says| says.contains("nobody's yet")), "{of_store:?}");

    let found = ask("DELETE FROM _sqlx_migrations WHERE version = 3").await;
    assert_eq!(troubles(&found), ["ledger: warning", "mail: warning"], "{found:#?}");
    assert!(says(&found, "ledger").contains("missing"), "{found:#?}");
}
