//! What the queue takes when many jobs wait.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonemill_job::message::{VERSION, What};
use tonemill_job::queue::{Hold, Queue, Settlement};
use tonemill_job::{JobEvent, JobId, JobMessage, ObjectKey};
use tonemill_testbed::redis::RedisServer;

use super::Options;
use super::servers::queue;
use crate::error::BenchError;
use crate::statistics::Spread;

/// Queueing, receiving and settling while many wait.
pub(super) async fn measure(options: &Options) -> Result<String, BenchError> {
    let mut text = String::from(
        "## A full queue\n\nOne client, one call at a time, in turns on two servers; medians of 2,000 in\n\
         µs. Memory is that of Redis (`used_memory`) beyond the empty server's, by the number of\n\
         jobs that wait.\n\n\
         | waiting | enqueue | receive | settle | Redis bytes a job |\n|--:|--:|--:|--:|--:|\n",
    );
    let mut few = FullQueue::start(100).await?;
    let mut many = FullQueue::start(options.waiting).await?;
    for _ in 0..2000 {
        few.work_off_one().await?;
        many.work_off_one().await?;
    }
    for FullQueue { waiting, bytes_a_job, times, .. } in [few, many] {
        let [enqueue, receive, settle] = times.map(|times| {
            Spread::of(times.iter().map(Duration::as_secs_f64)).map_or(0.0, |s| s.median * 1e6)
        });
        let _ = writeln!(
            text,
            "| {waiting} | {enqueue:.0} | {receive:.0} | {settle:.0} | {bytes_a_job} |"
        );
    }
    text.push('\n');
    Ok(text)
}

/// A queue in which jobs wait.
struct FullQueue {
    waiting: usize,
    bytes_a_job: u64,
    /// To enqueue, to receive and to settle.
    times: [Vec<Duration>; 3],
    queue: Arc<dyn Queue>,
    _redis: RedisServer,
}

impl FullQueue {
    async fn start(waiting: usize) -> Result<Self, BenchError> {
        let redis = RedisServer::start();
        let queue = queue(&redis)?;
        let empty = redis.used_memory();
        let mut missing = waiting;
        while missing > 0 {
            let batch: Vec<JobMessage> = (0..missing.min(1000)).map(|_| message()).collect();
            queue.enqueue(&batch).await?;
            missing -= batch.len();
        }
        let bytes_a_job = redis.used_memory().saturating_sub(empty) / waiting as u64;
        Ok(Self { waiting, bytes_a_job, times: Default::default(), queue, _redis: redis })
    }

    /// Queues a job, takes the oldest, and settles it.
    async fn work_off_one(&mut self) -> Result<(), BenchError> {
        let job = [message()];
        let at = Instant::now();
        self.queue.enqueue(&job).await?;
        self.times[0].push(at.elapsed());
        let at = Instant::now();
        let delivery = self.queue.receive(Duration::ZERO).await?;
        self.times[1].push(at.elapsed());
        let delivery = delivery.ok_or_else(|| BenchError::work("no job".to_owned()))?;
        let event = JobEvent {
            v: VERSION,
            job: delivery.message.job,
            attempt: 1,
            worker: self.queue.worker().to_owned(),
            at_ms: 0,
            traceparent: None,
            what: What::Cancelled,
        };
        let end = Settlement::End { event, reply: delivery.message.reply.clone() };
        let at = Instant::now();
        if self.queue.settle(&delivery.lease, &end).await? != Hold::Held {
            return Err(BenchError::work("a lease was lost".to_owned()));
        }
        self.times[2].push(at.elapsed());
        Ok(())
    }
}

fn message() -> JobMessage {
    let job = JobId::new();
    JobMessage::new(job, ObjectKey::upload(job))
}
