//! What waits and what runs in a queue, as metrics.

use std::time::Duration;

use tokio::time::timeout;

use crate::message::Lane;
use crate::queue::{Depth, LaneDepth, Queue};

/// For how long the queue is asked. Less than a page of metrics waits for its measures: else it
/// would have what was seen last.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at the queue once. What it does not tell is NaN: who has lost Redis would go on telling of
/// jobs that others have done since.
pub async fn measure(queue: &dyn Queue) {
    let (depth, memory) =
        tokio::join!(timeout(PATIENCE, queue.depth()), timeout(PATIENCE, queue.memory()));
    tell_depth(depth.ok().and_then(Result::ok).as_ref());
    match memory {
        Ok(Ok(Some(memory))) => tell_memory(memory.used_bytes as f64, memory.limit_bytes as f64),
        Ok(Ok(None)) => {}
        Ok(Err(_)) | Err(_) => tell_memory(f64::NAN, f64::NAN),
    }
}

fn tell_depth(depth: Option<&Depth>) {
    let told = |number: fn(&Depth) -> u64| depth.map_or(f64::NAN, |depth| number(depth) as f64);
    for (index, lane) in Lane::ALL.iter().enumerate() {
        let name = lane.name();
        let told = |number: fn(&LaneDepth) -> f64| {
            depth.map_or(f64::NAN, |depth| number(&depth.lanes[index]))
        };
        metrics::gauge!("tonemill_queue_waiting", "lane" => name)
            .set(told(|lane| lane.waiting as f64));
        metrics::gauge!("tonemill_queue_running", "lane" => name)
            .set(told(|lane| lane.running as f64));
        metrics::gauge!("tonemill_queue_oldest_seconds", "lane" => name)
            .set(told(|lane| lane.oldest.as_secs_f64()));
    }
    metrics::gauge!("tonemill_queue_delayed").set(told(|depth| depth.delayed));
    metrics::gauge!("tonemill_queue_events").set(told(|depth| depth.events));
    metrics::gauge!("tonemill_queue_workers").set(told(|depth| depth.workers));
}

fn tell_memory(used_bytes: f64, limit_bytes: f64) {
    metrics::gauge!("tonemill_redis_memory_used_bytes").set(used_bytes);
    metrics::gauge!("tonemill_redis_memory_limit_bytes").set(limit_bytes);
}
