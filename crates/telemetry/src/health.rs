//! What a process needs, whether it answers, and how long that takes.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonemill_job::chain;

/// How long a part has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something that a process needs, as it is now.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is, such as `queue`.
    pub name: &'static str,
    /// How long it took to answer.
    pub latency: Duration,
    /// What is wrong with it, if anything is.
    pub trouble: Option<String>,
}

impl Part {
    /// Asks it, for three seconds at most.
    pub async fn ask<E: Error>(
        name: &'static str,
        check: impl Future<Output = Result<(), E>>,
    ) -> Self {
        let start = Instant::now();
        let trouble = match timeout(PATIENCE, check).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        if let Some(trouble) = &trouble {
            tracing::warn!(part = name, error = trouble, "not ready");
        }
        Self { name, latency: start.elapsed(), trouble }
    }

    /// `ok` or `unavailable`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.trouble.is_none() { "ok" } else { "unavailable" }
    }

    /// How long it took to answer, in milliseconds, to the microsecond.
    #[must_use]
    pub fn latency_ms(&self) -> f64 {
        (self.latency.as_secs_f64() * 1e6).round() / 1e3
    }
}
