//! Mails by way of a mail server (RFC 5321, with STARTTLS of RFC 3207 or TLS of RFC 8314).

use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::{Answer, NotifierError, Verdict};

/// Longest wait for an answer of the server, and for all of a mail.
const COMMAND: Duration = Duration::from_secs(20);
const ALL: Duration = Duration::from_secs(90);
/// Connections that are kept, and for how long.
const CONNECTIONS: u32 = 4;
const IDLE: Duration = Duration::from_mins(1);
/// Refusals of us and not of a mail (RFC 4954 section 6, RFC 5321 section 4.2.3): a setting is wrong.
const OURS: [u16; 5] = [502, 530, 534, 535, 538];

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
pub(super) struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

impl Smtp {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, NotifierError> {
        let SmtpConfig { host, port, security, credentials, ca_file } = config;
        let tls = match security {
            SmtpSecurity::Plain => Tls::None,
            SmtpSecurity::StartTls => Tls::Required(tls(&host, ca_file)?),
            SmtpSecurity::Tls => Tls::Wrapper(tls(&host, ca_file)?),
        };
        let pool = PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(COMMAND))
            .pool_config(pool);
        if let Some((name, password)) = credentials {
            builder = builder.credentials(Credentials::new(name, password));
        }
        Ok(Self(builder.build()))
    }

    /// Whether the server answers us, and lets us in.
    pub(super) async fn check(&self) -> Result<(), lettre::transport::smtp::Error> {
        self.0.test_connection().await.map(drop)
    }

    pub(super) async fn send(&self, letter: Message) -> Answer {
        match tokio::time::timeout(ALL, self.0.send(letter)).await {
            Ok(Ok(response)) => Answer::new(Verdict::Delivered, format!("{}", response.code())),
            Ok(Err(error)) => refusal(&error),
            Err(_) => Answer::failed(format!("no end within {} s", ALL.as_secs())),
        }
    }
}

fn tls(host: &str, ca_file: Option<PathBuf>) -> Result<TlsParameters, NotifierError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let file = |source| NotifierError::File { path: path.display().to_string(), source };
        let pem = std::fs::read(&path).map_err(file)?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.certificate_store(CertificateStore::Default).build_rustls()?)
}

/// What the failure of a mail means.
fn refusal(error: &lettre::transport::smtp::Error) -> Answer {
    let text = tonemill_job::chain(error);
    let code: Option<u16> = error.status().map(Into::into);
    match code {
        Some(code) if error.is_permanent() && !OURS.contains(&code) => {
            Answer::new(Verdict::Refused, text)
        }
        _ => Answer::failed(text),
    }
}
