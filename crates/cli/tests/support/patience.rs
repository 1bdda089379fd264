//! Waiting for what must happen, without a pause that has to be long enough.

use std::time::{Duration, Instant};

/// Within this everything happens that is to happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until there is an answer, for as long as patience lasts.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        pause(what, start).await;
    }
}

/// A moment between two tries, if patience that began then lasts.
pub async fn pause(what: &str, start: Instant) {
    assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
    tokio::time::sleep(Duration::from_millis(10)).await;
}
