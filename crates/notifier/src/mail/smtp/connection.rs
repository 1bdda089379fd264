//! One connection to a mail server, and one mail over it.
//!
//! Answers come in the order of the commands, and nothing says which is whose. Whoever leaves a
//! dialogue before its end leaves answers behind that the next would take for its own, so a
//! connection is used again only after a dialogue in which every answer was read.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Tls};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{
    ClientId, Extension, MailBodyParameter, MailParameter, ServerInfo,
};
use lettre::transport::smtp::response::{Code, Response, Severity};

/// How long an address of the server may take to be connected to.
const CONNECT: Duration = Duration::from_secs(20);
/// Replies about us and not about a mail (RFC 5321 section 4.2.3, RFC 4954 section 6, RFC 7504): a
/// command that is not known or not its turn, a server that takes no mail, a log-in that is
/// missing. After RCPT, 501 is not one of them: all that varies there is the address.
const OURS: [u16; 10] = [500, 502, 503, 504, 521, 530, 534, 535, 538, 555];

/// A mail server, and how it is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) credentials: Option<Credentials>,
}

/// How far a mail came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connection,
    StartTls,
    LogIn,
    Noop,
    Sender,
    Recipient,
    Data,
    End,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connecting",
            Self::StartTls => "STARTTLS",
            Self::LogIn => "the log-in",
            Self::Noop => "NOOP",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::End => "the end of the mail",
        })
    }
}

/// Why a mail did not go, or nobody lets us in.
#[derive(Debug, thiserror::Error)]
#[error("at {stage}")]
pub(crate) struct Trouble {
    stage: Stage,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("the answer {0} is to something else")]
    OutOfStep(Code),
    #[error("the server takes no addresses beyond ASCII")]
    NoSuchAddresses,
    #[error("the server takes no text beyond ASCII")]
    NoSuchText,
}

impl Trouble {
    fn at(stage: Stage, cause: impl Into<Cause>) -> Self {
        Self { stage, cause: cause.into() }
    }

    /// Whether this mail will never be taken, whatever becomes of us and of the server.
    pub(super) fn is_final(&self) -> bool {
        let error = match &self.cause {
            Cause::NoSuchAddresses => return self.stage == Stage::Recipient,
            Cause::Smtp(error) if error.is_permanent() => error,
            _ => return false,
        };
        let code = error.status().map_or(0, u16::from);
        let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        is_about_the_mail(self.stage, code, said.split_whitespace().next().unwrap_or_default())
    }

    /// Whether the server said no, all of it was read, and it waits for what comes next.
    fn is_answer(&self) -> bool {
        match &self.cause {
            Cause::Smtp(error) => error.is_transient() || error.is_permanent(),
            Cause::NoSuchAddresses | Cause::NoSuchText => true,
            Cause::OutOfStep(_) => false,
        }
    }
}

/// Whether a 5xx is about the mail or its reader. Before the recipient is named, the server knows
/// of nothing but us; many tell only then what they have against us, by an enhanced code (RFC
/// 3463): 5.1.7 and 5.1.8 are the sender's address, 5.3.x the server itself, 5.5.x the protocol,
/// 5.7.x what we may do (such as "relay access denied").
fn is_about_the_mail(stage: Stage, code: u16, enhanced: &str) -> bool {
    let mut parts = enhanced.split('.').map(|part| part.parse::<u16>().ok());
    let enhanced = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(5)), Some(Some(subject)), Some(Some(detail)), None) => Some((subject, detail)),
        _ => None,
    };
    match (stage, enhanced) {
        // Too large, or in letters that the server does not take: it may say so at once.
        (Stage::Sender | Stage::Recipient | Stage::End, Some((3, 4) | (6, _))) => true,
        (Stage::Recipient | Stage::End, Some((1, 7 | 8) | (3 | 5 | 7, _))) => false,
        (Stage::Recipient | Stage::End, Some((1..=6, _))) => true,
        (Stage::Recipient | Stage::End, _) => !OURS.contains(&code),
        (Stage::Sender, None) => code == 552,
        _ => false,
    }
}

/// A connection on which nothing is under way.
pub(super) struct Connection(AsyncSmtpConnection);

impl Connection {
    /// Connects and logs in, by TLS unless that was not wanted.
    pub(super) async fn open(server: &Server) -> Result<Self, Trouble> {
        let hello = ClientId::default();
        let from_the_start = match &server.tls {
            Tls::Wrapper(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let address = (server.host.as_str(), server.port);
        let connect = AsyncSmtpConnection::connect_tokio1(
            address,
            Some(CONNECT),
            &hello,
            from_the_start,
            None,
        );
        let mut smtp = connect.await.map_err(|error| Trouble::at(Stage::Connection, error))?;
        if let Tls::Required(parameters) = &server.tls {
            let upgraded = smtp.starttls(parameters.clone(), &hello).await;
            upgraded.map_err(|error| Trouble::at(Stage::StartTls, error))?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_final_if_it_is_about_the_mail() {
        for (stage, code, enhanced, is_final) in [
            (Stage::Recipient, 550, "5.1.1", true),
            (Stage::Recipient, 550, "there", true),
            (Stage::Recipient, 501, "5.1.3", true),
            (Stage::Recipient, 501, "", true),
            (Stage::Recipient, 552, "5.2.2", true),
            (Stage::Recipient, 556, "5.1.10", true),
            (Stage::End, 552, "5.3.4", true),
            (Stage::End, 554, "", true),
            (Stage::End, 554, "5.6.0", true),
            (Stage::Sender, 552, "", true),
            (Stage::Sender, 552, "5.3.4", true),
            (Stage::Sender, 550, "5.6.7", true),
            (Stage::Sender, 553, "5.1.8", false),
            (Stage::Sender, 550, "", false),
            (Stage::Recipient, 554, "5.7.1", false),
            (Stage::Recipient, 550, "5.1.8", false),
            (Stage::Recipient, 530, "", false),
            (Stage::Recipient, 503, "5.5.1", false),
            (Stage::End, 554, "5.3.0", false),
            (Stage::End, 535, "", false),
            (Stage::Connection, 554, "", false),
            (Stage::Connection, 554, "5.1.1", false),
            (Stage::StartTls, 502, "", false),
            (Stage::LogIn, 535, "5.7.8", false),
            (Stage::Data, 554, "5.1.1", false),
        ] {
            assert_eq!(is_about_the_mail(stage, code, enhanced), is_final, "{stage} {code}");
        }
    }
}
