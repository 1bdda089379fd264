//! Mail servers that answer as no server should.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonemill_job::chain;
use tonemill_ledger::deliveries::{Delivery, DeliveryState};
use tonemill_notifier::mail::{LONGEST_MAIL, Outbox, SmtpConfig, SmtpSecurity};
use tonemill_testbed::mail::{MailSecurity, MailServer};

use crate::bed::Bed;
use crate::courier::{Working, config, delivery, finished_job, must_fail, over, to_server, user};

/// What is said to commands that begin so, and to a mail's end as to a command `.`; first to nothing.
type Script = Vec<(&'static str, Vec<u8>)>;

fn script<const N: usize>(rules: [(&'static str, impl Into<Vec<u8>>); N]) -> Script {
    rules.map(|(command, answer)| (command, answer.into())).into()
}

fn polite() -> Script {
    script([
        ("", "220 here\r\n"),
        ("EHLO", "250-here\r\n250 8BITMIME\r\n"),
        ("MAIL", "250 ok\r\n"),
        ("RCPT", "250 ok\r\n"),
        ("DATA", "354 go on\r\n"),
        (".", "250 taken\r\n"),
        ("RSET", "250 ok\r\n"),
        ("NOOP", "250 ok\r\n"),
    ])
}

/// A server that says what it is told to, and else is polite.
struct Impolite {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Impolite {
    async fn start(mut script: Script) -> Self {
        script.extend(polite());
        let script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                // A client that goes away is its own affair.
                tokio::spawn(async move { answer(stream, &script, &kept).await });
            }
        });
        Self { port, heard, task }
    }

    fn config(&self, security: SmtpSecurity) -> tonemill_notifier::NotifierConfig {
        let mut config = config(std::path::PathBuf::new());
        config.mail.outbox = Outbox::Smtp(SmtpConfig {
            host: "localhost".to_owned(),
            port: self.port,
            security,
            credentials: None,
            ca_file: None,
            patience: LONGEST_MAIL,
        });
        config
    }
}

impl Drop for Impolite {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    stream: TcpStream,
    script: &Script,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut is_mail) = (String::new(), false);
    loop {
        let command = if is_mail { line.strip_suffix("\r\n") == Some(".") } else { true };
        if command {
            is_mail = line.starts_with("DATA");
            let rule = script.iter().find(|(begins, _)| match *begins {
                "" => line.is_empty(),
                begins => line.starts_with(begins),
            });
            stream.write_all(rule.map_or(b"500 what?\r\n", |(_, answer)| answer)).await?;
            heard.lock().unwrap().push(line.clone());
        }
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
}

/// What becomes of a mail that goes to such a server, as soon as that is known.
async fn told(script: Script, security: SmtpSecurity) -> (Delivery, Vec<String>) {
    let (bed, server) = (Bed::sqlite().await, Impolite::start(script).await);
    let ada = user(&bed, "ada").await;
    let job = finished_job(&bed, &ada, "a.mp4").await;
    let _courier = Working::start(&bed, server.config(security)).await;
    let delivery = delivery(&bed, job, |delivery| delivery.answer.is_some()).await;
    let heard = server.heard.lock().unwrap().clone();
    (delivery, heard)
}

#[tokio::test]
async fn a_refusal_counts_in_whatever_letters() {
    let latin1 = b"550-5.1.1 Empf\xE4nger\r\n550 5.1.1 \x1B[2Junbekannt\r\n";
    let (refused, _) = told(script([("RCPT", latin1)]), SmtpSecurity::Plain).await;
    assert_eq!((refused.state, refused.attempts), (DeliveryState::Dead, 1));
    let answer = refused.answer.unwrap();
    assert!(answer.contains("Empf?nger") && answer.contains("?[2Junbekannt"), "{answer}");
}

#[tokio::test]
async fn a_mail_that_was_taken_with_many_words_was_taken() {
    let wordy = [b"250 ".repeat(750), b"\r\n".to_vec()].concat();
    let (taken, _) = told(script([(".", wordy)]), SmtpSecurity::Plain).await;
    assert_eq!((taken.state, taken.attempts), (DeliveryState::Delivered, 1));
    // A code is an answer.
    let (taken, _) = told(script([(".", "250\r\n")]), SmtpSecurity::Plain).await;
    assert_eq!((taken.state, taken.attempts), (DeliveryState::Delivered, 1));
}

#[tokio::test]
async fn answers_without_end_are_not_waited_for() {
    let (line, _) = told(script([("", b"2".repeat(100_000))]), SmtpSecurity::Plain).await;
    let answer = line.answer.unwrap();
    assert!(answer.ends_with("the server sends a line without end"), "{answer}");
    let endless = script([("EHLO", b"250-and\r\n".repeat(1000))]);
    let (lines, _) = told(endless, SmtpSecurity::Plain).await;
    let answer = lines.answer.unwrap();
    assert!(answer.ends_with("the server sends an answer without end"), "{answer}");
    assert_eq!((line.state, lines.state), (DeliveryState::Owed, DeliveryState::Owed));
}

/// Whoever sits in between could say for the server what it never said by TLS.
#[tokio::test]
async fn nothing_that_was_said_before_tls_counts_after_it() {
    let offer = ("EHLO", "250-here\r\n250 STARTTLS\r\n");
    let injecting = script([offer, ("STARTTLS", "220 go\r\n250 injected\r\n")]);
    let (injected, heard) = told(injecting, SmtpSecurity::StartTls).await;
    let answer = injected.answer.unwrap();
    assert!(answer.contains("between the server's consent and TLS"), "{answer}");
    assert!(heard.last().unwrap().starts_with("STARTTLS"), "{heard:?}");

    let (refused, heard) = told(Script::new(), SmtpSecurity::StartTls).await;
    let answer = refused.answer.unwrap();
    assert!(answer.contains("the server offers no TLS"), "{answer}");
    assert!(heard.last().unwrap().starts_with("EHLO"), "nothing is said in the clear: {heard:?}");

    let unwilling = script([offer, ("STARTTLS", "454 4.7.0 not now\r\n")]);
    let (refused, _) = told(unwilling, SmtpSecurity::StartTls).await;
    let answer = refused.answer.unwrap();
    assert!(answer.contains("STARTTLS: the server says: 454 4.7.0 not now"), "{answer}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_no_proof() {
    for security in [MailSecurity::StartTls, MailSecurity::Tls] {
        let (bed, server) = (Bed::sqlite().await, MailServer::start(security));
        let ada = user(&bed, "ada").await;
        let job = finished_job(&bed, &ada, "a.mp4").await;
        let mut config = to_server(&server, security);
        let Outbox::Smtp(smtp) = &mut config.mail.outbox else { panic!("a server") };
        smtp.host = "127.0.0.1".to_owned();
        config.schedule.give_up_after = Duration::from_secs(1);
        let _courier = Working::start(&bed, config).await;
        let dead = over(&bed, job).await;
        assert_eq!(dead.state, DeliveryState::Dead);
        let answer = dead.answer.unwrap();
        assert!(answer.contains("the TLS handshake") && answer.contains("certificate"), "{answer}");
        assert!(server.mails().is_empty());
    }
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_named() {
    let (bed, server) = (Bed::sqlite().await, MailServer::start(MailSecurity::Tls));
    let file = tempfile::NamedTempFile::new().unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "ours", broken] {
        std::fs::write(file.path(), text).unwrap();
        let mut config = to_server(&server, MailSecurity::Tls);
        let Outbox::Smtp(smtp) = &mut config.mail.outbox else { panic!("a server") };
        smtp.ca_file = Some(file.path().to_owned());
        let error = chain(&must_fail(&bed, config).await);
        assert!(error.starts_with(&format!("cannot use {}", file.path().display())), "{error}");
    }
}
