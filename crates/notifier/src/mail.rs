//! Notifications by mail.
//!
//! | file | what |
//! |---|---|
//! | `letter` | a delivery as a mail: sender, headers, links, a text and an HTML part |
//! | `templates` | the texts, ours or the operator's |
//! | `smtp` | by way of a mail server |
//! | `folder` | into files, where there is no mail server |

mod folder;
mod letter;
mod smtp;
mod templates;

use std::path::PathBuf;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use tonemill_job::chain;
use tonemill_ledger::deliveries::claim::Claimed;
use tonemill_ledger::links::LinkKey;
use tonemill_telemetry::Part;
use url::Url;

use crate::{Answer, NotifierError, Verdict};
use folder::Folder;
use letter::{LetterError, Writer};
use smtp::Smtp;
pub use smtp::{LONGEST_MAIL, SmtpConfig, SmtpSecurity};

/// How mails are written and sent.
#[derive(Debug)]
pub struct MailConfig {
    /// Who they are from.
    pub from: Mailbox,
    /// Which way they go.
    pub outbox: Outbox,
    /// A folder with templates that take the place of ours.
    pub templates: Option<PathBuf>,
    /// Where users reach the API: links begin with it.
    pub public_url: Url,
    /// For how long the link to an MP3 is good that works without a log-in. Zero: there is none.
    pub download_link: Duration,
}

/// Which way mails go.
#[derive(Debug)]
pub enum Outbox {
    /// By way of a mail server.
    Smtp(SmtpConfig),
    /// Into files of this folder.
    Folder(PathBuf),
}

/// Tries out what mails need, without sending one: the settings, the templates, the mail server.
pub async fn try_out(config: MailConfig) -> Result<Part, NotifierError> {
    Ok(Mailer::new(config, LinkKey::random())?.ask().await)
}

/// Sends mails.
pub(crate) struct Mailer {
    writer: Writer,
    way: Way,
}

enum Way {
    Smtp(Smtp),
    Folder(Folder),
}

impl Mailer {
    pub(crate) fn new(config: MailConfig, key: LinkKey) -> Result<Self, NotifierError> {
        let MailConfig { from, outbox, templates, public_url, download_link } = config;
        let way = match outbox {
            Outbox::Smtp(config) => Way::Smtp(Smtp::new(config)?),
            Outbox::Folder(path) => Way::Folder(Folder::new(path)?),
        };
        let templates = templates::Templates::load(templates.as_deref())?;
        let writer = Writer { from, templates, public_url, download_link, key };
        writer.try_out()?;
        Ok(Self { writer, way })
    }

    /// Says in the log which way mails go, and where their links lead.
    pub(crate) fn announce(&self) {
        let links = self.writer.public_url.as_str();
        match &self.way {
            Way::Smtp(smtp) => tracing::info!(server = smtp.address(), links, "mails are sent"),
            Way::Folder(folder) => {
                tracing::info!(folder = %folder.path().display(), links, "mails become files");
            }
        }
    }

    /// Whether the mail server answers, if there is one.
    pub(crate) async fn ask(&self) -> Part {
        let check = async {
            match &self.way {
                Way::Smtp(smtp) => smtp.check().await,
                Way::Folder(_) => Ok(()),
            }
        };
        Part::ask("mail", check).await
    }

    /// Sends what is owed to a user. It is `now_ms`, by the ledger's clock.
    pub(crate) async fn send(
        &self,
        one: &Claimed,
        name: &str,
        address: &str,
        now_ms: i64,
    ) -> Answer {
        let refused = |text: String| Answer::new(Verdict::Refused, text);
        let to: Address = match address.parse() {
            Ok(to) => to,
            Err(error) => return refused(format!("the address is none: {error}")),
        };
        let letter = match self.writer.letter(one, name, to, now_ms) {
            Ok(letter) => letter,
            // Templates are the operator's, who can mend them.
            Err(error @ LetterError::Template(_)) => return Answer::failed(chain(&error)),
            Err(error) => return refused(format!("it cannot be written: {error}")),
        };
        match &self.way {
            Way::Smtp(smtp) => smtp.send(letter).await,
            Way::Folder(folder) => folder.put(one.id, &letter).await,
        }
    }
}
