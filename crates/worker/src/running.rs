//! The jobs that run in this process: who asks for their end finds them here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tonemill_job::JobId;
use tonemill_job::queue::Queue;

use crate::control::{Control, Stop};

/// How often the queue is asked for jobs that nobody wants any more: a job is to stop within 2 s.
const ASK: Duration = Duration::from_millis(500);

/// Controls of the jobs that run, by the number under which they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Jobs>>);

#[derive(Debug, Default)]
struct Jobs {
    next: u64,
    by_number: HashMap<u64, (JobId, Control)>,
    /// Why no job is to go on, if none is.
    stopped: Option<Stop>,
}

/// A job among those that run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    number: u64,
    running: Running,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.jobs().by_number.remove(&self.number);
    }
}

impl Running {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. It may be stopped at once.
    pub(crate) fn add(&self, job: JobId, control: Control) -> Entry {
        let mut jobs = self.jobs();
        if let Some(why) = jobs.stopped {
            control.stop(why);
        }
        jobs.next += 1;
        let number = jobs.next;
        jobs.by_number.insert(number, (job, control));
        Entry { number, running: self.clone() }
    }

    /// Stops all jobs, and those to come.
    pub(crate) fn stop_all(&self, why: Stop) {
        let mut jobs = self.jobs();
        jobs.stopped = Some(why);
        jobs.by_number.values().for_each(|(_, control)| control.stop(why));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs().by_number.len()
    }

    /// Stops what somebody cancels, for as long as it is polled.
    pub(crate) async fn watch_cancellations(&self, queue: &dyn Queue) {
        loop {
            sleep(ASK).await;
            let jobs: Vec<JobId> = self.jobs().by_number.values().map(|(job, _)| *job).collect();
            if jobs.is_empty() {
                continue;
            }
            // A queue that is away is asked again.
            let cancelled = queue.cancelled(&jobs).await.unwrap_or_default();
            let running = self.jobs();
            let wanted = running.by_number.values().filter(|(job, _)| cancelled.contains(job));
            wanted.for_each(|(_, control)| control.stop(Stop::Cancelled));
        }
    }
}
