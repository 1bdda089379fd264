//! The queue in Redis Streams (7.0 or later).
//!
//! A stream per lane, read by one consumer group; an entry that was delivered and not acknowledged
//! is a lease, its idle time the time since it was renewed. Everything that ends or extends a lease
//! is a script that first checks that the lease is held (`settle.lua`). Streams are never trimmed.
//!
//! All keys share one hash tag, so that scripts work in a cluster: with the default namespace
//! `{tonemill}:jobs:high`, `:normal`, `:low`, `{tonemill}:delayed` (jobs to try again later, by the
//! time from which), `{tonemill}:events`, `{tonemill}:mailbox:…`, `{tonemill}:cancel:…`,
//! `{tonemill}:progress:…`, `{tonemill}:unreadable` (entries that are no jobs, or
//! no events, or such that nobody could record), `{tonemill}:trial:…` (for a moment).

mod address;
mod config;
mod events;
mod jobs;
mod link;
mod receive;
mod reply;
mod scripts;
mod settings;
mod settle;
mod trial;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::cmd;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use self::address::Address;
pub use self::address::AddressError;
pub use self::config::RedisConfig;
use self::link::{Link, Request};
use self::receive::Receiving;
pub use self::receive::reclaim_pause;
use self::reply::{Streams, last_entry, sorted};
use self::scripts::{Keys, Scripts};
pub use self::settings::RedisSettings;
use self::settle::Settle;
use super::{
    Delivery, Depth, EventId, Hold, LaneDepth, LeaseToken, Memory, Queue, QueueError,
    QueueErrorKind, Result, Settlement,
};
use crate::id::JobId;
use crate::message::{JobEvent, JobMessage, Lane, Progress};

/// The consumer group of the workers, and that of the service's recorders.
const WORKERS: &str = "workers";
const RECORDERS: &str = "recorders";
/// The consumer under whose name released jobs are kept.
const RELEASED: &str = "released";
/// Longest time to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a wish to cancel is kept.
const CANCEL_SECONDS: u64 = 24 * 3600;
const PROGRESS_SECONDS: u64 = 60;
/// How long a mailbox that nobody closes is kept.
const MAILBOX_MS: u64 = 24 * 3600 * 1000;
/// Jobs that are queued in one step.
const ENQUEUE_AT_ONCE: usize = 500;

/// The queue in Redis.
pub struct RedisQueue {
    config: RedisConfig,
    worker: String,
    keys: Keys,
    scripts: Scripts,
    /// For all that is answered at once.
    commands: Link,
    /// For reads that wait: they would hold up everything else on their connection.
    jobs: Link,
    replies: Link,
    receiving: tokio::sync::Mutex<Receiving>,
    /// Events may have been handed out whose answer was lost, or whose confirmation was.
    events_lost: AtomicBool,
    /// Leases that were handed out and not settled.
    held: Mutex<HashSet<LeaseToken>>,
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RedisQueue");
        debug.field("config", &self.config).field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl RedisQueue {
    /// A queue that connects when it is used.
    pub fn new(config: RedisConfig) -> Result<Self, AddressError> {
        let address = Address::parse(&config.url)?;
        let link = || Link::new(address.clone(), PATIENCE);
        Ok(Self {
            worker: format!("worker-{}", Uuid::now_v7().simple()),
            keys: Keys::new(&config.namespace),
            scripts: Scripts::default(),
            commands: link(),
            jobs: link(),
            replies: link(),
            receiving: tokio::sync::Mutex::new(Receiving {
                lost_answer: false,
                next_reclaim: Instant::now(),
                next_sweep: Instant::now() + config.lease,
            }),
            events_lost: AtomicBool::new(false),
            held: Mutex::default(),
            config,
        })
    }

    /// Makes the consumer groups where they are missing: at the first use, and after Redis lost
    /// all.
    async fn make_groups(&self) -> Result<()> {
        let groups = self.keys.lanes.iter().map(|lane| (lane, WORKERS));
        for (stream, group) in groups.chain([(&self.keys.events, RECORDERS)]) {
            let mut make = cmd("XGROUP");
            make.arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM");
            match self.commands.send("make its groups", Request::Command(&make)).await {
                Ok(()) => {}
                Err(error) if code_of(&error) == Some("BUSYGROUP") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `call`, and again if the groups were missing.
    async fn with_groups<T, F: Future<Output = Result<T>> + Send>(
        &self,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T> {
        match call().await {
            Err(error) if is_without_group(&error) => {
                self.make_groups().await?;
                call().await
            }
            outcome => outcome,
        }
    }

    fn hold(&self, lease: LeaseToken) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(lease);
    }

    fn let_go(&self, lease: &LeaseToken) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(lease);
    }

    fn is_held(&self, lane: Lane, entry: &str) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().any(|lease| lease.lane == lane && lease.entry == entry)
    }

    async fn sweep(&self, name: &str) -> Result<u64> {
        let mut script = self.scripts.sweep.prepare_invoke();
        script.key(&self.keys.lanes).key(&self.keys.events);
        script.arg((self.config.lease * 2).as_millis().to_string()).arg(name);
        script.arg(&[WORKERS; 3]).arg(RECORDERS);
        self.commands.send("remove names", Request::Script(&script)).await
    }
}

#[async_trait]
impl Queue for RedisQueue {
    fn worker(&self) -> &str {
        &self.worker
    }

    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn enqueue(&self, jobs: &[JobMessage]) -> Result<()> {
        // Redis stands still while it runs a script.
        for jobs in jobs.chunks(ENQUEUE_AT_ONCE) {
            let mut script = self.scripts.enqueue.prepare_invoke();
            script.key(&self.keys.lanes);
            for job in jobs {
                script.arg(job.lane as usize + 1).arg(encode(job)?);
            }
            self.commands.send_once::<()>("take jobs", Request::Script(&script)).await?;
        }
        Ok(())
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>> {
        let mut state = self.receiving.lock().await;
        // Stays set if this future is dropped while an answer is under way.
        let lost_answer = std::mem::replace(&mut state.lost_answer, true);
        let mut current = Receiving { lost_answer, ..*state };
        let outcome = self.receive_until(&mut current, Instant::now() + wait).await;
        // Also if only a later step failed: the job that came before it is in nobody's hands.
        current.lost_answer |= outcome.is_err();
        *state = current;
        outcome
    }

    async fn renew(&self, lease: &LeaseToken) -> Result<Hold> {
        let hold = self.run_settle(lease, &Settle::Renew).await?;
        if hold == Hold::Lost {
            self.let_go(lease);
        }
        Ok(hold)
    }

    async fn settle(&self, lease: &LeaseToken, settlement: &Settlement) -> Result<Hold> {
        let message;
        let settle = match settlement {
            Settlement::Release => Settle::Release,
            Settlement::End { event, reply } => Settle::End { reply, event: encode(event)? },
            Settlement::Again { message: again, delay, event } => {
                message = encode(again)?;
                let event = Some((&again.reply, encode(event)?));
                Settle::Again { job: &message, delay: *delay, event }
            }
        };
        let hold = self.run_settle(lease, &settle).await?;
        self.let_go(lease);
        Ok(hold)
    }

    async fn announce(&self, job: &JobMessage, event: &JobEvent) -> Result<()> {
        let (key, mailbox_ms) = self.keys.reply(&job.reply);
        let mut add = redis::pipe();
        add.cmd("XADD").arg(&key).arg("*").arg("event").arg(encode(event)?).ignore();
        if mailbox_ms > 0 {
            add.cmd("PEXPIRE").arg(&key).arg(mailbox_ms).ignore();
        }
        self.commands.send_once("take an event", Request::Pipe(&add)).await
    }

    async fn cancel(&self, job: JobId) -> Result<()> {
        let mut set = cmd("SET");
        set.arg(self.keys.cancel(job)).arg(1).arg("EX").arg(CANCEL_SECONDS);
        self.commands.send("cancel a job", Request::Command(&set)).await
    }

    async fn cancelled(&self, jobs: &[JobId]) -> Result<Vec<JobId>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = cmd("MGET");
        for job in jobs {
            get.arg(self.keys.cancel(*job));
        }
        let flags: Vec<Option<u32>> =
            self.commands.send("say what is cancelled", Request::Command(&get)).await?;
        let flagged = jobs.iter().zip(flags).filter(|(_, flag)| flag.is_some());
        Ok(flagged.map(|(job, _)| *job).collect())
    }

    async fn report_progress(&self, job: JobId, progress: Progress) -> Result<()> {
        let mut set = cmd("SET");
        set.arg(self.keys.progress(job)).arg(encode(&progress)?);
        set.arg("EX").arg(PROGRESS_SECONDS);
        self.commands.send("take progress", Request::Command(&set)).await
    }

    async fn progress(&self, job: JobId) -> Result<Option<Progress>> {
        let mut get = cmd("GET");
        get.arg(self.keys.progress(job));
        let text: Option<Vec<u8>> =
            self.commands.send("tell progress", Request::Command(&get)).await?;
        text.map(|text| decode("tell progress", &text)).transpose()
    }

    async fn events(&self, max: usize, wait: Duration) -> Result<Vec<(EventId, JobEvent)>> {
        self.with_groups(|| self.read_events(max, wait)).await
    }

    async fn confirm(&self, events: &[EventId]) -> Result<()> {
        self.end_events("done", events.iter().map(|id| id.0.as_str())).await
    }

    async fn set_aside(&self, events: &[EventId]) -> Result<()> {
        self.end_events("aside", events.iter().map(|id| id.0.as_str())).await
    }

    async fn mail(
        &self,
        mailbox: Uuid,
        after: Option<&EventId>,
        wait: Duration,
    ) -> Result<Vec<(EventId, JobEvent)>> {
        let mut after = after.map_or_else(|| "0".to_owned(), |id| id.0.clone());
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(100).arg("BLOCK").arg(block_ms(wait)).arg("STREAMS");
            read.arg(self.keys.mailbox(mailbox)).arg(&after);
            let read: Streams =
                self.replies.send("read a mailbox", Request::Wait(&read, wait)).await?;
            let last = last_entry(&read);
            let events = sorted(read).events;
            match last {
                // What is no event is passed over once and for all.
                Some(last) if events.is_empty() => after = last,
                _ => return Ok(events),
            }
        }
    }

    async fn close_mailbox(&self, mailbox: Uuid) -> Result<()> {
        let mut delete = cmd("DEL");
        delete.arg(self.keys.mailbox(mailbox));
        self.commands.send("close a mailbox", Request::Command(&delete)).await
    }

    async fn depth(&self) -> Result<Depth> {
        let depth = || async {
            let mut script = self.scripts.depth.prepare_invoke();
            script.key(&self.keys.lanes).key(&self.keys.delayed).key(&self.keys.events);
            script.arg(WORKERS).arg(RECORDERS);
            self.commands.send("tell its depth", Request::Script(&script)).await
        };
        let numbers: [i64; 13] = self.with_groups(depth).await?;
        // Only the last may be less than 0: there is none.
        let number = |at: usize| u64::try_from(numbers[at]).unwrap_or_default();
        let ms = |at: usize| Duration::from_millis(number(at));
        let lane = |at: usize| LaneDepth {
            waiting: number(at),
            running: number(at + 1),
            oldest: ms(at + 2),
        };
        Ok(Depth {
            lanes: [lane(0), lane(3), lane(6)],
            delayed: number(9),
            events: number(10),
            oldest_event: (numbers[12] >= 0).then(|| ms(12)),
            workers: number(11),
        })
    }

    async fn jobs(&self) -> Result<HashSet<JobId>> {
        self.with_groups(|| self.list_jobs()).await
    }

    async fn leave(&self) -> Result<()> {
        self.with_groups(|| self.sweep(&self.worker)).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        self.commands.send_once("answer", Request::Command(&cmd("PING"))).await
    }

    async fn memory(&self) -> Result<Option<Memory>> {
        Ok(self.info().await?.map(|info| settings::memory(&info)))
    }
}

/// Redis blocks for ever on 0.
fn block_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| invalid("encode a message", error))
}

fn decode<T: DeserializeOwned>(operation: &'static str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| invalid(operation, error))
}

fn invalid(operation: &'static str, error: serde_json::Error) -> QueueError {
    let kind = QueueErrorKind::Invalid;
    QueueError { kind, operation, ambiguous: false, source: Box::new(error) }
}

/// The code with which the server answered.
fn code_of(error: &QueueError) -> Option<&str> {
    error.source.downcast_ref::<redis::RedisError>().and_then(redis::RedisError::code)
}

/// Redis was emptied, or is used for the first time. A script says so in its own words.
fn is_without_group(error: &QueueError) -> bool {
    let text = error.source.to_string();
    code_of(error) == Some("NOGROUP") || text.contains("NOGROUP") || text.contains("no such key")
}
