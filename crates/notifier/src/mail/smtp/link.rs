//! The way to a mail server, up to where mails are spoken of: connect, and speak TLS if wanted.
//!
//! STARTTLS (RFC 3207) is spoken here and not by lettre, which believes after the handshake what was
//! said before it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::answers::Answers;
use super::trouble::{Cause, Stage, Trouble};
use crate::NotifierError;

/// How long an address of the server may take to be connected to.
const CONNECT: Duration = Duration::from_secs(20);

/// How a connection becomes a private one.
#[derive(Clone)]
pub(super) enum Tls {
    /// By TLS from the beginning (RFC 8314).
    Wrapped(TlsConnector),
    /// By STARTTLS (RFC 3207).
    Upgraded(TlsConnector),
    /// Not at all.
    None,
}

/// Speaks TLS, and believes the system's authorities, and those of a PEM file.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, NotifierError> {
    let mut roots = RootCertStore::empty();
    // What the system has that cannot be read is missed when a server needs it.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let file = |source| NotifierError::File { path: path.display().to_string(), source };
        let pem = std::fs::read(path).map_err(file)?;
        let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| file(io::Error::other(error)))?;
        if found.is_empty() {
            return Err(file(io::Error::other("there is no certificate in it, as PEM")));
        }
        for certificate in found {
            roots.add(certificate).map_err(|error| file(io::Error::other(error)))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects, and says hello.
pub(super) async fn connect(
    host: &str,
    port: u16,
    tls: &Tls,
) -> Result<AsyncSmtpConnection, Trouble> {
    let stream = reach(host, port).await.map_err(|error| Trouble::at(Stage::Connection, error))?;
    let stream: Box<dyn AsyncTokioStream> = match tls {
        Tls::None => Box::new(Answers::new(stream)),
        Tls::Wrapped(connector) => {
            Box::new(Answers::new(shake_hands(connector, host, stream).await?))
        }
        Tls::Upgraded(connector) => {
            let stream = ask_for_tls(stream).await?;
            Box::new(Answers::greeted(shake_hands(connector, host, stream).await?))
        }
    };
    AsyncSmtpConnection::connect_with_transport(stream, &ClientId::default())
        .await
        .map_err(|error| Trouble::at(Stage::Connection, error))
}

/// The first of its addresses that answers.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "nobody answers"),
        }
    }
    Err(last)
}

async fn shake_hands(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Trouble> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| Trouble::at(Stage::Tls, io::Error::other(error)))?;
    let shaken = connector.connect(name, stream).await;
    shaken.map_err(|error| Trouble::at(Stage::Tls, error))
}

/// The first commands, up to where the server waits for a handshake.
async fn ask_for_tls(stream: TcpStream) -> Result<TcpStream, Trouble> {
    let mut answers = Answers::new(stream);
    let at_connection = |cause| Trouble::at(Stage::Connection, cause);
    answer(&mut answers, "220").await.map_err(at_connection)?;
    let hello = Ehlo::new(ClientId::default()).to_string();
    let offers = ask(&mut answers, &hello, "250").await.map_err(at_connection)?;
    let offers_tls =
        |line: &str| line.get(4..).is_some_and(|it| it.eq_ignore_ascii_case("STARTTLS"));
    let at_start_tls = |cause| Trouble::at(Stage::StartTls, cause);
    if !offers.lines().any(offers_tls) {
        return Err(at_start_tls(Cause::NoTls));
    }
    ask(&mut answers, &Starttls.to_string(), "220").await.map_err(at_start_tls)?;
    answers.into_silent().ok_or_else(|| at_start_tls(Cause::Injected))
}

async fn ask(
    answers: &mut Answers<TcpStream>,
    command: &str,
    expected: &str,
) -> Result<String, Cause> {
    answers.write_all(command.as_bytes()).await?;
    answer(answers, expected).await
}

/// An answer's lines, if it has the code that is `expected`.
async fn answer(answers: &mut Answers<TcpStream>, expected: &str) -> Result<String, Cause> {
    let mut text = String::new();
    loop {
        let mut line = [0; 1024];
        let count = answers.read(&mut line).await?;
        let line = String::from_utf8_lossy(&line[..count]);
        if !line.starts_with(expected) {
            let said = if line.is_empty() { "nothing more" } else { line.trim_end() };
            return Err(Cause::Unexpected(said.to_owned()));
        }
        text.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(text);
        }
    }
}
