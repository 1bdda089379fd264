//! The system, and users who submit clips to it and do not give up before a job is accepted.

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Row as _;
use tokio::task::JoinSet;
use tonemill_job::objects::{ObjectStore, S3Store};
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_job::queue::{Depth, Queue};

use crate::bucket::{Bucket, s3_config};
use crate::client::Client;
use crate::clips::Clip;
use crate::jobs::id_of;
use crate::ledger::Ledger;
use crate::separate::Separate;
use crate::service::PASSWORD;
use crate::support::chaos::is_full;
use crate::{PATIENCE, until};

/// A lease in these tests: short, so that the dead are soon replaced.
pub const LEASE: Duration = Duration::from_secs(2);
/// Users that upload at the same time.
const UPLOADS: usize = 4;
/// What every API and worker has besides the usual: room for those who ask all the time.
const USUAL: [(&str, &str); 2] = [("TONEMILL_REQUESTS", "1000000"), ("TONEMILL_JOBS", "2")];

pub struct System {
    pub parts: Separate,
    /// A user who may do everything, at the first API.
    pub client: Client,
    pub store: Arc<dyn ObjectStore>,
    pub queue: RedisQueue,
    /// What was accepted, by job.
    pub jobs: BTreeMap<String, Arc<Clip>>,
    /// Uploads that were begun: each has a label and an idempotency key of its own.
    uploads: usize,
}

impl System {
    /// An API and no worker, over a database; `None` is SQLite.
    pub async fn start(database: Option<&str>) -> Self {
        let mut system = Self::unstarted(database).await;
        system.parts.add_api(&[]);
        system.log_in().await;
        system
    }

    /// Neither API nor worker.
    pub async fn unstarted(database: Option<&str>) -> Self {
        let mut parts = Separate::without_processes(database);
        parts.variables.extend(USUAL.map(|(name, value)| (name, value.to_owned())));
        let mut config = RedisConfig::new(parts.redis.url());
        config.lease = LEASE;
        let queue = RedisQueue::new(config).expect("an address");
        let store = S3Store::new(s3_config(&parts.s3)).await.expect("a store");
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        let client = Client::new(([127, 0, 0, 1], 1).into());
        Self { parts, client, store, queue, jobs: BTreeMap::new(), uploads: 0 }
    }

    /// The user asks the first API from now on.
    pub async fn log_in(&mut self) {
        self.client = self.parts.nobody(0).log_in("admin", PASSWORD).await.with_a_key().await;
    }

    /// The same user at another API.
    pub fn at(&self, api: usize) -> Client {
        Client { address: self.parts.apis[api].1, ..self.client.clone() }
    }

    /// Submits clips in turn, until each is accepted.
    pub async fn submit(&mut self, count: usize, clips: &[Arc<Clip>]) {
        let client = self.client.clone();
        self.submit_to(from_ref(&client), count, clips).await;
    }

    /// Submits clips in turn, to these APIs in turn.
    pub async fn submit_to(&mut self, apis: &[Client], count: usize, clips: &[Arc<Clip>]) {
        let mut users = JoinSet::new();
        for clip in clips.iter().cycle().take(count) {
            if users.len() >= UPLOADS {
                self.jobs.extend(users.join_next().await.map(|job| job.expect("no panic")));
            }
            let client = apis[self.uploads % apis.len()].clone();
            users.spawn(self.upload(client, clip));
        }
        self.jobs.extend(users.join_all().await);
    }

    /// Submits a clip until it is accepted; the job and what it is to become, which whoever asks
    /// for it puts among the accepted.
    pub fn upload(
        &mut self,
        client: Client,
        clip: &Arc<Clip>,
    ) -> impl Future<Output = (String, Arc<Clip>)> + Send + use<> {
        self.uploads += 1;
        accepted(client, format!("upload-{}", self.uploads), Arc::clone(clip))
    }

    pub async fn ledger(&self) -> Ledger {
        Ledger::open(&self.parts.database).await
    }

    /// How many jobs are over.
    pub async fn ended(&self) -> usize {
        let ended = "SELECT COUNT(*) FROM jobs WHERE state IN ('finished', 'failed', 'cancelled')";
        self.ledger().await.number(ended).await as usize
    }

    /// Waits until all jobs are over, or for as long as is reasonable; how long that took.
    pub async fn wait(&self) -> Duration {
        let patience = Duration::from_secs(if is_full() { 600 } else { 60 });
        let (start, mut ledger) = (Instant::now(), self.ledger().await);
        let unfinished = "SELECT id FROM jobs WHERE state IN ('waiting', 'queued', 'running')";
        loop {
            let left = ledger.rows(unfinished).await;
            if left.is_empty() {
                return start.elapsed();
            }
            let first: Vec<String> = left.iter().take(5).map(|row| row.get(0)).collect();
            let late = start.elapsed() > patience;
            assert!(!late, "{} never end: {first:?}\n{}", left.len(), self.parts.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until one more job than `ended` is over; how long that took.
    pub async fn wait_for_more_than(&self, ended: usize) -> Duration {
        let (start, mut ledger) = (Instant::now(), self.ledger().await);
        let query = "SELECT COUNT(*) FROM jobs WHERE state IN ('finished', 'failed', 'cancelled')";
        until("one more end", async || {
            (ledger.number(query).await as usize > ended).then_some(start.elapsed())
        })
        .await
    }

    /// Waits until workers run so many jobs.
    pub async fn wait_until_running(&self, jobs: u64) {
        until("work", async || (running(&self.depth().await) >= jobs).then_some(())).await;
    }

    pub async fn depth(&self) -> Depth {
        until("an answer of Redis", async || self.queue.depth().await.ok()).await
    }

    pub fn bucket(&self) -> Bucket<'_> {
        Bucket { store: &*self.store, s3: &self.parts.s3 }
    }

    /// Ends everybody in order.
    pub async fn end(mut self) {
        for worker in &mut self.parts.workers {
            worker.drain().await;
        }
        for (api, _) in &mut self.parts.apis {
            api.drain().await;
        }
    }
}

/// How many jobs workers have.
pub fn running(depth: &Depth) -> u64 {
    depth.lanes.iter().map(|lane| lane.running).sum()
}

/// Uploads until there is a good answer; the job and what it is to become.
async fn accepted(client: Client, key: String, clip: Arc<Clip>) -> (String, Arc<Clip>) {
    let start = Instant::now();
    loop {
        let request = client.post(format!("/v1/jobs?label={key}")).header("idempotency-key", &key);
        match request.body(clip.bytes.clone()).try_send().await {
            Ok(reply) if reply.status <= 201 => return (id_of(&reply), clip),
            // What the API needs is away.
            Ok(reply) if reply.status == 503 => {
                reply.problem(503);
                assert!(reply.number("retry-after") > 0);
            }
            // Its request before is under way.
            Ok(reply) if reply.status == 409 => {}
            Ok(reply) => panic!("{}: {}", reply.status, reply.text()),
            Err(_) => {}
        }
        assert!(start.elapsed() < PATIENCE * 3, "no good answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
