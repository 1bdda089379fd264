//! Why a mail did not go, and whether it ever will.

use std::fmt;
use std::io;

use lettre::transport::smtp;
use lettre::transport::smtp::response::Code;

/// Replies about us and not about a mail (RFC 5321 section 4.2.3, RFC 4954 section 6, RFC 7504): a
/// command that is not known or not its turn, a server that takes no mail, a log-in that is
/// missing. After RCPT, 501 is not one of them: all that varies there is the address.
const OURS: [u16; 10] = [500, 502, 503, 504, 521, 530, 534, 535, 538, 555];

/// How far a mail came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connection,
    StartTls,
    Tls,
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
            Self::Tls => "the TLS handshake",
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
    pub(super) stage: Stage,
    #[source]
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Smtp(#[from] smtp::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server says: {0}")]
    Unexpected(String),
    #[error("the server offers no TLS")]
    NoTls,
    #[error("something was said between the server's consent and TLS")]
    Injected,
    #[error("the answer {0} is to something else")]
    OutOfStep(Code),
    #[error("the server takes no addresses beyond ASCII")]
    NoSuchAddresses,
    #[error("the server takes no text beyond ASCII")]
    NoSuchText,
}

impl Trouble {
    pub(super) fn at(stage: Stage, cause: impl Into<Cause>) -> Self {
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
    pub(super) fn is_answer(&self) -> bool {
        match &self.cause {
            Cause::Smtp(error) => error.is_transient() || error.is_permanent(),
            Cause::NoSuchAddresses | Cause::NoSuchText => true,
            _ => false,
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
