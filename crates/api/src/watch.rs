//! Watching jobs: who waits for news of a job is told by one watcher for each process, however many
//! wait.
//!
//! What this process changes is looked up at once. What other replicas change is found by asking
//! the ledger for all watched jobs together, a few times a second; how far a running job is, by
//! asking the queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonemill_job::message::Progress;
use tonemill_job::queue::{Depth, QueueError};
use tonemill_job::{JobId, Lane, chain};
use tonemill_ledger::{Job, JobState};

use crate::Api;
use crate::jobs::view::ProgressView;

/// How often watched jobs are looked up.
const LOOK: Duration = Duration::from_millis(250);
/// How often the position of a waiting job is.
const POSITION: Duration = Duration::from_secs(2);
/// How long the queue may take to tell how far a job is.
const PATIENCE: Duration = Duration::from_millis(300);
/// Jobs that are looked up together.
const TOGETHER: usize = 200;
/// Jobs whose outlook is found out at a time: one that takes long keeps few others waiting.
const AT_ONCE: usize = 16;
/// A position beyond this is told as this.
const FAR: u32 = 10_000;

/// A job at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The job.
    pub job: Job,
    /// What is to be expected.
    pub outlook: Outlook,
}

/// What is to be expected of a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outlook {
    /// Jobs before it.
    pub position: Option<u64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// How long until it is done.
    pub eta: Option<Duration>,
}

impl Outlook {
    /// For its user.
    #[must_use]
    pub fn view(&self) -> Option<ProgressView> {
        if *self == Self::default() {
            return None;
        }
        Some(ProgressView {
            position: self.position,
            encoded_seconds: self.progress.map(|progress| progress.encoded_seconds),
            declared_seconds: self.progress.and_then(|progress| progress.declared_seconds),
            percent: self.progress.and_then(fraction).map(|part| (part * 1000.0).round() / 10.0),
            eta_seconds: self.eta.map(|eta| (eta.as_secs_f64() * 10.0).round() / 10.0),
        })
    }
}

/// How much of a job is done, as far as its upload's word is good.
fn fraction(progress: Progress) -> Option<f64> {
    let declared = progress.declared_seconds.filter(|declared| *declared > 0.0)?;
    Some((progress.encoded_seconds / declared).clamp(0.0, 1.0))
}

/// The jobs that somebody watches in this process.
#[derive(Debug, Default)]
pub struct Watch(Mutex<HashMap<JobId, Watched>>);

#[derive(Debug)]
struct Watched {
    sender: watch::Sender<Arc<Snapshot>>,
    positioned: Instant,
}

impl Watch {
    /// News of a job, which is as `snapshot` now.
    pub fn subscribe(&self, snapshot: Snapshot) -> watch::Receiver<Arc<Snapshot>> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = watched.entry(snapshot.job.id).or_insert_with(|| Watched {
            sender: watch::Sender::new(Arc::new(snapshot)),
            positioned: Instant::now(),
        });
        entry.sender.subscribe()
    }

    /// The jobs that are still watched.
    fn jobs(&self) -> Vec<JobId> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, entry| entry.sender.receiver_count() > 0);
        watched.keys().copied().collect()
    }

    fn is_watched(&self, job: JobId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&job)
    }

    /// What was told last, if its position is young enough to be told again.
    fn last(&self, job: JobId) -> Option<Arc<Snapshot>> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = watched.get(&job)?;
        (entry.positioned.elapsed() < POSITION).then(|| entry.sender.borrow().clone())
    }

    fn tell(&self, snapshot: Snapshot, is_new_position: bool) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = watched.get_mut(&snapshot.job.id) else { return };
        if is_new_position {
            entry.positioned = Instant::now();
        }
        entry.sender.send_if_modified(|last| {
            // A look that began earlier may end later.
            let is_news = snapshot.job.version >= last.job.version && **last != snapshot;
            if is_news {
                *last = Arc::new(snapshot);
            }
            is_news
        });
    }
}

/// Tells the news until it is told to end.
pub async fn run(api: &Api, shutdown: &CancellationToken) {
    let mut changes = api.ledger.changes();
    let mut look = interval(LOOK);
    loop {
        let jobs = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.recv() => match change {
                Ok(job) if api.watch.is_watched(job) => vec![job],
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => api.watch.jobs(),
        };
        let traffic = Traffic::default();
        for jobs in jobs.chunks(TOGETHER) {
            match api.ledger.jobs_by_id(jobs).await {
                Ok(jobs) => {
                    let tell = |job| api.tell_news(job, &traffic);
                    stream::iter(jobs).for_each_concurrent(AT_ONCE, tell).await;
                }
                Err(error) => tracing::debug!(error = chain(&error), "no news can be told"),
            }
        }
    }
}

/// What all jobs that wait have in common at a moment: found out once, when the first needs it.
#[derive(Debug, Default)]
struct Traffic(OnceCell<(Option<Depth>, Option<f64>)>);

impl Traffic {
    /// How full the queue is, and how many jobs are finished each second.
    async fn of(&self, api: &Api) -> (Option<&Depth>, Option<f64>) {
        let look = async || {
            let pace = api.ledger.pace_per_second();
            let (depth, pace) = tokio::join!(soon(api.queue.depth()), pace);
            (depth, pace.ok().flatten())
        };
        let (depth, pace) = self.0.get_or_init(look).await;
        (depth.as_ref(), *pace)
    }
}

impl Api {
    async fn tell_news(&self, job: Job, traffic: &Traffic) {
        let last = self.watch.last(job.id);
        let kept =
            last.filter(|last| last.job.version == job.version && job.state == JobState::Waiting);
        let (snapshot, is_new_position) = match kept {
            Some(last) => ((*last).clone(), false),
            None => (self.snapshot_in(job, traffic).await, true),
        };
        self.watch.tell(snapshot, is_new_position);
    }

    /// A job with its outlook. What cannot be found out is left away.
    pub(crate) async fn snapshot(&self, job: Job) -> Snapshot {
        self.snapshot_in(job, &Traffic::default()).await
    }

    async fn snapshot_in(&self, job: Job, traffic: &Traffic) -> Snapshot {
        let mut outlook = Outlook::default();
        match job.state {
            JobState::Waiting => {
                let before = self.ledger.waiting_before(&job, FAR).await.ok();
                let (depth, pace) = traffic.of(self).await;
                let queued = depth.map(|depth| {
                    let lane = Lane::ALL.iter().position(|lane| *lane == job.lane);
                    lane.map_or(0, |lane| depth.lanes[lane].waiting)
                });
                outlook.position = before.zip(queued).map(|(before, queued)| before + queued);
                outlook.eta = outlook.position.zip(pace).and_then(|(position, pace)| {
                    Duration::try_from_secs_f64((position + 1) as f64 / pace).ok()
                });
            }
            JobState::Running => {
                outlook.progress = soon(self.queue.progress(job.id)).await.flatten();
                let done = outlook.progress.and_then(fraction).filter(|done| *done > 0.01);
                outlook.eta = done.zip(job.started_ms).and_then(|(done, started)| {
                    let spent = (self.ledger.now_ms() - started) as f64 / 1000.0;
                    Duration::try_from_secs_f64(spent * (1.0 - done) / done).ok()
                });
            }
            _ => {}
        }
        Snapshot { job, outlook }
    }
}

/// What the queue says, if it says it soon: it is worth no wait.
async fn soon<T>(call: impl Future<Output = Result<T, QueueError>>) -> Option<T> {
    timeout(PATIENCE, call).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_as_good_as_what_was_declared() {
        let of = |encoded_seconds, declared_seconds| {
            let progress = Some(Progress { encoded_seconds, declared_seconds });
            Outlook { progress, ..Outlook::default() }.view().unwrap().percent
        };
        assert_eq!(of(12.345, Some(100.0)), Some(12.3));
        assert_eq!(of(120.0, Some(100.0)), Some(100.0));
        assert_eq!(of(1.0, Some(0.0)), None);
        assert_eq!(of(1.0, None), None);
        assert_eq!(Outlook::default().view(), None);
    }
}
