//! What a process needs, whether it answers, and how long that takes.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonemill_job::chain;

/// How long a part has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(2);

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

    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.trouble.is_none()
    }

    /// `ok` or `unavailable`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.is_well() { "ok" } else { "unavailable" }
    }

    /// How long it took to answer, in milliseconds, to the microsecond.
    #[must_use]
    pub fn latency_ms(&self) -> f64 {
        (self.latency.as_secs_f64() * 1e6).round() / 1e3
    }
}

/// Asks a part that is made where its user knows no more of it than that it can be asked.
#[async_trait]
pub trait Probe: fmt::Debug + Send + Sync {
    /// How it is now.
    async fn ask(&self) -> Part;
}

/// The last look at something, which counts for two seconds: probes come often, from many sides.
#[derive(Debug)]
pub struct LastLook<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for LastLook<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> LastLook<T> {
    /// What was seen a moment ago, or else what `look` sees. Who comes meanwhile waits for it, too.
    pub async fn or(&self, look: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((at, seen)) = &*last
            && at.elapsed() < FRESH
        {
            return seen.clone();
        }
        let seen = look.await;
        *last = Some((Instant::now(), seen.clone()));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_counts_for_a_moment() {
        let (last, asked) = (LastLook::default(), std::cell::Cell::new(0));
        let look = async || {
            asked.set(asked.get() + 1);
            asked.get()
        };
        assert_eq!((last.or(look()).await, last.or(look()).await), (1, 1));
        last.0.lock().await.as_mut().expect("a look").0 -= FRESH;
        assert_eq!((last.or(look()).await, last.or(look()).await), (2, 2));
    }
}
