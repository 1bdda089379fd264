//! Tonemill over HTTP: log in, upload, watch, download.
//!
//! [`routes`] is the page with every route on it. The handlers are thin: they say who asks ([`auth`]),
//! what for ([`jobs`], [`uploads`], [`login`], [`account`], [`keys`], [`webhooks`], [`deliveries`],
//! [`admin`]) or by which link of a mail ([`links`]), and pass it on to the ledger, the store and the
//! queue. [`server`] is the HTTP underneath, [`problem`] every error, [`rate`] and `throttle` what
//! is too often, `memory` what uploads may have of it.

#![forbid(unsafe_code)]

pub mod account;
pub mod admin;
pub mod auth;
mod body;
pub mod classic;
pub mod deliveries;
mod description;
mod docs;
mod extract;
mod health;
mod in_flight;
pub mod jobs;
pub mod keys;
pub mod links;
pub mod login;
mod media;
mod memory;
mod middleware;
mod names;
mod part;
pub mod problem;
pub mod rate;
pub mod routes;
pub mod server;
mod throttle;
pub mod uploads;
mod watch;
pub mod webhooks;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::Queue;
use tonemill_ledger::Ledger;
use tonemill_ledger::links::LinkKey;
use tonemill_telemetry::Metrics;
use tonemill_telemetry::health::Probe;
use uuid::Uuid;

use crate::auth::password::Passwords;
use crate::auth::tokens::{TokenLifetimes, Tokens};
use crate::health::Health;
use crate::in_flight::InFlight;
use crate::jobs::idempotency::BusyKeys;
use crate::memory::UploadMemory;
use crate::problem::{Answer, Problem};
use crate::rate::{Buckets, Rate};
use crate::throttle::Throttle;
use crate::watch::Watch;

/// How often signing keys are looked at: other replicas may have made one.
const KEYS: Duration = Duration::from_mins(5);

/// What the API allows and offers.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Longest upload, in bytes. Default: 64 GiB.
    pub max_upload_bytes: u64,
    /// What uploads on their way may have in memory, in bytes. Default: 256 MiB.
    pub upload_memory_bytes: u64,
    /// How long tokens last.
    pub tokens: TokenLifetimes,
    /// Passwords that are hashed at a time. Default: 2.
    pub password_hashes: usize,
    /// How often a user may ask. Default: 100 times a second, 300 at once.
    pub requests: Rate,
    /// Requests of a user that are answered at a time: uploads, downloads and event streams last.
    /// Default: 256.
    pub requests_at_once: usize,
    /// Send who downloads to the store, with an address that is good for this long. Default: no.
    pub presigned_downloads: Option<Duration>,
    /// Web pages of these origins may use the API; `*` is any. Default: none.
    pub cors_origins: Vec<String>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            max_upload_bytes: 64 << 30,
            upload_memory_bytes: 256 << 20,
            tokens: TokenLifetimes::default(),
            password_hashes: 2,
            requests: Rate { burst: 300, per_second: 100.0 },
            requests_at_once: 256,
            presigned_downloads: None,
            cors_origins: Vec::new(),
        }
    }
}

/// What the handlers share. Clones are the same.
#[derive(Debug, Clone)]
pub struct Api(Arc<Shared>);

/// See [`Api`].
#[derive(Debug)]
pub struct Shared {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) config: ApiConfig,
    pub(crate) passwords: Passwords,
    pub(crate) tokens: Tokens,
    pub(crate) links: LinkKey,
    pub(crate) throttle: Throttle,
    pub(crate) requests: Buckets<Uuid>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) busy_keys: BusyKeys,
    pub(crate) upload_memory: UploadMemory,
    pub(crate) watch: Watch,
    pub(crate) health: Health,
    pub(crate) metrics: Option<Metrics>,
    /// No new requests; streams end.
    pub(crate) shutdown: CancellationToken,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    /// An API over a ledger, a queue and a store. Reads the keys that it signs with, or makes
    /// the first. `mail` asks the mail server, if this process has one.
    pub async fn new(
        ledger: Arc<Ledger>,
        queue: Arc<dyn Queue>,
        store: Arc<dyn ObjectStore>,
        config: ApiConfig,
        metrics: Option<Metrics>,
        mail: Option<Arc<dyn Probe>>,
        shutdown: CancellationToken,
    ) -> Answer<Self> {
        Ok(Self(Arc::new(Shared {
            passwords: Passwords::new(config.password_hashes)?,
            tokens: Tokens::open(&ledger, config.tokens).await?,
            links: ledger.link_key().await?,
            throttle: Throttle::default(),
            requests: Buckets::new(config.requests),
            in_flight: InFlight::new(config.requests_at_once),
            busy_keys: BusyKeys::default(),
            upload_memory: UploadMemory::new(config.upload_memory_bytes),
            watch: Watch::default(),
            health: Health::new(mail),
            ledger,
            queue,
            store,
            config,
            metrics,
            shutdown,
        })))
    }

    /// What the API does besides answering: watches jobs, keeps the signing keys fresh. Until its
    /// shutdown.
    pub async fn run(&self) {
        let keys = async {
            loop {
                sleep(KEYS).await;
                if let Err(problem) = self.tokens.refresh_keys(&self.ledger).await {
                    tracing::warn!(problem.detail, "the signing keys cannot be read");
                }
            }
        };
        tokio::select! {
            () = watch::run(self, &self.shutdown) => {}
            () = keys => {}
        }
    }

    /// Hashes passwords as the API does.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Counts a request of a user against how often it may ask.
    pub(crate) fn count_request(&self, user: Uuid) -> Answer<()> {
        match self.requests.take(&user) {
            Ok(_) => Ok(()),
            Err(pause) => Err(Problem::too_many("you ask too often: slow down").retry_after(pause)),
        }
    }
}
