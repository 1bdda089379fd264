//! Plays the part of the service that writes down what becomes of jobs: the first end counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tonemill_job::message::{Failure, Finished, What};
use tonemill_job::queue::Queue;
use tonemill_job::{JobEvent, JobId};

/// What is known of all jobs.
#[derive(Default)]
pub struct Book {
    pub jobs: HashMap<JobId, Record>,
}

/// What is known of a job.
#[derive(Debug, Default, Clone)]
pub struct Record {
    pub ends: Vec<End>,
    /// When its attempts began, in milliseconds since 1970 by the worker's clock, as all times
    /// here.
    pub started_ms: Vec<u64>,
    /// What was tried again, and when that was said.
    pub retries: Vec<(u64, Failure)>,
    /// The highest number of an attempt.
    pub attempts: u32,
    pub ended_ms: u64,
}

#[derive(Debug, Clone)]
pub enum End {
    Finished(Box<Finished>),
    Failed(Box<Failure>),
    Cancelled,
}

/// Writes events down for as long as it lives.
pub struct Recorder {
    book: Arc<Mutex<Book>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub fn start(queue: Arc<dyn Queue>) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let written = Arc::clone(&book);
        let task = tokio::spawn(async move {
            loop {
                match queue.events(100, Duration::from_millis(200)).await {
                    Ok(events) => {
                        let (ids, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
                        {
                            let mut book = written.lock().unwrap();
                            for event in events {
                                book.write(event);
                            }
                        }
                        // What is not confirmed comes again, and is counted again: so try on.
                        while queue.confirm(&ids).await.is_err() {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Self { book, task }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// How many jobs have ended.
    pub fn ended(&self) -> usize {
        self.book().jobs.values().filter(|job| !job.ends.is_empty()).count()
    }

    /// Waits until `jobs` jobs have ended; how many have, in the end.
    pub async fn wait_for_ends(&self, jobs: usize, patience: Duration) -> usize {
        let end = Instant::now() + patience;
        loop {
            let ended = self.ended();
            if ended >= jobs || Instant::now() > end {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Book {
    fn write(&mut self, event: JobEvent) {
        let record = self.jobs.entry(event.job).or_default();
        record.attempts = record.attempts.max(event.attempt);
        if matches!(event.what, What::Finished(_) | What::Failed { .. } | What::Cancelled) {
            record.ended_ms = event.at_ms;
        }
        match event.what {
            What::Started => record.started_ms.push(event.at_ms),
            What::Retrying { failure, .. } => record.retries.push((event.at_ms, *failure)),
            What::Finished(finished) => record.ends.push(End::Finished(finished)),
            What::Failed { failure } => record.ends.push(End::Failed(failure)),
            What::Cancelled => record.ends.push(End::Cancelled),
            What::Other => {}
        }
    }
}
