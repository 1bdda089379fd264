//! Mails of a service as they come out of a mail server: their links do what they say, and none is
//! lost while that server is down.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tonemill_ledger::deliveries::DeliveryState;
use tonemill_ledger::{Ledger, LedgerConfig};
use tonemill_testbed::mail::{Mail, MailSecurity, MailServer};

use crate::jobs::{assert_same, clip};
use crate::notifications::{deliveries, finish_a_job, told_by_mail};
use crate::separate::Separate;
use crate::service::Service;
use crate::size;
use crate::support::chaos::{is_full, report};
use crate::support::process::{program, start};

/// As unpleasant as a name may be that one can still read.
const HOSTILE: &str = "\"><img src=x onerror=alert(1)> {{ links }} Füße 日本.mp4";
/// Mails that are under way at a time, at most.
const AT_A_TIME: usize = 4;

/// Path and query of a link.
#[track_caller]
fn path<'a>(link: &'a str, service: &str) -> &'a str {
    link.strip_prefix(service).unwrap_or_else(|| panic!("{link} is not at {service}"))
}

fn unsubscribe(mail: &Mail) -> &str {
    assert_eq!(mail.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let link = mail.header("List-Unsubscribe").strip_prefix('<');
    link.and_then(|link| link.strip_suffix('>')).expect("a link")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_in_a_mail_do_what_they_say() {
    let mails = MailServer::start(MailSecurity::Plain);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (listen, url) = (free.to_string(), format!("http://{free}"));
    let smtp = format!("smtp://localhost:{}?tls=none", mails.port());
    let service = Service::with(&[
        "--listen",
        &listen,
        "--public-url",
        &url,
        "--smtp-url",
        &smtp,
        "--mail-from",
        "Tonemill <tonemill@example.org>",
    ]);
    let client = service.user("ada").await;
    let address = json!({"email": "ada@example.org"});
    client.patch("/v1/me").json(&address).send().await.expect(200);
    let name = utf8_percent_encode(HOSTILE, NON_ALPHANUMERIC);
    let job = client.submit(&clip(), &format!("file_name={name}")).await;
    client.finished(&job).await;
    let taken = mails.wait_for(1).await;
    let [mail] = &taken[..] else { panic!("{} mails", taken.len()) };
    assert_eq!((&mail.to[..], &mail.defects[..]), (&["ada@example.org".to_owned()][..], &[][..]));
    assert_eq!(mail.header("Subject"), format!("Your MP3 is ready: {HOSTILE}"));
    assert!(mail.text.contains(HOSTILE) && !mail.html.contains("<img"), "{}", mail.html);

    let link = mail.text.lines().find(|line| line.contains("/d/")).expect("a link");
    let nobody = service.nobody();
    let mp3 = nobody.get(path(link, &url)).send().await.expect(200);
    assert_same(&mp3.body, &client.output(&job).await.body);

    let link = path(unsubscribe(mail), &url);
    let form = nobody.post(link).header("content-type", "application/x-www-form-urlencoded");
    form.body("List-Unsubscribe=One-Click").send().await.expect(200);
    let next = client.submit(&clip(), "").await;
    client.finished(&next).await;
    let owed = client.get(format!("/v1/deliveries?job={next}")).send().await.expect(200).json();
    assert_eq!(owed["deliveries"], json!([]));
    assert_eq!(mails.mails().len(), 1);
}

#[test]
fn what_mails_need_is_asked_for_at_the_start() {
    let said = |command: &[&str], arguments: &[&str]| {
        let mut program = program();
        program.args(command).args(["--smtp-url", "smtp://mail.example.org"]).args(arguments);
        let ended = start(&mut program).finish(crate::PATIENCE);
        (ended.code, ended.stderr)
    };
    let (from, public) =
        (["--mail-from", "t@example.org"], ["--public-url", "https://t.example.org"]);
    let folder = tempfile::tempdir().unwrap();
    let serve = ["serve", "--data", folder.path().to_str().unwrap()];
    for command in [&["config", "check"][..], &serve[..]] {
        let (code, why) = said(command, &public);
        assert!(code == Some(2) && why.contains("--mail-from goes with --smtp-url"), "{why}");
        let (code, why) = said(command, &from);
        assert!(code == Some(2) && why.contains("--public-url goes with --smtp-url"), "{why}");
    }
    assert_eq!(said(&["config", "check"], &[from, public].concat()).0, Some(0));
    let (code, why) = said(&["notifier", "--database-url", "sqlite::memory:"], &public);
    assert!(code == Some(2) && why.contains("--mail-from"), "{why}");
    // Where no password is seen by others.
    let file = folder.path().join("settings.toml");
    let text = "database_url = 'sqlite::memory:'\nmail_from = 'nobody'\n";
    std::fs::write(&file, text).unwrap();
    let settings = ["--config", file.to_str().unwrap()];
    let (code, why) = said(&["notifier"], &[public, settings].concat());
    assert!(code == Some(2) && why.contains("nobody"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_is_down_loses_no_mail() {
    let mut mails = MailServer::start(MailSecurity::Plain);
    let mut all = Separate::without_processes(None);
    let ledger = Ledger::open(LedgerConfig::new(all.database.clone())).await.unwrap();
    let user = told_by_mail(&ledger, None).await;
    let smtp = format!("smtp://localhost:{}?tls=none", mails.port());
    let mut notifier = all.notifier(&[("TONEMILL_SMTP_URL", &smtp)]);
    let jobs = size(200, 20);
    for _ in 0..jobs / 2 {
        finish_a_job(&ledger, &user).await;
    }
    // In the middle of it.
    mails.wait_for(jobs / 4).await;
    mails.kill();
    let (killed, down) = (Instant::now(), Duration::from_secs(if is_full() { 60 } else { 3 }));
    for _ in jobs / 2..jobs {
        finish_a_job(&ledger, &user).await;
    }
    tokio::time::sleep(down.saturating_sub(killed.elapsed())).await;
    mails.restart();
    let back = Instant::now();
    let is_owed = |state| state == DeliveryState::Owed;
    while deliveries(&ledger).await.iter().any(|delivery| is_owed(delivery.state)) {
        // Who waits for as long again as it has waited comes within this.
        assert!(back.elapsed() < down * 2 + crate::PATIENCE, "{}", notifier.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = back.elapsed();
    for told in ["mails are sent", "not notified", "\"WARN\""] {
        assert!(notifier.log().contains(told), "{told}: {}", notifier.log());
    }
    notifier.drain().await;

    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for mail in mails.mails() {
        *times.entry(mail.header("Message-ID").to_owned()).or_default() += 1;
    }
    let deliveries = deliveries(&ledger).await;
    assert_eq!((deliveries.len(), times.len()), (jobs, jobs));
    for delivery in &deliveries {
        assert_eq!(delivery.state, DeliveryState::Delivered, "{delivery:?}");
        assert!(times.contains_key(&format!("<{}@localhost>", delivery.id)), "{delivery:?}");
    }
    // The server died before it could say that it had taken them.
    let twice = times.values().filter(|times| **times == 2).count();
    assert!(twice <= AT_A_TIME && times.values().all(|times| *times <= 2), "{times:?}");
    report(
        23,
        &format!(
            "{jobs} mails, their server down for {} s: all sent {:.1} s after it was back, \
             {twice} twice",
            down.as_secs(),
            took.as_secs_f64()
        ),
    );
}
