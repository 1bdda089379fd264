//! Tells people and programs what became of their jobs.
//!
//! What there is to tell is in the ledger: a delivery for each change and each who wants to know of
//! it, written in the transaction of the change. Any number of notifiers claim them, a few at a
//! time, and try them, until somebody takes them or they are too old. A notifier that dies loses
//! nothing: its claims run out, and what it may have sent already is sent again under the same
//! event id.
//!
//! | file | what |
//! |---|---|
//! | `courier` | the loop: claim, try, settle |
//! | `places` | how many attempts of whom may be under way |
//! | `health` | what it needs, and whether that answers |
//! | `schedule` | when a delivery is tried again, and when it is given up |
//! | `mail` | one mail: its text from templates, its way by SMTP or into a folder |
//! | `webhook` | one call of a webhook: signed, guarded, and what its answer means |

#![forbid(unsafe_code)]

mod courier;
mod health;
pub mod mail;
mod places;
pub mod schedule;
pub mod webhook;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tonemill_ledger::Ledger;

pub use courier::Courier;
pub use health::Health;
use mail::{MailConfig, Mailer};
use places::Places;
use schedule::Schedule;
use webhook::{WebhookConfig, Webhooks};

/// How notifications are sent.
#[derive(Debug)]
pub struct NotifierConfig {
    /// By mail.
    pub mail: MailConfig,
    /// To webhooks.
    pub webhooks: WebhookConfig,
    /// When they are tried again.
    pub schedule: Schedule,
    /// How many at a time. Default: 64.
    pub at_once: usize,
    /// Of these, how many to one webhook. Default: 4.
    pub per_webhook: usize,
    /// Of these, how many of one user. Default: 16.
    pub per_user: usize,
}

/// What a single attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What follows of it.
    pub verdict: Verdict,
    /// In a few words, for whoever wonders.
    pub text: String,
}

/// What follows of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Delivered,
    /// It may be another time, not before this has passed.
    Failed {
        /// What the other side asked for.
        wait: Option<Duration>,
    },
    /// It never will be.
    Refused,
    /// Nobody is to be told anything there any more.
    Gone,
}

impl Answer {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into() }
    }

    fn failed(text: impl Into<String>) -> Self {
        Self::new(Verdict::Failed { wait: None }, text)
    }
}

/// Why there is no notifier.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// A template is missing something, or makes no sense.
    #[error("the mail template {name}")]
    Template {
        /// Which.
        name: String,
        /// What is wrong with it.
        source: minijinja::Error,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// This program's TLS does not work.
    #[error("cannot set up TLS for mail")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The client of webhooks cannot be made.
    #[error("cannot set up calls of webhooks")]
    Client(#[from] reqwest::Error),
    /// The thread that calls webhooks cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The ledger does not answer.
    #[error(transparent)]
    Ledger(#[from] tonemill_ledger::LedgerError),
}

/// What sends.
pub(crate) struct Channels {
    mail: Mailer,
    webhooks: Webhooks,
}

impl Courier {
    /// One that takes what is in `ledger`.
    pub async fn new(ledger: Arc<Ledger>, config: NotifierConfig) -> Result<Self, NotifierError> {
        let key = ledger.link_key().await?;
        let mail = Mailer::new(config.mail, key)?;
        let webhooks = Webhooks::new(config.webhooks)?;
        let channels = Arc::new(Channels { mail, webhooks });
        let NotifierConfig { schedule, at_once, per_webhook, per_user, .. } = config;
        let places = Places::new(at_once, per_webhook, per_user);
        Ok(Self { ledger, channels, schedule, places, under_way: JoinSet::new() })
    }
}

/// A time of the ledger's clock.
fn date(now_ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms.try_into().unwrap_or_default())
}
