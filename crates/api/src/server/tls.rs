//! The certificate and its key: read from files, and again when these change.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::expiry::not_after;

/// A certificate chain and its key, both PEM, from files.
///
/// Clones share what is loaded. Connections keep what they began with.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    files: Arc<Files>,
    check_every: Duration,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    expires: Option<Timestamp>,
    hash: blake3::Hash,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM, or has not in it what it should have.
    #[error("{} holds no usable PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("the certificate and the key do not go together")]
    Pair(#[source] rustls::Error),
}

impl TlsFiles {
    /// Reads both files; while a server runs with them it looks every 10 s whether they changed.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let pems = (read(certificate)?, read(key)?);
        let loaded = RwLock::new(Loaded::new(certificate, key, &pems)?);
        let files = Files { certificate: certificate.into(), key: key.into(), loaded };
        Ok(Self { files: Arc::new(files), check_every: Duration::from_secs(10) })
    }

    /// Looks that often instead.
    #[must_use]
    pub fn check_every(self, interval: Duration) -> Self {
        Self { check_every: interval, ..self }
    }

    /// Reads the files again. New connections get what is in them now; after an error they get what
    /// they got before. Says whether something had changed.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Files { certificate, key, loaded } = &*self.files;
        let pems = (read(certificate)?, read(key)?);
        if loaded.read().unwrap_or_else(PoisonError::into_inner).hash == hash(&pems) {
            return Ok(false);
        }
        let new = Loaded::new(certificate, key, &pems)?;
        *loaded.write().unwrap_or_else(PoisonError::into_inner) = new;
        tracing::info!(certificate = %certificate.display(), "certificate changed");
        Ok(true)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let loaded = self.files.loaded.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded.config).into()
    }

    /// When the certificate that is in use expires, if it says so in a way that we can read.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.files.loaded.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    fn tell_expiry(&self) {
        if let Some(expires) = self.expires() {
            metrics::gauge!("tonemill_tls_certificate_expiry_timestamp_seconds")
                .set(expires.as_second() as f64);
        }
    }

    /// Loads what changes for as long as it is polled. Polls the files: notifications are lost
    /// where they are links to links, as in Kubernetes, or on a network.
    pub(super) async fn watch(&self) -> Infallible {
        let mut failed = None;
        loop {
            self.tell_expiry();
            sleep(self.check_every).await;
            let files = self.clone();
            let outcome = tokio::task::spawn_blocking(move || files.reload()).await;
            // One file may have been written and the other not: that passes.
            let failure =
                outcome.ok().and_then(Result::err).map(|error| tonemill_job::chain(&error));
            if let Some(error) = failure.as_ref().filter(|_| failure != failed) {
                tracing::warn!(%error, "the certificate changed, but not to one that can be used");
            }
            failed = failure;
        }
    }
}

impl Loaded {
    fn new(certificate: &Path, key: &Path, pems: &(Vec<u8>, Vec<u8>)) -> Result<Self, TlsError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            |source| TlsError::Pem { path, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pems.0).collect();
        let chain = chain.map_err(wrong(certificate))?;
        if chain.is_empty() {
            return Err(wrong(certificate)(pem::Error::NoItemsFound));
        }
        let expires = chain.first().and_then(|certificate| not_after(certificate));
        let private = PrivateKeyDer::from_pem_slice(&pems.1).map_err(wrong(key))?;
        // Named, for another library in the program may bring another provider.
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), expires, hash: hash(pems) })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn hash((certificate, key): &(Vec<u8>, Vec<u8>)) -> blake3::Hash {
    // Hashed one by one: where one ends counts.
    let both = [blake3::hash(certificate), blake3::hash(key)].map(|hash| *hash.as_bytes());
    blake3::hash(both.as_flattened())
}
