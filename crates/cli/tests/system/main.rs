//! The whole system as operators run it, while its parts break: APIs, workers, Redis, an S3 server
//! and a database, each a process of its own; jobs come in over HTTP.
//!
//! `system` starts it and submits jobs, a test breaks something, and `checker` proves from the
//! ledger, the queue, the bucket and the API that every job that was accepted ended, once, and that
//! the books are right. `sabotage` shows that the checker notices when they are not. The quick tier
//! runs small versions; with `TONEMILL_CHAOS=1` they run at full size (`make chaos`), and hold what
//! takes time against its limits. `TONEMILL_SEED` repeats a run as far as chance is ours.

#[path = "../support/mod.rs"]
mod support;

// What the tests of the pool and of the service have, of which these use a part.
#[allow(dead_code)]
#[path = "../pool/bucket.rs"]
mod bucket;
#[allow(dead_code)]
#[path = "../service/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../pool/clips.rs"]
mod clips;
#[allow(dead_code)]
#[path = "../service/jobs.rs"]
mod jobs;
#[allow(dead_code)]
#[path = "../service/ledger.rs"]
mod ledger;
#[allow(dead_code)]
#[path = "../service/separate.rs"]
mod separate;
#[allow(dead_code)]
#[path = "../service/service.rs"]
mod service;

mod checker;
mod system;

mod amnesia;
mod clocks;
mod deaths;
mod outages;
mod sabotage;
mod skew;
mod storms;

use support::chaos::{at_once, is_full, report, seeded, size};
use support::patience::{PATIENCE, until};
