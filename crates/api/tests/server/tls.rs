//! TLS: which protocol, who is slow to agree, and a certificate that changes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonemill_api::server::{ServerConfig, TlsError, TlsFiles};
use tonemill_testbed::tls::Authority;

use crate::client::{Http2, Raw, within};
use crate::host::Host;

/// A certificate in files that may be replaced.
struct Certificate {
    folder: TempDir,
}

impl Certificate {
    fn new(authority: &Authority) -> Self {
        let certificate = Self { folder: tempfile::tempdir().expect("a folder") };
        certificate.replace(authority);
        certificate
    }

    fn replace(&self, authority: &Authority) {
        fs::copy(authority.key_file(), self.folder.path().join("key")).expect("a copy");
        fs::copy(authority.certificate_file(), self.folder.path().join("cert")).expect("a copy");
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file");
    }

    fn load(&self) -> Result<TlsFiles, TlsError> {
        TlsFiles::load(&self.folder.path().join("cert"), &self.folder.path().join("key"))
    }
}

async fn host(tls: TlsFiles) -> Host {
    let header_timeout = Duration::from_millis(300);
    Host::start(ServerConfig { tls: Some(tls), header_timeout, ..ServerConfig::default() }).await
}

/// None if the certificate is not from that authority.
async fn connect(ca: &Path, server: SocketAddr, alpn: &str) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("its file")).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.into()];
    let stream = within(TcpStream::connect(server)).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.ok()?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    Some(stream)
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is taken");
    let mut text = String::new();
    while !text.ends_with("hello") {
        text.push(char::from(within(stream.read_u8()).await.expect("an answer")));
    }
    text
}

#[tokio::test]
async fn both_versions_by_alpn() {
    let authority = Authority::new();
    let host = host(Certificate::new(&authority).load().expect("it is good")).await;
    let ca = authority.ca_file();
    let stream = connect(&ca, host.address, "h2").await.expect("trust");
    let answer = Http2::over(stream).await.ask("/", Body::empty()).await;
    assert_eq!(answer.expect("an answer").1, "hello");
    let mut stream = connect(&ca, host.address, "http/1.1").await.expect("trust");
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    // In good form: with the end of TLS, not only of TCP.
    host.shutdown.cancel();
    assert_eq!(within(stream.read(&mut [0])).await.expect("close_notify"), 0);
    drop(stream);
    host.ended().await;
}

#[tokio::test]
async fn who_does_not_agree_is_cut_and_holds_up_nobody() {
    let authority = Authority::new();
    let host = host(Certificate::new(&authority).load().expect("it is good")).await;
    // The beginning of a handshake record that does not come.
    for start in [b"".as_slice(), &[22, 3, 1, 2, 0, 1]] {
        let began = Instant::now();
        let mut silent = Raw::connect(host.address).await;
        silent.send(start).await;
        let mut stream =
            connect(&authority.ca_file(), host.address, "http/1.1").await.expect("trust");
        ask(&mut stream).await;
        silent.read_to_end().await;
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    }
    let mut plain = Raw::connect(host.address).await;
    plain.get("/").await;
    assert!(
        !plain.stream.read(&mut [0; 100]).await.is_ok_and(|bytes| bytes > 7),
        "more than an alert"
    );
    host.stop().await;
}

#[tokio::test]
async fn a_certificate_is_reloaded_on_call() {
    let (old, new) = (Authority::new(), Authority::new());
    let certificate = Certificate::new(&old);
    let files = certificate.load().expect("it is good").check_every(Duration::from_hours(1));
    let host = host(files.clone()).await;
    let mut before = connect(&old.ca_file(), host.address, "http/1.1").await.expect("trust");
    ask(&mut before).await;
    assert!(!files.reload().expect("the same"));

    // What cannot be used changes nothing.
    certificate.write("key", &fs::read_to_string(new.key_file()).expect("its file"));
    assert!(matches!(files.reload(), Err(TlsError::Pair(_))));
    certificate.write("key", "no key");
    assert!(matches!(files.reload(), Err(TlsError::Pem { .. })));
    certificate.write("cert", "");
    assert!(matches!(files.reload(), Err(TlsError::Pem { .. })));
    fs::remove_file(certificate.folder.path().join("cert")).expect("it is there");
    assert!(matches!(files.reload(), Err(TlsError::Read { .. })));
    assert!(connect(&old.ca_file(), host.address, "http/1.1").await.is_some());

    certificate.replace(&new);
    assert!(files.reload().expect("it is good"));
    assert!(connect(&old.ca_file(), host.address, "http/1.1").await.is_none());
    let mut after = connect(&new.ca_file(), host.address, "http/1.1").await.expect("trust");
    ask(&mut after).await;
    ask(&mut before).await;
    host.stop().await;
}

#[tokio::test]
async fn a_certificate_is_reloaded_when_it_changes() {
    let (old, new) = (Authority::new(), Authority::new());
    let certificate = Certificate::new(&old);
    let files = certificate.load().expect("it is good").check_every(Duration::from_millis(20));
    let host = host(files).await;
    let mut before = connect(&old.ca_file(), host.address, "http/1.1").await.expect("trust");
    ask(&mut before).await;
    certificate.replace(&new);
    let changed =
        async { while connect(&new.ca_file(), host.address, "http/1.1").await.is_none() {} };
    within(changed).await;
    ask(&mut before).await;
    host.stop().await;
}
