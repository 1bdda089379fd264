//! How often somebody may do something: a bucket of tokens for each, which fills at a steady rate.
//!
//! Counted by this process alone: with several replicas, everybody may do a few times as much.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate, and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// At once, after a while of nothing.
    pub burst: u32,
    /// In the long run.
    pub per_second: f64,
}

/// Buckets that are full are forgotten when there are more than this: they say nothing.
const CROWD: usize = 10_000;

/// A bucket for each key.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// What a bucket has left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Left {
    /// Whole tokens.
    pub tokens: u32,
    /// Until it is full.
    pub full_in: Duration,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes a token: what is left, or how long until there is one.
    pub(crate) fn take(&self, key: &K) -> Result<Left, Duration> {
        self.change(key, Instant::now(), 1.0)
    }

    /// Whether there is a token, without taking it.
    pub(crate) fn look(&self, key: &K) -> Result<Left, Duration> {
        self.change(key, Instant::now(), 0.0)
    }

    /// Gives a token back that was taken.
    pub(crate) fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.tokens = (bucket.tokens + 1.0).min(f64::from(self.rate.burst));
        }
    }

    fn change(&self, key: &K, now: Instant, taken: f64) -> Result<Left, Duration> {
        let burst = f64::from(self.rate.burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * self.rate.per_second).min(burst)
        };
        if buckets.len() > CROWD {
            buckets.retain(|_, bucket| refilled(bucket) < burst);
        }
        let tokens = buckets.get(key).map_or(burst, refilled);
        if tokens < 1.0 {
            return Err(seconds((1.0 - tokens) / self.rate.per_second));
        }
        let tokens = tokens - taken;
        buckets.insert(key.clone(), Bucket { tokens, at: now });
        let full_in = seconds((burst - tokens) / self.rate.per_second);
        Ok(Left { tokens: tokens as u32, full_in })
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let buckets = Buckets::new(Rate { burst: 3, per_second: 2.0 });
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for left in [2, 1, 0] {
            assert_eq!(buckets.change(&"a", at(0), 1.0).unwrap().tokens, left);
        }
        assert_eq!(buckets.change(&"a", at(0), 1.0), Err(Duration::from_millis(500)));
        assert_eq!(buckets.change(&"b", at(0), 1.0).unwrap().tokens, 2, "others have their own");
        assert!(buckets.change(&"a", at(499), 1.0).is_err());
        assert!(buckets.change(&"a", at(501), 0.0).is_ok(), "looking takes nothing");
        assert!(buckets.change(&"a", at(501), 1.0).is_ok());
        assert!(buckets.change(&"a", at(502), 1.0).is_err());
        let full = buckets.change(&"a", at(60_000), 1.0).unwrap();
        assert_eq!((full.tokens, full.full_in), (2, Duration::from_millis(500)));
    }

    #[test]
    fn a_crowd_does_not_stay() {
        let buckets = Buckets::new(Rate { burst: 1, per_second: 1000.0 });
        let start = Instant::now();
        for key in 0..=CROWD {
            buckets.change(&key, start, 1.0).unwrap();
        }
        buckets.change(&0, start + Duration::from_secs(1), 1.0).unwrap();
        assert_eq!(buckets.buckets.lock().unwrap().len(), 1);
    }
}
