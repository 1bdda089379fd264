//! One connection to a mail server, and one mail over it.
//!
//! Answers come in the order of the commands, and nothing says which is whose. Whoever leaves a
//! dialogue before its end leaves answers behind that the next would take for its own, so a
//! connection is used again only after a dialogue in which every answer was read.

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter, ServerInfo};
use lettre::transport::smtp::response::{Response, Severity};

use super::link::{self, Tls};
use super::trouble::{Cause, Stage, Trouble};

/// A mail server, and how it is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) credentials: Option<Credentials>,
}

/// A connection on which nothing is under way.
pub(super) struct Connection(AsyncSmtpConnection);

impl Connection {
    /// Connects and logs in, by TLS unless that was not wanted.
    pub(super) async fn open(server: &Server) -> Result<Self, Trouble> {
        let mut smtp = link::connect(&server.host, server.port, &server.tls).await?;
        if let Some(credentials) = &server.credentials {
            let answer = smtp.auth(DEFAULT_MECHANISMS, credentials).await;
            due(Stage::LogIn, Severity::PositiveCompletion, answer)?;
        }
        Ok(Self(smtp))
    }

    /// Whether the server still listens.
    pub(super) async fn check(&mut self) -> Result<(), Trouble> {
        let answer = self.0.command(Noop).await;
        due(Stage::Noop, Severity::PositiveCompletion, answer).map(drop)
    }

    /// Hands a mail over: what the server said when it had taken it.
    pub(super) async fn deliver(
        &mut self,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<Response, Trouble> {
        let parameters = parameters(self.0.server_info(), envelope, mail)?;
        let sender = Mail::new(envelope.from().cloned(), parameters);
        let answer = self.0.command(sender).await;
        due(Stage::Sender, Severity::PositiveCompletion, answer)?;
        for to in envelope.to() {
            let answer = self.0.command(Rcpt::new(to.clone(), Vec::new())).await;
            due(Stage::Recipient, Severity::PositiveCompletion, answer)?;
        }
        let answer = self.0.command(Data).await;
        due(Stage::Data, Severity::PositiveIntermediate, answer)?;
        let answer = self.0.message(mail).await;
        due(Stage::End, Severity::PositiveCompletion, answer)
    }

    /// The connection for the next mail, if this one ended so that there can be a next.
    pub(super) async fn after(mut self, outcome: &Result<Response, Trouble>) -> Option<Self> {
        match outcome {
            Ok(_) => Some(self),
            Err(trouble) if trouble.is_answer() => {
                let answer = self.0.command(Rset).await;
                due(trouble.stage, Severity::PositiveCompletion, answer).ok().map(|_| self)
            }
            Err(_) => None,
        }
    }
}

/// What the server has to know of a mail beforehand (RFC 6152, RFC 6531).
fn parameters(
    server: &ServerInfo,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Vec<MailParameter>, Trouble> {
    let mut parameters = Vec::new();
    let is_ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    let is_senders = !envelope.from().is_none_or(is_ascii);
    if is_senders || !envelope.to().iter().all(is_ascii) {
        if !server.supports_feature(Extension::SmtpUtfEight) {
            let stage = if is_senders { Stage::Sender } else { Stage::Recipient };
            return Err(Trouble::at(stage, Cause::NoSuchAddresses));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.is_ascii() {
        if !server.supports_feature(Extension::EightBitMime) {
            return Err(Trouble::at(Stage::Sender, Cause::NoSuchText));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// The answer, if it is one to what was asked: lettre takes any 2xx and 3xx for a yes.
fn due(
    stage: Stage,
    severity: Severity,
    answer: Result<Response, lettre::transport::smtp::Error>,
) -> Result<Response, Trouble> {
    let answer = answer.map_err(|error| Trouble::at(stage, error))?;
    let code = answer.code();
    if code.severity == severity {
        Ok(answer)
    } else {
        Err(Trouble::at(stage, Cause::OutOfStep(code)))
    }
}
