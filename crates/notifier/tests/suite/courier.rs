//! Couriers that bring what a test's ledger owes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonemill_job::{JobId, Lane};
use tonemill_ledger::deliveries::{Delivery, DeliveryState};
use tonemill_ledger::users::{NewUser, Role, User};
use tonemill_ledger::{Acceptance, NewJob};
use tonemill_notifier::mail::{LONGEST_MAIL, MailConfig, Outbox, SmtpConfig, SmtpSecurity};
use tonemill_notifier::schedule::Schedule;
use tonemill_notifier::webhook::WebhookConfig;
use tonemill_notifier::{Courier, NotifierConfig, NotifierError};
use tonemill_testbed::mail::{MailSecurity, MailServer};

use crate::bed::{Bed, PASSWORD_HASH, finished, new_job};

/// What anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(10);

/// A courier that works until it is dropped.
pub struct Working {
    told: CancellationToken,
    task: JoinHandle<()>,
}

impl Working {
    pub async fn start(bed: &Bed, config: NotifierConfig) -> Self {
        let courier = Courier::new(Arc::clone(&bed.ledger), config).await.unwrap();
        let told = CancellationToken::new();
        let end = told.clone();
        let task = tokio::spawn(async move { courier.run(&end, PATIENCE).await });
        Self { told, task }
    }

    /// Ends it when what is under way is done.
    pub async fn end(mut self) {
        self.told.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Mails into a folder, pauses that a test can wait for, and webhooks on this machine.
pub fn config(folder: PathBuf) -> NotifierConfig {
    NotifierConfig {
        mail: MailConfig {
            from: "Tone Mill <tonemill@example.org>".parse().unwrap(),
            outbox: Outbox::Folder(folder),
            templates: None,
            public_url: "https://tonemill.example.org/in/here/".parse().unwrap(),
            download_link: Duration::from_hours(48),
        },
        webhooks: WebhookConfig {
            patience: Duration::from_secs(1),
            internal_hosts: vec!["localhost".to_owned()],
            ..WebhookConfig::default()
        },
        schedule: Schedule { first: Duration::from_millis(50), ..Schedule::default() },
        at_once: 8,
        per_webhook: 2,
        per_user: 6,
    }
}

/// Mails to that server.
pub fn to_server(server: &MailServer, security: MailSecurity) -> NotifierConfig {
    let (name, password) = MailServer::CREDENTIALS;
    let credentials = (name.to_owned(), password.to_owned());
    let (security, credentials) = match security {
        MailSecurity::Plain => (SmtpSecurity::Plain, None),
        MailSecurity::StartTls => (SmtpSecurity::StartTls, Some(credentials)),
        MailSecurity::Tls => (SmtpSecurity::Tls, Some(credentials)),
    };
    let smtp = SmtpConfig {
        host: "localhost".to_owned(),
        port: server.port(),
        security,
        credentials,
        ca_file: Some(server.authority().ca_file()),
        patience: LONGEST_MAIL,
    };
    let mut config = config(PathBuf::new());
    config.mail.outbox = Outbox::Smtp(smtp);
    config
}

pub async fn user(bed: &Bed, name: &str) -> User {
    let email = Some(format!("{name}@example.org"));
    let password_hash = PASSWORD_HASH.to_owned();
    let new = NewUser { name: name.to_owned(), role: Role::User, password_hash, email };
    bed.ledger.add_user(&new).await.unwrap().unwrap()
}

/// A job of a file of this name that is finished, and told of.
pub async fn finished_job(bed: &Bed, user: &User, file_name: &str) -> JobId {
    let job = NewJob { file_name: file_name.to_owned(), lane: Lane::Normal, ..new_job(user) };
    assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
    bed.record(job.id, 1, finished(job.id, 1)).await;
    job.id
}

/// Waits until the only delivery about a job is as it should be.
pub async fn delivery(bed: &Bed, job: JobId, is_it: impl Fn(&Delivery) -> bool) -> Delivery {
    let start = Instant::now();
    loop {
        let delivery = bed.owed(job).await.remove(0);
        if is_it(&delivery) {
            return delivery;
        }
        assert!(start.elapsed() < PATIENCE, "{delivery:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until something is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}

pub async fn over(bed: &Bed, job: JobId) -> Delivery {
    delivery(bed, job, |delivery| delivery.state != DeliveryState::Owed).await
}

pub async fn must_fail(bed: &Bed, config: NotifierConfig) -> NotifierError {
    match Courier::new(Arc::clone(&bed.ledger), config).await {
        Err(error) => error,
        Ok(_) => panic!("there is a courier"),
    }
}
