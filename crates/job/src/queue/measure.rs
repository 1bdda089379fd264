//! What waits and what runs in a queue, as metrics.

use crate::chain;
use crate::message::Lane;
use crate::queue::{Depth, Queue};

/// Looks at the queue once. What it does not tell stays as it was told last.
pub async fn measure(queue: &dyn Queue) {
    match queue.depth().await {
        Ok(depth) => tell(&depth),
        Err(error) => tracing::debug!(error = chain(&error), "the queue is not measured"),
    }
    if let Ok(Some(memory)) = queue.memory().await {
        metrics::gauge!("tonemill_redis_memory_used_bytes").set(memory.used_bytes as f64);
        metrics::gauge!("tonemill_redis_memory_limit_bytes").set(memory.limit_bytes as f64);
    }
}

fn tell(depth: &Depth) {
    for (lane, depth) in Lane::ALL.iter().zip(depth.lanes) {
        let name = lane.name();
        metrics::gauge!("tonemill_queue_waiting", "lane" => name).set(depth.waiting as f64);
        metrics::gauge!("tonemill_queue_running", "lane" => name).set(depth.running as f64);
        metrics::gauge!("tonemill_queue_oldest_seconds", "lane" => name)
            .set(depth.oldest.as_secs_f64());
    }
    metrics::gauge!("tonemill_queue_delayed").set(depth.delayed as f64);
    metrics::gauge!("tonemill_queue_events").set(depth.events as f64);
    metrics::gauge!("tonemill_queue_workers").set(depth.workers as f64);
}
