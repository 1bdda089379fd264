//! `tonemill serve`: the whole service in one process, and `tonemill api`: without the workers.
//!
//! Both put the same parts together. What was not said where to find is made here: a ledger in SQLite,
//! a store in a folder, a queue in memory, all under the data folder, which is locked for this
//! process. A queue in memory starts empty: what the ledger believes in it is queued again at once.

use std::fs::{DirBuilder, File, create_dir_all};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonemill_api::auth::password::{check_new, one_time};
use tonemill_api::auth::tokens::TokenLifetimes;
use tonemill_api::rate::Rate;
use tonemill_api::server::{ServerConfig, TlsFiles};
use tonemill_api::{Api, ApiConfig, routes, server};
use tonemill_job::chain;
use tonemill_job::objects::{FolderStore, ObjectStore};
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_ledger::dispatcher::{self, Window};
use tonemill_ledger::sweep::{self, Retention};
use tonemill_ledger::users::{NewUser, Role};
use tonemill_ledger::{Ledger, LedgerConfig, Quotas, is_ledger_url, reconciler, recorder};
use tonemill_worker::{Ended, Shutdown, Worker};

use crate::args_serve::{ApiArgs, ApiCommandArgs, HttpArgs, LedgerArgs, ServeArgs};
use crate::exit::Outcome;
use crate::json::print_line;
use crate::service::seconds;
use crate::worker::start_again;

/// The name of the first administrator.
const ADMIN: &str = "admin";

/// How a command that could not go on is to end, and why.
type Failed = (Outcome, String);

/// Runs the whole service until it is told to end.
pub fn serve(args: &ServeArgs) -> Outcome {
    run(&args.api, async {
        let data = DataFolder::lock(&args.data)?;
        let lease = seconds(args.lease);
        let parts = Parts::embedded(&args.api, &data, lease).await?;
        let config = args.size.config(args.api.grace);
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| fault("listen to signals", &error))?;
        let queue = parts.worker_queue.clone().unwrap_or_else(|| Arc::clone(&parts.queue));
        let worker = Worker::new(queue, Arc::clone(&parts.store), config, shutdown.clone())
            .map_err(|error| fault("start its threads", &error))?;
        let max_input = args.size.limits.max_input;
        let service = Service::start(&args.api, max_input, parts, &shutdown).await?;
        let ended = worker.run().await;
        // Also where it was not told to end: a hang ends the whole process.
        shutdown.drain();
        service.end().await;
        drop(data);
        Ok(ended)
    })
}

/// Runs the API, without workers, until it is told to end.
pub fn api(args: &ApiCommandArgs) -> Outcome {
    run(&args.api, async {
        let parts = Parts::elsewhere(&args.api).await?;
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| fault("listen to signals", &error))?;
        let service = Service::start(&args.api, args.limits.max_input, parts, &shutdown).await?;
        shutdown.draining().await;
        service.end().await;
        Ok(Ended::Done)
    })
}

fn run(args: &ApiArgs, work: impl Future<Output = Result<Ended, Failed>>) -> Outcome {
    if let Err(error) = args.log.start() {
        eprintln!("tonemill: --log: {error}");
        return Outcome::Usage;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tonemill: the service cannot start its threads: {error}");
            return Outcome::Fault;
        }
    };
    let ended = runtime.block_on(work);
    // A thread that hangs would be waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Done) => Outcome::Done,
        Ok(Ended::Hung) => start_again(),
        Err((outcome, error)) => {
            eprintln!("tonemill: {error}");
            outcome
        }
    }
}

fn fault(what: &str, error: &dyn std::fmt::Display) -> Failed {
    (Outcome::Fault, format!("the service cannot {what}: {error}"))
}

fn usage(why: impl Into<String>) -> Failed {
    (Outcome::Usage, why.into())
}

/// The folder of everything that has no other place, for this process alone.
struct DataFolder<'a> {
    path: &'a Path,
    _lock: File,
}

impl<'a> DataFolder<'a> {
    fn lock(path: &'a Path) -> Result<Self, Failed> {
        let shown = path.display();
        let failed = |error| fault(&format!("use the folder {shown}"), &error);
        // Keys, hashes of passwords and videos: nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            (Outcome::Fault, format!("another process uses the folder {shown}: --data names one"))
        })?;
        Ok(Self { path, _lock: lock })
    }
}

/// What the service is put together from.
struct Parts {
    ledger: Arc<Ledger>,
    queue: Arc<dyn Queue>,
    /// Another handle to a queue that knows its users apart.
    worker_queue: Option<Arc<dyn Queue>>,
    store: Arc<dyn ObjectStore>,
}

impl Parts {
    /// What was said, and the rest in the data folder.
    async fn embedded(
        args: &ApiArgs,
        data: &DataFolder<'_>,
        lease: Duration,
    ) -> Result<Self, Failed> {
        let own_ledger = || format!("sqlite://{}?mode=rwc", data.path.join("ledger.db").display());
        let url = args.ledger.database_url.clone().unwrap_or_else(own_ledger);
        let ledger = args.ledger.open(url).await?;
        let store = match args.service.store().await.map_err(usage)? {
            Some(store) => store,
            None => own_store(data.path)?,
        };
        if let Some(queue) = args.service.queue(Some(lease)).map_err(usage)? {
            let worker_queue = args.service.queue(Some(lease)).map_err(usage)?;
            return Ok(Self { ledger, queue, worker_queue, store });
        }
        let queue = MemoryQueue::new(lease, LaneWeights::default());
        let worker_queue: Arc<dyn Queue> = Arc::new(queue.another());
        let again = ledger.requeue_all().await.map_err(|error| fault("start", &chain(&error)))?;
        if again > 0 {
            tracing::info!(jobs = again, "jobs from before are queued again");
        }
        Ok(Self { ledger, queue: Arc::new(queue), worker_queue: Some(worker_queue), store })
    }

    /// All of what was said.
    async fn elsewhere(args: &ApiArgs) -> Result<Self, Failed> {
        let url = args.ledger.database_url.clone();
        let url = url.ok_or_else(|| usage("say where the ledger is: --database-url"))?;
        let service = args.service.open(None).await.map_err(usage)?;
        let ledger = args.ledger.open(url).await?;
        Ok(Self { ledger, queue: service.queue, worker_queue: None, store: service.store })
    }
}

fn own_store(data: &Path) -> Result<Arc<dyn ObjectStore>, Failed> {
    // Elsewhere a missing folder may be a missing disk; this one is ours to make.
    let objects = data.join("objects");
    create_dir_all(&objects).map_err(|error| fault("keep objects", &error))?;
    Ok(Arc::new(FolderStore::new(data)))
}

impl LedgerArgs {
    async fn open(&self, url: String) -> Result<Arc<Ledger>, Failed> {
        let quotas = Quotas {
            unfinished_jobs: self.quota_jobs,
            stored_bytes: self.quota_bytes,
            daily_audio_ms: self.quota_minutes.map(|minutes| minutes.saturating_mul(60_000)),
        };
        let config = LedgerConfig {
            connections: self.database_connections,
            quotas,
            ..LedgerConfig::new(url)
        };
        let ledger = Ledger::open(config).await;
        Ok(Arc::new(ledger.map_err(|error| (Outcome::Fault, chain(&error)))?))
    }

    fn retention(&self) -> Retention {
        Retention { jobs: days(self.keep_days), ..Retention::default() }
    }
}

fn days(days: f64) -> Duration {
    seconds(days * 24.0 * 3600.0)
}

impl ServeArgs {
    /// Whether the settings go together, as far as can be told without trying.
    pub fn check(&self) -> Result<(), String> {
        self.api.http.server_config().map_err(|(_, why)| why)?;
        let url = self.api.ledger.database_url.as_deref();
        if url.is_some_and(|url| !is_ledger_url(url)) {
            return Err("--database-url starts with sqlite:, mysql: or postgres:".to_owned());
        }
        Ok(())
    }
}

/// A service that runs, apart from its workers.
struct Service {
    /// What answers.
    http: JoinSet<()>,
    /// What dispatches and records, for as long as there is something to.
    books: JoinSet<()>,
    close_books: CancellationToken,
    ledger: Arc<Ledger>,
    queue: Arc<dyn Queue>,
}

impl Service {
    async fn start(
        args: &ApiArgs,
        max_input: Option<u64>,
        parts: Parts,
        shutdown: &Shutdown,
    ) -> Result<Self, Failed> {
        let Parts { ledger, queue, store, .. } = parts;
        let metrics = start_metrics()?;
        let (answering, close_books) = (CancellationToken::new(), CancellationToken::new());
        let config = args.http.api_config(max_input);
        let api = Api::new(
            Arc::clone(&ledger),
            Arc::clone(&queue),
            Arc::clone(&store),
            config,
            Some(metrics),
            answering.clone(),
        );
        let api = api.await.map_err(|problem| fault("start", &problem.detail))?;
        let listener = TcpListener::bind(args.http.listen).await;
        let listener =
            listener.map_err(|error| fault(&format!("listen on {}", args.http.listen), &error))?;
        let password = first_administrator(&api, &ledger, &args.ledger).await?;
        args.http.greet(&listener, password.as_deref());

        let (mut http, mut books) = (JoinSet::new(), JoinSet::new());
        let grace = seconds(args.grace);
        let server = args.http.server_config()?;
        let router = routes::router(api.clone());
        let told_to_end = answering.clone();
        http.spawn(async move {
            if let Err(error) = server::serve(listener, router, server, told_to_end, grace).await {
                tracing::error!(%error, "the HTTP port is closed");
            }
        });
        http.spawn(async move { api.run().await });
        let shutdown = shutdown.clone();
        http.spawn(async move {
            shutdown.draining().await;
            answering.cancel();
        });
        let (l, q, end) = (Arc::clone(&ledger), Arc::clone(&queue), close_books.clone());
        books.spawn(async move { dispatcher::run(&l, &*q, Window::default(), &end).await });
        let (l, q, s, end) =
            (Arc::clone(&ledger), Arc::clone(&queue), Arc::clone(&store), close_books.clone());
        books.spawn(async move { recorder::run(&l, &*q, s, &end).await });
        let (l, end, retention) =
            (Arc::clone(&ledger), close_books.clone(), args.ledger.retention());
        books.spawn(async move { sweep::run(&l, &*store, retention, &end).await });
        let (l, q, end) = (Arc::clone(&ledger), Arc::clone(&queue), close_books.clone());
        books.spawn(async move { reconciler::run(&l, &*q, &end).await });
        Ok(Self { http, books, close_books, ledger, queue })
    }

    /// Ends what is told to: first the answers, then the books about them.
    async fn end(mut self) {
        while self.http.join_next().await.is_some() {}
        self.close_books.cancel();
        while self.books.join_next().await.is_some() {}
        // After the recorder: whoever reads an event is there again.
        if let Err(error) = self.queue.leave().await {
            tracing::debug!(error = chain(&error), "left the queue without a word");
        }
        self.ledger.close().await;
    }
}

fn start_metrics() -> Result<PrometheusHandle, Failed> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| fault("keep metrics", &error))?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Makes the first administrator where there is nobody; its password, if it was made up here.
async fn first_administrator(
    api: &Api,
    ledger: &Ledger,
    args: &LedgerArgs,
) -> Result<Option<String>, Failed> {
    let failed = |why: String| fault("make the first administrator", &why);
    if ledger.has_users().await.map_err(|error| failed(chain(&error)))? {
        return Ok(None);
    }
    let password = match &args.admin_password {
        Some(given) => {
            check_new(given)
                .map_err(|problem| usage(format!("--admin-password: {}", problem.detail)))?;
            given.clone()
        }
        None => one_time(),
    };
    let hash = api.passwords().hash(&password).await.map_err(|problem| failed(problem.detail))?;
    let new =
        NewUser { name: ADMIN.to_owned(), role: Role::Admin, password_hash: hash, email: None };
    let added = ledger.add_user(&new).await.map_err(|error| failed(chain(&error)))?;
    // Of several that start at once, one has made it.
    Ok(added.filter(|_| args.admin_password.is_none()).map(|_| password))
}

impl HttpArgs {
    fn api_config(&self, max_input: Option<u64>) -> ApiConfig {
        let config = ApiConfig::default();
        ApiConfig {
            max_upload_bytes: max_input.unwrap_or(config.max_upload_bytes),
            upload_memory_bytes: self.upload_memory,
            tokens: TokenLifetimes {
                access: seconds(self.access_token),
                refresh: days(self.login_days),
                ..config.tokens
            },
            requests_at_once: self.requests_at_once,
            requests: Rate {
                burst: self.requests.saturating_mul(3),
                per_second: f64::from(self.requests),
            },
            presigned_downloads: self.presign.map(seconds),
            cors_origins: self.cors_origins.clone(),
            ..config
        }
    }

    fn server_config(&self) -> Result<ServerConfig, Failed> {
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let files = TlsFiles::load(cert, key);
                Some(files.map_err(|error| usage(format!("--tls-cert: {}", chain(&error))))?)
            }
            (None, None) => None,
            _ => return Err(usage("--tls-cert and --tls-key go together")),
        };
        Ok(ServerConfig {
            tls,
            trusted_proxies: self.trusted_proxies,
            max_connections: self.max_connections,
            ..ServerConfig::default()
        })
    }

    /// Says where the service is, and how to get in for the first time.
    fn greet(&self, listener: &TcpListener, password: Option<&str>) {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        let address = listener.local_addr().unwrap_or(self.listen);
        // Nobody may listen, and the service runs all the same.
        print_line(&format!("tonemill: {scheme}://{address}"));
        if let Some(password) = password {
            let line = format!("tonemill: log in as {ADMIN} with {password} (this is told once)");
            print_line(&line);
        }
    }
}
