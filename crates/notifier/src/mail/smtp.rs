//! Mails by way of a mail server (RFC 5321, with STARTTLS of RFC 3207 or TLS of RFC 8314).
//!
//! Connections are kept for a while between mails, by us: lettre's pool takes back one whose
//! dialogue was broken off, and the next mail reads the answers to the one before.
//!
//! | file | what |
//! |---|---|
//! | `link` | the way to a server, up to TLS |
//! | `answers` | what a server says, made harmless |
//! | `connection` | one dialogue, and when there may be another |
//! | `trouble` | why a mail did not go, and whether it ever will |

mod answers;
mod connection;
mod link;
mod trouble;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::Message;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::response::Response;

use crate::{Answer, NotifierError, Verdict};
use connection::{Connection, Server};
use link::Tls;
pub(crate) use trouble::Trouble;

/// What became of a mail: the server's last word.
type Outcome = Result<Response, Trouble>;

/// Longest time that a mail may take, from the connection to the server's last word.
pub const LONGEST_MAIL: Duration = Duration::from_secs(75);
/// Connections that are kept, and how long they may be used again.
const CONNECTIONS: usize = 4;
const IDLE: Duration = Duration::from_mins(1);
/// How long one that is to be used again may take to say that it can be.
const RESET: Duration = Duration::from_secs(5);

/// A mail server, and what it wants to know.
#[derive(Clone)]
pub struct SmtpConfig {
    /// Its name, also in its certificate.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: SmtpSecurity,
    /// Name and password.
    pub credentials: Option<(String, String)>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a mail may take. Default: [`LONGEST_MAIL`], which is also the most.
    pub patience: Duration,
}

impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, security, .. } = self;
        f.debug_struct("SmtpConfig")
            .field("host", host)
            .field("port", port)
            .field("security", security)
            .finish_non_exhaustive()
    }
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the beginning.
    Tls,
    /// TLS from the first commands on, or not at all.
    StartTls,
    /// As it is: for servers on this machine.
    Plain,
}

/// A mail server.
pub(super) struct Smtp {
    server: Server,
    patience: Duration,
    /// Connections on which nothing is under way, and since when.
    parked: Mutex<Vec<(Connection, Instant)>>,
}

impl Smtp {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, NotifierError> {
        let SmtpConfig { host, port, security, credentials, ca_file, patience } = config;
        let tls = match security {
            SmtpSecurity::Plain => Tls::None,
            SmtpSecurity::StartTls => Tls::Upgraded(link::connector(ca_file.as_deref())?),
            SmtpSecurity::Tls => Tls::Wrapped(link::connector(ca_file.as_deref())?),
        };
        let credentials = credentials.map(|(name, password)| Credentials::new(name, password));
        let server = Server { host, port, tls, credentials };
        Ok(Self { server, patience: patience.min(LONGEST_MAIL), parked: Mutex::default() })
    }

    pub(super) fn address(&self) -> String {
        let Server { host, port, .. } = &self.server;
        format!("{host}:{port}")
    }

    /// Whether the server answers us, and lets us in: on a connection of its own.
    pub(super) async fn check(&self) -> Result<(), Trouble> {
        Connection::open(&self.server).await?.check().await
    }

    pub(super) async fn send(&self, letter: Message) -> Answer {
        // Whatever is broken off takes its connection with it.
        match tokio::time::timeout(self.patience, self.deliver(&letter)).await {
            Ok(Ok((connection, outcome))) => {
                self.park(connection, &outcome).await;
                answer(outcome)
            }
            Ok(Err(trouble)) => answer(Err(trouble)),
            Err(_) => Answer::failed(format!("no end within {} s", self.patience.as_secs_f64())),
        }
    }

    /// What became of a mail, and its connection; or there was none.
    async fn deliver(&self, letter: &Message) -> Result<(Connection, Outcome), Trouble> {
        let mut connection = self.connection().await?;
        let outcome = connection.deliver(letter.envelope(), &letter.formatted()).await;
        Ok((connection, outcome))
    }

    /// Keeps a connection, if there may be another mail on it. The outcome of the one before is
    /// known: nothing that is said now changes it.
    async fn park(&self, connection: Connection, outcome: &Outcome) {
        let again = tokio::time::timeout(RESET, connection.after(outcome)).await;
        if let Ok(Some(connection)) = again {
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            if parked.len() < CONNECTIONS {
                parked.push((connection, Instant::now()));
            }
        }
    }

    /// One that was parked and still answers, or a new one.
    async fn connection(&self) -> Result<Connection, Trouble> {
        while let Some(mut connection) = self.parked() {
            if matches!(tokio::time::timeout(RESET, connection.check()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
        }
        Connection::open(&self.server).await
    }

    fn parked(&self) -> Option<Connection> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|(_, since)| since.elapsed() < IDLE);
        parked.pop().map(|(connection, _)| connection)
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Ok(response) => Answer::new(Verdict::Delivered, response.code().to_string()),
        Err(trouble) => {
            let text = tonemill_job::chain(&trouble);
            let is_final = trouble.is_final();
            if is_final { Answer::new(Verdict::Refused, text) } else { Answer::failed(text) }
        }
    }
}
