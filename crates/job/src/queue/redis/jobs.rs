//! Which jobs the queue holds, read page by page, while they come, go and move about.
//!
//! A job is an entry of a lane, which waits, or is under a lease, or was released; or it is among
//! the delayed ones. Whatever moves it from one to the other is one script, and what comes into a
//! lane comes behind everything else there, and is counted. So this reads the lanes to their ends
//! first, and then, in a round, all that is delayed, each page at the same instant as what is new
//! at the ends of the lanes.
//!
//! A job that is there throughout is found: At the instant of the round's first page it is in a
//! lane, as an entry that was seen before or with that page; or it is delayed. Then it either stays
//! so until the round ends, and `ZSCAN` finds whatever stays; or it moves into a lane, as an entry
//! that is new in this round. It can be missed there only if it has moved on before the next page;
//! but then the count of entries that were added is higher than that of those that were seen, and
//! the round does not count.

use std::collections::HashSet;

use super::RedisQueue;
use super::link::Request;
use super::reply::Entry;
use crate::id::JobId;
use crate::queue::{QueueError, QueueErrorKind, Result};

const OPERATION: &str = "list its jobs";
/// Entries of each lane, and about as many delayed jobs, that are read in one step.
const PAGE: usize = 500;
/// One is enough unless more than a page is delayed and jobs rush through lanes between two pages.
const ROUNDS: u32 = 20;

/// What the script answers: the next cursor and delayed jobs, then for each lane what is new, and
/// how many entries it ever had.
type Answer = (String, Vec<Vec<u8>>, Vec<Entry>, usize, Vec<Entry>, usize, Vec<Entry>, usize);

/// What was seen so far.
#[derive(Default)]
struct Seen {
    jobs: HashSet<JobId>,
    lanes: [Lane; 3],
}

/// Up to where a lane was read.
struct Lane {
    last: String,
    /// How many entries it ever had by then.
    added: usize,
}

impl Default for Lane {
    fn default() -> Self {
        Self { last: "0-0".to_owned(), added: 0 }
    }
}

/// How a page changes what is known.
struct Page {
    /// Where the delayed jobs go on; "0" at their end.
    cursor: String,
    /// Whether all lanes were read to their ends.
    is_at_ends: bool,
    /// Whether an entry came and went since the page before, if that was at the ends.
    has_missed: bool,
}

impl RedisQueue {
    pub(super) async fn list_jobs(&self) -> Result<HashSet<JobId>> {
        let mut seen = Seen::default();
        for _ in 0..ROUNDS {
            while !self.read_page(&mut seen, "").await?.is_at_ends {}
            if self.read_round(&mut seen).await? {
                return Ok(seen.jobs);
            }
        }
        Err(QueueError {
            kind: QueueErrorKind::Unavailable,
            operation: OPERATION,
            ambiguous: false,
            source: "they move about faster than they can be read".into(),
        })
    }

    /// Whether the round counts.
    async fn read_round(&self, seen: &mut Seen) -> Result<bool> {
        let mut page = self.read_page(seen, "0").await?;
        // What came and went before this instant is of no interest.
        page.has_missed = false;
        loop {
            if page.has_missed || !page.is_at_ends {
                return Ok(false);
            }
            if page.cursor == "0" {
                return Ok(true);
            }
            page = self.read_page(seen, &page.cursor).await?;
        }
    }

    async fn read_page(&self, seen: &mut Seen, cursor: &str) -> Result<Page> {
        let mut script = self.scripts.jobs.prepare_invoke();
        script.key(&self.keys.lanes).key(&self.keys.delayed).arg(PAGE);
        for lane in &seen.lanes {
            script.arg(&lane.last);
        }
        script.arg(cursor);
        let (cursor, delayed, high, added_high, normal, added_normal, low, added_low): Answer =
            self.commands.send(OPERATION, Request::Script(&script)).await?;
        seen.jobs.extend(delayed.iter().filter_map(|job| name_of(job)));
        let lanes = [(high, added_high), (normal, added_normal), (low, added_low)];
        let mut page = Page { cursor, is_at_ends: true, has_missed: false };
        for (lane, (entries, added)) in seen.lanes.iter_mut().zip(lanes) {
            page.is_at_ends &= entries.len() < PAGE;
            page.has_missed |= added != lane.added + entries.len();
            lane.added = added;
            if let Some((entry, _)) = entries.last() {
                lane.last.clone_from(entry);
            }
            let jobs = entries.iter().filter_map(|(_, fields)| name_of(fields.get(1)?));
            seen.jobs.extend(jobs);
        }
        Ok(page)
    }
}

/// Its name, also if it is of a later version.
fn name_of(job: &[u8]) -> Option<JobId> {
    #[derive(serde::Deserialize)]
    struct Named {
        job: JobId,
    }
    serde_json::from_slice::<Named>(job).ok().map(|named| named.job)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonemill_testbed::redis::RedisServer;

    use super::*;
    use crate::message::{JobEvent, JobMessage, VERSION, What};
    use crate::object_key::ObjectKey;
    use crate::queue::redis::RedisConfig;
    use crate::queue::{Delivery, Hold, Queue, Settlement};

    fn job() -> JobMessage {
        let job = JobId::new();
        JobMessage::new(job, ObjectKey::upload(job))
    }

    async fn next(queue: &RedisQueue) -> Delivery {
        queue.receive(Duration::from_secs(20)).await.unwrap().expect("a job")
    }

    async fn again(queue: &RedisQueue, delivery: &Delivery, delay: Duration) {
        let mut message = delivery.message.clone();
        message.history.attempts += 1;
        let event = JobEvent {
            v: VERSION,
            job: message.job,
            attempt: 1,
            worker: String::new(),
            at_ms: 0,
            traceparent: None,
            what: What::Started,
        };
        let again = Settlement::Again { message: Box::new(message), delay, event };
        assert_eq!(queue.settle(&delivery.lease, &again).await.unwrap(), Hold::Held);
    }

    /// What happens between two pages is noticed: it is seen, or known to have been missed.
    #[tokio::test]
    async fn a_round_counts_unless_something_came_and_went() {
        const HOUR: Duration = Duration::from_hours(1);
        let server = RedisServer::start();
        let queue = RedisQueue::new(RedisConfig::new(server.url())).unwrap();
        // More than a page.
        let resting: Vec<_> = (0..2 * PAGE).map(|_| job()).collect();
        queue.enqueue(&resting).await.unwrap();
        for _ in &resting {
            again(&queue, &next(&queue).await, HOUR).await;
        }
        let moving = job();
        queue.enqueue(std::slice::from_ref(&moving)).await.unwrap();
        again(&queue, &next(&queue).await, Duration::ZERO).await;

        let mut seen = Seen::default();
        assert!(queue.read_page(&mut seen, "").await.unwrap().is_at_ends);
        let mut page = queue.read_page(&mut seen, "0").await.unwrap();
        assert!(page.is_at_ends && page.cursor != "0");
        page = queue.read_page(&mut seen, &page.cursor).await.unwrap();
        assert!(page.is_at_ends && !page.has_missed, "nothing has moved");
        let delivery = next(&queue).await;
        page = queue.read_page(&mut seen, "0").await.unwrap();
        assert!(!page.has_missed && seen.jobs.contains(&moving.job), "it is in a lane");
        again(&queue, &delivery, Duration::ZERO).await;
        page = queue.read_page(&mut seen, &page.cursor).await.unwrap();
        assert!(!page.has_missed, "it was seen before it moved");
        again(&queue, &next(&queue).await, HOUR).await;
        page = queue.read_page(&mut seen, "0").await.unwrap();
        assert!(page.is_at_ends && page.has_missed, "it came and went");

        // A lane whose end is further away than a page.
        queue.enqueue(&resting[..PAGE]).await.unwrap();
        assert!(!queue.read_page(&mut seen, "0").await.unwrap().is_at_ends);
        assert!(!queue.read_round(&mut Seen::default()).await.unwrap());
        assert_eq!(queue.list_jobs().await.unwrap().len(), resting.len() + 1);
    }
}
