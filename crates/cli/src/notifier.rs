//! `tonemill notifier`: sends what is owed, and tells administrators of trouble.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonemill_ledger::alerts::{self, Thresholds};
use tonemill_ledger::{BondError, Ledger};
use tonemill_notifier::mail::{MailConfig, Outbox};
use tonemill_notifier::schedule::Schedule;
use tonemill_notifier::webhook::WebhookConfig;
use tonemill_notifier::{Courier, Health, NotifierConfig};
use tonemill_telemetry::admin::{self, Watched};
use tonemill_telemetry::catalogue::Component;
use tonemill_telemetry::{Ended, Part, Shutdown};
use url::Url;

use crate::args::notifier::{NotifierArgs, NotifyArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::runtime::{run_until_told, start_metrics, told_by_signals};
use crate::text::seconds;

/// Who mails in files are from.
const LOCAL: &str = "Tonemill <tonemill@localhost>";

/// Sends until it is told to end.
pub fn run(args: &NotifierArgs) -> Outcome {
    run_until_told("tonemill-notifier", &args.log, async {
        let config = args.database.config()?;
        let url = args.notify.public_url.clone();
        let url =
            url.ok_or_else(|| Failure::usage("say where users reach the API", "--public-url"))?;
        let folder = args.notify.mail_folder.clone();
        let notify = args.notify.config(url, folder)?;
        let ledger = Arc::new(Ledger::open(config).await?);
        if ledger.is_restored().await? {
            // What it says is owed may be old: first it is brought in line.
            return Err(BondError::Restored.into());
        }
        let courier = Courier::new(Arc::clone(&ledger), notify).await?;
        let shutdown = told_by_signals()?;
        if let Some(address) = args.admin {
            let listener = TcpListener::bind(address).await;
            let listener =
                listener.map_err(|error| Failure::cannot(format!("listen on {address}"), error))?;
            let metrics = start_metrics(&[Component::Notifier])?;
            let process = NotifierProcess { health: courier.health(), shutdown: shutdown.clone() };
            tokio::spawn(admin::serve(listener, process, metrics));
        }
        let end = CancellationToken::new();
        let told = async {
            shutdown.draining().await;
            end.cancel();
        };
        let working = work(&ledger, courier, args.notify.thresholds(), &end, seconds(args.grace));
        tokio::select! {
            ((), ()) = async { tokio::join!(told, working) } => {}
            () = shutdown.stopping() => {}
        }
        ledger.close().await;
        Ok(Ended::Done)
    })
}

struct NotifierProcess {
    health: Health,
    shutdown: Shutdown,
}

#[async_trait]
impl Watched for NotifierProcess {
    fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    async fn parts(&self) -> Vec<Part> {
        self.health.parts().await
    }

    /// What is owed, the APIs tell.
    async fn measure(&self) {}
}

/// Sends, and looks for trouble, until `end`.
pub async fn work(
    ledger: &Ledger,
    courier: Courier,
    thresholds: Thresholds,
    end: &CancellationToken,
    grace: Duration,
) {
    tokio::join!(courier.run(end, grace), alerts::run(ledger, thresholds, end));
}

impl NotifyArgs {
    /// How to notify users who reach the API at `public_url`. Where there is no mail server, mails
    /// are put into `folder`.
    pub fn config(
        &self,
        public_url: Url,
        folder: Option<PathBuf>,
    ) -> Result<NotifierConfig, Failure> {
        let from = self.sender()?;
        let outbox = match (&self.smtp_url, folder) {
            (Some(smtp), _) => {
                let mut smtp = smtp.clone();
                smtp.ca_file.clone_from(&self.smtp_ca_file);
                Outbox::Smtp(smtp)
            }
            (None, Some(folder)) => Outbox::Folder(folder),
            (None, None) => {
                return Err(Failure::usage("say how mails go", "--smtp-url or --mail-folder"));
            }
        };
        Ok(NotifierConfig {
            mail: MailConfig {
                from,
                outbox,
                templates: self.mail_templates.clone(),
                public_url,
                download_link: seconds(self.mail_link_days * 86_400.0),
            },
            webhooks: WebhookConfig {
                patience: seconds(self.webhook_timeout),
                internal_hosts: self.webhook_internal_hosts.clone(),
                ..WebhookConfig::default()
            },
            schedule: Schedule {
                give_up_after: seconds(self.notify_days * 86_400.0),
                ..Schedule::default()
            },
            at_once: 64,
            per_webhook: 4,
            per_user: 16,
        })
    }

    /// Whether a service that sends mails itself knows enough for it.
    pub fn check_serving(&self) -> Result<(), Failure> {
        self.sender()?;
        if self.smtp_url.is_some() && self.public_url.is_none() {
            let message = "say where users reach the service: mails have links";
            return Err(Failure::usage(message, "--public-url goes with --smtp-url"));
        }
        Ok(())
    }

    /// Who mails are from. Mail servers refuse who is at `localhost`; files take anybody.
    fn sender(&self) -> Result<Mailbox, Failure> {
        match &self.mail_from {
            Some(from) => Ok(from.clone()),
            None if self.smtp_url.is_some() => {
                let message = "say who mails are from, at a domain of yours";
                Err(Failure::usage(message, "--mail-from goes with --smtp-url"))
            }
            None => LOCAL.parse().map_err(|error| Failure::cannot("name a sender", error)),
        }
    }

    pub fn thresholds(&self) -> Thresholds {
        Thresholds { waiting: seconds(self.alert_wait), ..Thresholds::default() }
    }
}
