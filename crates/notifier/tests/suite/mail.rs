//! Mails as they come out at the other end.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::tempdir;
use tonemill_job::chain;
use tonemill_ledger::deliveries::DeliveryState;
use tonemill_notifier::mail::{Outbox, SmtpConfig, SmtpSecurity};
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};
use tonemill_testbed::mail::{Mail, MailSecurity, MailServer};

use crate::bed::Bed;
use crate::courier::{Working, config, delivery, finished_job, must_fail, over, to_server, user};

/// As unpleasant as the ledger keeps it.
const HOSTILE: &str = "\"><script>alert(1)</script>\r\nBcc: eve@example.org\r\n\r\n\u{202e}3pm. {{ links }} Füße 日本.mp4";

#[tokio::test]
async fn mails_read_as_they_should_by_tls_and_by_starttls() {
    for security in [MailSecurity::StartTls, MailSecurity::Tls] {
        let (bed, server) = (Bed::sqlite().await, MailServer::start(security));
        let ada = user(&bed, "ada").await;
        let job = finished_job(&bed, &ada, HOSTILE).await;
        let _courier = Working::start(&bed, to_server(&server, security)).await;
        let delivery = over(&bed, job).await;
        assert_eq!(delivery.state, DeliveryState::Delivered, "{delivery:?}");
        let mails = server.wait_for(1).await;
        let [mail] = &mails[..] else { panic!("{} mails", mails.len()) };
        assert!(mail.is_tls && mail.is_authenticated);
        assert_eq!(mail.to, ["ada@example.org"]);
        assert_eq!(mail.defects, [""; 0]);
        assert_eq!(mail.parts, ["multipart/alternative", "text/plain", "text/html"]);
        headers_are_right(mail, &delivery.id.to_string());
        text_is_harmless(mail);
        links_are_right(mail, &job.to_string(), &ada.id.to_string());
    }
}

fn headers_are_right(mail: &Mail, delivery: &str) {
    assert_eq!(mail.header("From"), "Tone Mill <tonemill@example.org>");
    assert_eq!(mail.header("To"), "ada@example.org");
    assert_eq!(mail.header("Message-ID"), format!("<{delivery}@example.org>"));
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(mail.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let subject = mail.header("Subject");
    assert!(subject.starts_with("Your MP3 is ready: \"><script>"), "{subject}");
    assert!(subject.ends_with("{{ links }} Füße 日本.mp4"), "{subject}");
    assert!(!mail.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("bcc")));
    assert!(!mail.header("Date").is_empty());
}

fn text_is_harmless(mail: &Mail) {
    for text in [&mail.text, &mail.html, &mail.header("Subject").to_owned()] {
        assert!(!text.contains('\u{202e}'), "{text}");
        assert!(text.contains("Füße 日本.mp4"), "{text}");
        assert!(text.contains("{{ links }}"), "it is no template: {text}");
    }
    assert!(mail.text.contains("\"><script>"), "{}", mail.text);
    assert!(!mail.html.contains("<script"), "{}", mail.html);
    assert!(mail.html.contains("&lt;script&gt;"), "{}", mail.html);
    assert!(!mail.text.lines().any(|line| line.starts_with("Bcc")), "{}", mail.text);
    assert!(mail.text.contains("Hello ada,"), "{}", mail.text);
}

fn links_are_right(mail: &Mail, job: &str, user: &str) {
    let start = format!("https://tonemill.example.org/in/here/d/{job}?expires=");
    let link = mail.text.lines().find(|line| line.starts_with(&start)).expect("a link");
    let html = mail.html.replace("&#x2f;", "/").replace("&amp;", "&");
    assert!(html.contains(&format!("href=\"{link}\"")), "{html}");
    let unsubscribe = mail.header("List-Unsubscribe");
    let unsubscribe = unsubscribe.strip_prefix('<').and_then(|url| url.strip_suffix('>'));
    let unsubscribe = unsubscribe.expect("an address");
    let start = format!("https://tonemill.example.org/in/here/unsubscribe?user={user}&mac=");
    assert!(unsubscribe.starts_with(&start), "{unsubscribe}");
    assert!(mail.text.contains(unsubscribe), "{}", mail.text);
}

#[tokio::test]
async fn a_server_that_is_down_delays_mails_and_loses_none() {
    let (bed, mut server) = (Bed::sqlite().await, MailServer::start(MailSecurity::Tls));
    let ada = user(&bed, "ada").await;
    let _courier = Working::start(&bed, to_server(&server, MailSecurity::Tls)).await;
    // With a connection in the pool that will be dead.
    over(&bed, finished_job(&bed, &ada, "first.mp4").await).await;
    server.kill();
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(finished_job(&bed, &ada, &format!("{number}.mp4")).await);
    }
    for job in &jobs {
        let tried = delivery(&bed, *job, |delivery| delivery.attempts >= 3).await;
        assert_eq!(tried.state, DeliveryState::Owed, "{tried:?}");
    }
    server.restart();
    let mails = server.wait_for(1 + jobs.len()).await;
    for job in jobs {
        let delivery = over(&bed, job).await;
        assert_eq!(delivery.state, DeliveryState::Delivered);
        let id = format!("<{}@example.org>", delivery.id);
        assert_eq!(mails.iter().filter(|mail| mail.header("Message-ID") == id).count(), 1);
    }
}

#[tokio::test]
async fn one_address_that_is_refused_or_slow_holds_up_no_other() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::StartTls));
    let mut jobs = Vec::new();
    for name in ["slow", "refused", "busy", "ok"] {
        let user = user(&bed, name).await;
        jobs.push(finished_job(&bed, &user, "a.mp4").await);
    }
    let _courier = Working::start(&bed, to_server(&server, MailSecurity::StartTls)).await;
    let [slow, refused, busy, ok] = jobs[..] else { panic!() };
    let refused = over(&bed, refused).await;
    assert_eq!((refused.state, refused.attempts), (DeliveryState::Dead, 1));
    assert!(refused.answer.unwrap().contains("nobody of that name"));
    let busy = over(&bed, busy).await;
    assert_eq!((busy.state, busy.attempts), (DeliveryState::Delivered, 2));
    assert_eq!(over(&bed, ok).await.attempts, 1);
    assert_eq!(over(&bed, slow).await.state, DeliveryState::Delivered);
    let order: Vec<String> = server.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(order.last().unwrap(), "slow@example.org", "{order:?}");
}

#[tokio::test]
async fn who_gets_many_mails_leaves_room_for_others() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::Plain));
    let (slow, ok) = (user(&bed, "slow").await, user(&bed, "ok").await);
    let mut many = Vec::new();
    for _ in 0..6 {
        many.push(finished_job(&bed, &slow, "a.mp4").await);
    }
    let one = finished_job(&bed, &ok, "a.mp4").await;
    let _courier = Working::start(&bed, to_server(&server, MailSecurity::Plain)).await;
    over(&bed, one).await;
    let mut under_way = 0;
    for job in many {
        let delivery = bed.owed(job).await.remove(0);
        under_way += usize::from(delivery.attempts > 0 && delivery.state == DeliveryState::Owed);
    }
    assert!(under_way <= 2, "{under_way} mails at once to one user");
}

#[tokio::test]
async fn what_is_wrong_with_us_is_no_reason_to_give_a_mail_up() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::StartTls));
    let ada = user(&bed, "ada").await;
    let right = || to_server(&server, MailSecurity::StartTls);
    let with = |change: fn(&mut SmtpConfig)| {
        let mut config = right();
        if let Outbox::Smtp(smtp) = &mut config.mail.outbox {
            change(smtp);
        }
        config
    };
    let wrong_password = with(|smtp| {
        smtp.credentials = Some(("tonemill".to_owned(), "wrong".to_owned()));
    });
    let no_trust = with(|smtp| smtp.ca_file = None);
    let in_the_clear = with(|smtp| {
        (smtp.security, smtp.credentials) = (SmtpSecurity::Plain, None);
    });
    let no_tls = with(|smtp| smtp.security = SmtpSecurity::Tls);
    let mut nobody = right();
    nobody.mail.from = "nobody@example.org".parse().unwrap();
    for (config, why) in [
        (wrong_password, "535"),
        (no_trust, "certificate"),
        (in_the_clear, "530"),
        (no_tls, "the TLS handshake"),
        (nobody, "553"),
    ] {
        let job = finished_job(&bed, &ada, "a.mp4").await;
        let courier = Working::start(&bed, config).await;
        let tried = delivery(&bed, job, |delivery| delivery.attempts >= 2).await;
        assert_eq!(tried.state, DeliveryState::Owed);
        let answer = tried.answer.unwrap();
        assert!(answer.contains(why), "{answer}");
        courier.end().await;
    }
    let _courier = Working::start(&bed, right()).await;
    server.wait_for(5).await;
}

/// What a server says late is about the mail that it took late, and about none after it.
#[tokio::test]
async fn a_mail_that_times_out_harms_no_other() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::StartTls));
    let mut config = to_server(&server, MailSecurity::StartTls);
    if let Outbox::Smtp(smtp) = &mut config.mail.outbox {
        smtp.patience = Duration::from_secs(1);
    }
    config.schedule.first = Duration::from_secs(3);
    let _courier = Working::start(&bed, config).await;
    let (held, unwanted) = (user(&bed, "held").await, user(&bed, "unwanted").await);
    let held = finished_job(&bed, &held, "a.mp4").await;
    let tried = delivery(&bed, held, |delivery| delivery.answer.is_some()).await;
    assert_eq!(tried.answer.as_deref(), Some("no end within 1 s"));
    assert_eq!(server.mails().len(), 1, "it is taken, and nobody knows");
    let ok = user(&bed, "ok").await;
    for _ in 0..2 {
        let refused = over(&bed, finished_job(&bed, &unwanted, "a.mp4").await).await;
        assert_eq!((refused.state, refused.attempts), (DeliveryState::Dead, 1));
        assert!(refused.answer.as_deref().unwrap().contains("nobody wants that"), "{refused:?}");
        let taken = over(&bed, finished_job(&bed, &ok, "a.mp4").await).await;
        assert_eq!((taken.state, taken.attempts), (DeliveryState::Delivered, 1));
        assert_eq!(taken.answer.as_deref(), Some("250"));
        let id = format!("<{}@example.org>", taken.id);
        let mails = server.mails();
        assert!(mails.iter().any(|mail| mail.header("Message-ID") == id), "{id} did not come");
    }
    let held = over(&bed, held).await;
    assert_eq!((held.state, held.attempts), (DeliveryState::Delivered, 2));
}

/// Mails go over the connections of those before, and a refusal ends none.
#[tokio::test]
async fn connections_are_used_again() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::Plain));
    let proxy = FaultProxy::tcp(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let mut config = to_server(&server, MailSecurity::Plain);
    if let Outbox::Smtp(smtp) = &mut config.mail.outbox {
        (smtp.host, smtp.port) = ("127.0.0.1".to_owned(), proxy.address().port());
    }
    let connections = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&connections);
    proxy.guard(move |passing| {
        seen.lock().unwrap().insert(passing.number);
        Fault::None
    });
    let _courier = Working::start(&bed, config).await;
    let (ok, refused) = (user(&bed, "ok").await, user(&bed, "refused").await);
    for _ in 0..3 {
        for (user, state) in [(&ok, DeliveryState::Delivered), (&refused, DeliveryState::Dead)] {
            assert_eq!(over(&bed, finished_job(&bed, user, "a.mp4").await).await.state, state);
        }
    }
    assert_eq!(connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn without_a_server_mails_are_files() {
    let (bed, folder) = (Bed::sqlite().await, tempdir().unwrap());
    let ada = user(&bed, "ada").await;
    let job = finished_job(&bed, &ada, "a.mp4").await;
    let mails = folder.path().join("new").join("mail");
    let _courier = Working::start(&bed, config(mails.clone())).await;
    let delivery = over(&bed, job).await;
    let text = fs::read_to_string(mails.join(format!("{}.eml", delivery.id))).unwrap();
    assert!(text.contains("Subject: Your MP3 is ready: a.mp4\r\n"), "{text}");
    assert_eq!(fs::read_dir(&mails).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn operators_have_their_own_words() {
    let (bed, folder) = (Bed::sqlite().await, tempdir().unwrap());
    let (mails, templates) = (folder.path().join("mail"), folder.path().join("templates"));
    let with = || {
        let mut config = config(mails.clone());
        config.mail.templates = Some(templates.clone());
        config
    };
    let error = chain(&must_fail(&bed, with()).await);
    assert!(error.starts_with(&format!("cannot use {}", templates.display())), "{error}");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("README.md"), "ours").unwrap();
    let slip = templates.join("job.finish.html");
    fs::write(&slip, "never used").unwrap();
    let error = chain(&must_fail(&bed, with()).await);
    assert!(error.starts_with(&format!("cannot use {}", slip.display())), "{error}");
    fs::remove_file(&slip).unwrap();
    let file = templates.join("job.finished.html");
    for (text, why) in [
        ("{% if %}", "syntax error"),
        ("{{ job.output.bytes | nonsense }}", "unknown filter"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}", "fuel"),
        ("{{ nobody.knows }}", "undefined"),
        ("{{ job.failure.message }}", "undefined"),
        ("{% if not job.label %}{{ job.nothing.at_all }}{% endif %}", "undefined"),
    ] {
        fs::write(&file, text).unwrap();
        let error = chain(&must_fail(&bed, with()).await);
        assert!(error.starts_with("the mail template job.finished.html"), "{error}");
        assert!(error.contains(why), "{error}");
    }
    fs::write(
        &file,
        "{% extends 'layout.html' %}{% block body %}Aye: {{ job.file_name }}{% endblock %}",
    )
    .unwrap();
    fs::write(templates.join("job.finished.subject.txt"), "Two\r\nlines, {{ job.file_name }}\n")
        .unwrap();
    let ada = user(&bed, "ada").await;
    let job = finished_job(&bed, &ada, "<b>.mp4").await;
    let _courier = Working::start(&bed, with()).await;
    let delivery = over(&bed, job).await;
    let text = fs::read_to_string(mails.join(format!("{}.eml", delivery.id))).unwrap();
    assert!(text.contains("Subject: Two lines, <b>.mp4\r\n"), "{text}");
    assert!(text.contains("Aye: &lt;b&gt;.mp4"), "{text}");
}

#[tokio::test]
async fn a_mail_that_nobody_takes_is_given_up_in_time() {
    let (bed, mut server) = (Bed::sqlite().await, MailServer::start(MailSecurity::Plain));
    server.kill();
    let ada = user(&bed, "ada").await;
    let job = finished_job(&bed, &ada, "a.mp4").await;
    let mut config = to_server(&server, MailSecurity::Plain);
    config.schedule.give_up_after = Duration::from_secs(1);
    let _courier = Working::start(&bed, config).await;
    let dead = over(&bed, job).await;
    assert_eq!(dead.state, DeliveryState::Dead);
    assert!(dead.attempts > 2, "{dead:?}");
    assert!((1_000..20_000).contains(&(dead.ended_ms.unwrap() - dead.created_ms)), "{dead:?}");
}
