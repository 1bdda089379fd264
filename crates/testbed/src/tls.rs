//! TLS for servers: an authority of its own that nobody trusts who is not told to, and a proxy that
//! takes TLS off for a server that knows none.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for `localhost`, and the authority that signed it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If there is no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        for (path, pem) in [
            (authority.ca_file(), issuer.pem()),
            (authority.certificate_file(), certificate.pem()),
            (authority.key_file(), key.serialize_pem()),
        ] {
            fs::write(path, pem).expect("a file");
        }
        authority
    }

    /// The authority's certificate, as PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The server's certificate, as PEM.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The server's key, as PEM.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(self.certificate_file()).expect("our file");
        let chain = chain.collect::<Result<_, _>>().expect("our certificate");
        let key = PrivateKeyDer::from_pem_file(self.key_file()).expect("our key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        TlsAcceptor::from(Arc::new(config.expect("a key of that certificate")))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Speaks TLS with clients and passes on what they say, until it is dropped.
#[derive(Debug)]
pub struct TlsProxy {
    port: u16,
    accepting: JoinHandle<()>,
}

impl TlsProxy {
    /// A proxy for the HTTP server at `endpoint`, an address and a port with `http://` before it.
    ///
    /// # Panics
    ///
    /// If there is no free port, or `endpoint` is something else.
    pub async fn start(endpoint: &str, authority: &Authority) -> Self {
        let server = endpoint.strip_prefix("http://").and_then(|address| address.parse().ok());
        let server: SocketAddr = server.expect("http://ADDRESS:PORT");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let acceptor = authority.acceptor();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                // What fails here the client sees.
                tokio::spawn(pass_on(acceptor.clone(), client, server));
            }
        });
        Self { port, accepting }
    }

    /// Where it is, by the name in its certificate.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(acceptor: TlsAcceptor, client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
