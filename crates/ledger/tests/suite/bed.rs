//! A ledger for one test, on a database of its own, with a queue and a store.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonemill_job::message::{Failure, FailureKind, Finished, JobEvent, Position, What, now_ms};
use tonemill_job::objects::{
    FolderStore, ObjectStore, S3Config, S3Credentials, S3Store, put_small,
};
use tonemill_job::queue::memory::MemoryQueue;
use tonemill_job::queue::{LaneWeights, Queue};
use tonemill_job::{JobId, JobOptions, Lane, ObjectKey};
use tonemill_ledger::deliveries::{Delivery, DeliveryFilter};
use tonemill_ledger::users::{NewUser, Role, User};
use tonemill_ledger::webhooks::NewWebhook;
use tonemill_ledger::{Acceptance, Job, JobState, Ledger, LedgerConfig, NewJob, Owner, Quotas};
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;
use uuid::Uuid;

/// Of the password that users have.
pub const PASSWORD_HASH: &str = "hash";

/// What a test has.
pub struct Bed {
    pub ledger: Arc<Ledger>,
    pub queue: Arc<MemoryQueue>,
    pub store: Arc<dyn ObjectStore>,
    pub url: String,
    _folder: TempDir,
}

impl Bed {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger?mode=rwc", folder.path().display());
        Self::at(url, folder).await
    }

    pub async fn mariadb() -> Self {
        static SERVER: OnceLock<MariaDb> = OnceLock::new();
        let url = tokio::task::spawn_blocking(|| {
            SERVER.get_or_init(MariaDb::start_with_parent).fresh_database()
        });
        Self::at(url.await.unwrap(), tempfile::tempdir().unwrap()).await
    }

    pub async fn postgres() -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        let url = tokio::task::spawn_blocking(|| {
            SERVER.get_or_init(Postgres::start_with_parent).fresh_database()
        });
        Self::at(url.await.unwrap(), tempfile::tempdir().unwrap()).await
    }

    async fn at(url: String, folder: TempDir) -> Self {
        // Replicas that start together: one makes the tables, the others wait for it.
        let open = || Ledger::open(LedgerConfig::new(url.clone()));
        let (ledger, second, third) = tokio::join!(open(), open(), open());
        let _replicas = [second.unwrap(), third.unwrap()];
        Self {
            ledger: Arc::new(ledger.unwrap()),
            queue: Arc::new(MemoryQueue::new(Duration::from_secs(30), LaneWeights::default())),
            store: Arc::new(FolderStore::new(folder.path().join("store"))),
            url,
            _folder: folder,
        }
    }

    /// Another process at the same ledger.
    pub async fn another_ledger(&self, quotas: Quotas) -> Ledger {
        let config = LedgerConfig { quotas, ..LedgerConfig::new(self.url.clone()) };
        Ledger::open(config).await.unwrap()
    }

    pub async fn user(&self, name: &str) -> User {
        let new = NewUser {
            name: name.to_owned(),
            role: Role::User,
            password_hash: PASSWORD_HASH.to_owned(),
            email: None,
        };
        self.ledger.add_user(&new).await.unwrap().expect("the name is free")
    }

    /// Somebody who has an address.
    pub async fn with_mail(&self, name: &str, role: Role) -> User {
        let email = Some(format!("{name}@example.org"));
        let password_hash = PASSWORD_HASH.to_owned();
        let new = NewUser { name: name.to_owned(), role, password_hash, email };
        self.ledger.add_user(&new).await.unwrap().expect("the name is free")
    }

    /// Accepts a job of `user`, without an upload in the store.
    pub async fn accept(&self, user: &User, lane: Lane) -> JobId {
        let job = NewJob { lane, ..new_job(user) };
        assert_eq!(self.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
        job.id
    }

    /// Does to the database what no user of the ledger can.
    pub async fn sql(&self, text: &str) {
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    }

    /// Writes, and does not come to an end until what this returns is dropped.
    pub async fn slow_writer(&self) -> AnyConnection {
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        for text in ["BEGIN", "UPDATE lanes SET serving_turn = serving_turn"] {
            sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        }
        connection
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.ledger.job(Owner::Anyone, id).await.unwrap().expect("there is such a job")
    }

    pub async fn state(&self, id: JobId) -> JobState {
        self.job(id).await.state
    }

    /// Writes down that something happened to a job; what nobody needs any more.
    pub async fn record(&self, job: JobId, attempt: u32, what: What) -> Vec<ObjectKey> {
        self.ledger.record(&[event(job, attempt, what)]).await.unwrap()
    }

    /// Puts an object into the store.
    pub async fn put(&self, key: &ObjectKey) {
        self.put_bytes(key, b"bytes").await;
    }

    pub async fn put_bytes(&self, key: &ObjectKey, bytes: &'static [u8]) {
        put_small(&*self.store, key, "audio/mpeg", Bytes::from_static(bytes)).await.unwrap();
    }

    /// What is owed, or was, about a job, oldest first.
    pub async fn owed(&self, job: JobId) -> Vec<Delivery> {
        let about = DeliveryFilter { job: Some(job), ..DeliveryFilter::default() };
        let mut owed = self.ledger.list_deliveries(Owner::Anyone, &about, 100).await.unwrap();
        owed.reverse();
        owed
    }

    /// Takes every job out of the queue that is in it, as workers would.
    pub async fn receive_all(&self) -> Vec<JobId> {
        let mut jobs = Vec::new();
        while let Some(delivery) = self.queue.receive(Duration::ZERO).await.unwrap() {
            jobs.push(delivery.message.job);
        }
        jobs
    }
}

/// A webhook that wants to know of these.
pub fn hook(events: &[&str]) -> NewWebhook {
    let (url, secret) = ("https://example.org/".to_owned(), "secret".to_owned());
    let events = events.iter().map(ToString::to_string).collect();
    NewWebhook { id: Uuid::now_v7(), url, secret, events }
}

pub fn new_job(user: &User) -> NewJob {
    let id = JobId::new();
    NewJob {
        id,
        user: user.id,
        lane: Lane::Normal,
        label: String::new(),
        file_name: "talk.mp4".to_owned(),
        media: "mp4".to_owned(),
        options: JobOptions::default(),
        traceparent: None,
        input: ObjectKey::upload(id),
        input_bytes: 1000,
        input_blake3: None,
        is_upload: false,
        webhook: None,
    }
}

pub fn event(job: JobId, attempt: u32, what: What) -> JobEvent {
    JobEvent {
        v: 1,
        job,
        attempt,
        worker: "worker-1".to_owned(),
        at_ms: now_ms(),
        traceparent: None,
        what,
    }
}

pub fn finished(job: JobId, attempt: u32) -> What {
    What::Finished(Box::new(Finished {
        output: ObjectKey::output(job, attempt),
        bytes: 400,
        duration_seconds: 12.5,
        audio_blake3: "ab".repeat(32),
        truncated: true,
        warnings: vec!["the end is missing".to_owned()],
        report: serde_json::json!({ "frames": 7 }),
    }))
}

pub fn failure(kind: FailureKind) -> Box<Failure> {
    Box::new(Failure {
        kind,
        stage: "decode".to_owned(),
        message: "no sound".to_owned(),
        advice: "send sound".to_owned(),
        chain: vec!["no sound".to_owned()],
        probe: None,
        position: Position::default(),
    })
}

/// A store that takes every request and never answers.
pub struct SlowStore {
    pub store: Arc<dyn ObjectStore>,
    /// Told when somebody asks it for something.
    pub asked: Arc<Notify>,
}

pub async fn slow_store() -> SlowStore {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.unwrap());
            tell.notify_one();
        }
    });
    let credentials = S3Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    let store = S3Store::new(S3Config::new(Some(endpoint), "bucket", credentials)).await.unwrap();
    SlowStore { store: Arc::new(store), asked }
}
