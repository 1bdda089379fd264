//! How to reach Redis, and how to use it.

use std::fmt;
use std::time::Duration;

use crate::queue::LaneWeights;

/// How to reach Redis, and how to use it.
#[derive(Clone)]
pub struct RedisConfig {
    /// As `redis://…`, `rediss://…`, `unix://…`, `redis+sentinel://…` or `redis+cluster://…`.
    pub url: String,
    /// What the keys start with; between braces, so that a cluster keeps them together.
    /// Default: `{tonemill}`.
    pub namespace: String,
    /// How long a lease lasts without being renewed. Default: 30 s.
    pub lease: Duration,
    /// How often each lane is asked first.
    pub weights: LaneWeights,
}

impl RedisConfig {
    /// The defaults, with Redis at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "{tonemill}".to_owned(),
            lease: Duration::from_secs(30),
            weights: LaneWeights::default(),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, namespace, lease, weights } = self;
        let mut debug = f.debug_struct("RedisConfig");
        debug.field("namespace", namespace).field("lease", lease).field("weights", weights);
        debug.finish_non_exhaustive()
    }
}
