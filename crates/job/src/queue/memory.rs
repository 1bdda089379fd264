//! The queue in the memory of one process, for the embedded default and for tests. It behaves as
//! the one in Redis does, leases and all, and is gone with its process: the service, which wrote
//! down what it accepted, fills it again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::{
    Delivery, Depth, EventId, Hold, LaneDepth, LaneWeights, LeaseToken, Queue, QueueError,
    QueueErrorKind, Result, Settlement,
};
use crate::id::JobId;
use crate::message::{JobEvent, JobMessage, Lane, Progress, Reply};

/// How long progress is kept.
const PROGRESS: Duration = Duration::from_mins(1);

/// One process's handle to a queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    worker: String,
    lease: Duration,
    weights: LaneWeights,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a job, or an event, or one may have come due.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the next entry or event.
    next: u64,
    /// Jobs by entry, in the order of [`Lane::ALL`].
    waiting: [VecDeque<Waiting>; 3],
    leased: BTreeMap<u64, Leased>,
    delayed: BTreeMap<(Instant, u64), JobMessage>,
    events: BTreeMap<u64, Told>,
    mailboxes: HashMap<Uuid, Vec<(u64, JobEvent)>>,
    cancelled: HashSet<JobId>,
    progress: HashMap<JobId, (Progress, Instant)>,
    workers: HashSet<String>,
}

#[derive(Debug)]
struct Waiting {
    entry: u64,
    since: Instant,
    message: JobMessage,
    /// Deliveries that count against it.
    deliveries: u32,
}

#[derive(Debug)]
struct Leased {
    job: Waiting,
    lane: usize,
    worker: String,
    until: Instant,
}

#[derive(Debug)]
struct Told {
    event: JobEvent,
    since: Instant,
    /// When it may be handed out again; `None` if it never was.
    handed_out_until: Option<Instant>,
}

impl MemoryQueue {
    /// An empty queue whose leases last for `lease`.
    #[must_use]
    pub fn new(lease: Duration, weights: LaneWeights) -> Self {
        Self { worker: new_name(), lease, weights, shared: Arc::default() }
    }

    /// The same queue, for another worker.
    #[must_use]
    pub fn another(&self) -> Self {
        let Self { lease, weights, shared, .. } = self;
        let shared = Arc::clone(shared);
        Self { worker: new_name(), lease: *lease, weights: *weights, shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` finds, as soon as it finds something; `None` after `wait`.
    async fn wait_for<T>(
        &self,
        wait: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + wait;
        loop {
            // Registered before the look, so that no change in between is missed.
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = {
                let mut state = self.state();
                if let Some(found) = look(&mut state) {
                    return Some(found);
                }
                state.next_change().map_or(end, |next| next.min(end))
            };
            if timeout_at(next.into(), changed).await.is_err() && Instant::now() >= end {
                return None;
            }
        }
    }
}

fn new_name() -> String {
    format!("worker-{}", Uuid::now_v7().simple())
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// When something happens by itself: a lease or a delay ends.
    fn next_change(&self) -> Option<Instant> {
        let lease = self.leased.values().map(|leased| leased.until).min();
        let delay = self.delayed.keys().next().map(|(at, _)| *at);
        let event = self.events.values().filter_map(|event| event.handed_out_until).min();
        [lease, delay, event].into_iter().flatten().min()
    }

    fn enqueue(&mut self, message: JobMessage) {
        let entry = self.number();
        let waiting = Waiting { entry, since: Instant::now(), message, deliveries: 0 };
        self.waiting[place(waiting.message.lane)].push_back(waiting);
    }

    fn tell(&mut self, reply: &Reply, event: JobEvent) {
        let number = self.number();
        match reply {
            Reply::Service => {
                let since = Instant::now();
                self.events.insert(number, Told { event, since, handed_out_until: None });
            }
            Reply::Mailbox(mailbox) => {
                self.mailboxes.entry(*mailbox).or_default().push((number, event));
            }
        }
    }

    fn take(&mut self, worker: &str, order: [Lane; 3], lease: Duration) -> Option<Delivery> {
        self.workers.insert(worker.to_owned());
        let now = Instant::now();
        while let Some(due) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let message = due.remove();
            self.enqueue(message);
        }
        let expired = self.leased.iter().find(|(_, leased)| leased.until <= now);
        let (lane, mut job) = if let Some(entry) = expired.map(|(entry, _)| *entry) {
            let leased = self.leased.remove(&entry)?;
            (leased.lane, leased.job)
        } else {
            let lane = order.map(place).into_iter().find(|lane| !self.waiting[*lane].is_empty())?;
            (lane, self.waiting[lane].pop_front()?)
        };
        job.deliveries += 1;
        let token = LeaseToken {
            job: job.message.job,
            lane: Lane::ALL[lane],
            entry: job.entry.to_string(),
            deliveries: job.deliveries,
        };
        let message = job.message.clone();
        let deliveries = job.deliveries;
        let leased = Leased { job, lane, worker: worker.to_owned(), until: now + lease };
        self.leased.insert(leased.job.entry, leased);
        Some(Delivery { message, lease: token, deliveries })
    }

    fn held(&mut self, worker: &str, token: &LeaseToken) -> Option<&mut Leased> {
        let entry = token.entry.parse().ok()?;
        let is_this = |leased: &&mut Leased| {
            leased.worker == worker && leased.job.deliveries == token.deliveries
        };
        self.leased.get_mut(&entry).filter(is_this)
    }

    fn settle(&mut self, worker: &str, token: &LeaseToken, settlement: &Settlement) -> Hold {
        let Some(entry) = self.held(worker, token).map(|leased| leased.job.entry) else {
            return Hold::Lost;
        };
        let Some(Leased { mut job, lane, .. }) = self.leased.remove(&entry) else {
            return Hold::Lost;
        };
        match settlement {
            Settlement::Release => {
                job.deliveries -= 1;
                self.waiting[lane].push_front(job);
            }
            Settlement::End { event, reply } => {
                self.tell(reply, event.clone());
                self.cancelled.remove(&token.job);
                self.progress.remove(&token.job);
            }
            Settlement::Again { message, delay, event } => {
                self.tell(&message.reply, event.clone());
                let number = self.number();
                self.delayed.insert((Instant::now() + *delay, number), (**message).clone());
            }
        }
        Hold::Held
    }
}

fn place(lane: Lane) -> usize {
    match lane {
        Lane::High => 0,
        Lane::Normal => 1,
        Lane::Low => 2,
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    fn worker(&self) -> &str {
        &self.worker
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    async fn enqueue(&self, jobs: &[JobMessage]) -> Result<()> {
        jobs.iter().cloned().for_each(|job| self.state().enqueue(job));
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>> {
        let order = self.weights.order();
        let take = |state: &mut State| state.take(&self.worker, order, self.lease);
        Ok(self.wait_for(wait, take).await)
    }

    async fn renew(&self, lease: &LeaseToken) -> Result<Hold> {
        let until = Instant::now() + self.lease;
        Ok(match self.state().held(&self.worker, lease) {
            Some(leased) => {
                leased.until = until;
                Hold::Held
            }
            None => Hold::Lost,
        })
    }

    async fn settle(&self, lease: &LeaseToken, settlement: &Settlement) -> Result<Hold> {
        let hold = self.state().settle(&self.worker, lease, settlement);
        self.shared.changed.notify_waiters();
        Ok(hold)
    }

    async fn announce(&self, job: &JobMessage, event: &JobEvent) -> Result<()> {
        self.state().tell(&job.reply, event.clone());
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn cancel(&self, job: JobId) -> Result<()> {
        self.state().cancelled.insert(job);
        Ok(())
    }

    async fn cancelled(&self, jobs: &[JobId]) -> Result<Vec<JobId>> {
        let state = self.state();
        Ok(jobs.iter().copied().filter(|job| state.cancelled.contains(job)).collect())
    }

    async fn report_progress(&self, job: JobId, progress: Progress) -> Result<()> {
        let mut state = self.state();
        state.progress.retain(|_, (_, at)| at.elapsed() < PROGRESS);
        state.progress.insert(job, (progress, Instant::now()));
        Ok(())
    }

    async fn progress(&self, job: JobId) -> Result<Option<Progress>> {
        let found = self.state().progress.get(&job).copied();
        Ok(found.filter(|(_, at)| at.elapsed() < PROGRESS).map(|(progress, _)| progress))
    }

    async fn events(&self, max: usize, wait: Duration) -> Result<Vec<(EventId, JobEvent)>> {
        let look = |state: &mut State| {
            let now = Instant::now();
            let free = |event: &Told| event.handed_out_until.is_none_or(|until| until <= now);
            let free = state.events.iter_mut().filter(|(_, event)| free(event)).take(max);
            let found: Vec<_> = free
                .map(|(number, event)| {
                    event.handed_out_until = Some(now + self.lease);
                    (EventId(number.to_string()), event.event.clone())
                })
                .collect();
            (!found.is_empty()).then_some(found)
        };
        Ok(self.wait_for(wait, look).await.unwrap_or_default())
    }

    async fn confirm(&self, events: &[EventId]) -> Result<()> {
        let mut state = self.state();
        for id in events {
            state.events.remove(&number(id)?);
        }
        Ok(())
    }

    async fn set_aside(&self, events: &[EventId]) -> Result<()> {
        // There is no place that somebody could look at.
        self.confirm(events).await
    }

    async fn mail(
        &self,
        mailbox: Uuid,
        after: Option<&EventId>,
        wait: Duration,
    ) -> Result<Vec<(EventId, JobEvent)>> {
        let after = after.map(number).transpose()?.unwrap_or(0);
        let look = |state: &mut State| {
            let mail = state.mailboxes.get(&mailbox)?.iter().filter(|(number, _)| *number > after);
            let mail: Vec<_> =
                mail.map(|(number, event)| (EventId(number.to_string()), event.clone())).collect();
            (!mail.is_empty()).then_some(mail)
        };
        Ok(self.wait_for(wait, look).await.unwrap_or_default())
    }

    async fn close_mailbox(&self, mailbox: Uuid) -> Result<()> {
        self.state().mailboxes.remove(&mailbox);
        Ok(())
    }

    async fn depth(&self) -> Result<Depth> {
        let state = self.state();
        let mut depth = Depth {
            delayed: state.delayed.len() as u64,
            events: state.events.len() as u64,
            oldest_event: state.events.first_key_value().map(|(_, event)| event.since.elapsed()),
            workers: state.workers.len() as u64,
            ..Depth::default()
        };
        for (lane, waiting) in depth.lanes.iter_mut().zip(&state.waiting) {
            let oldest = waiting.front().map(|job| job.since.elapsed()).unwrap_or_default();
            *lane = LaneDepth { waiting: waiting.len() as u64, running: 0, oldest };
        }
        for leased in state.leased.values() {
            depth.lanes[leased.lane].running += 1;
        }
        Ok(depth)
    }

    async fn jobs(&self) -> Result<HashSet<JobId>> {
        let state = self.state();
        let waiting = state.waiting.iter().flatten().map(|waiting| &waiting.message);
        let leased = state.leased.values().map(|leased| &leased.job.message);
        Ok(waiting.chain(leased).chain(state.delayed.values()).map(|message| message.job).collect())
    }

    async fn leave(&self) -> Result<()> {
        let mut state = self.state();
        if state.leased.values().all(|leased| leased.worker != self.worker) {
            state.workers.remove(&self.worker);
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn number(id: &EventId) -> Result<u64> {
    id.0.parse().map_err(|error| QueueError {
        kind: QueueErrorKind::Invalid,
        operation: "find an event",
        ambiguous: false,
        source: Box::new(error),
    })
}
