//! The service as its users and operators know it: the program, started as they start it, asked
//! over HTTP as they ask it, with real videos, a real Redis, S3 server and databases, and `kill
//! -9`.
//!
//! `service` starts it whole, `separate` in parts; `client` and `events` speak to it; `jobs` is
//! what every test does with a job, `exposition` and `promql` are what Prometheus makes of metrics.
//! The quick tier runs small versions; with `TONEMILL_CHAOS=1` they run at full size.
//! `TONEMILL_SEED` repeats a run as far as chance is ours.

#[allow(dead_code, reason = "the tests of the pool use the rest")]
#[path = "../pool/bucket.rs"]
mod bucket;
#[allow(dead_code, reason = "the tests of the pool use the rest")]
#[path = "../pool/clips.rs"]
mod clips;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod events;
mod exposition;
mod jobs;
mod ledger;
mod promql;
#[allow(dead_code, reason = "the tests of the whole system use the rest")]
mod separate;
mod service;

mod auth;
mod backup_places;
mod backups;
mod cards;
mod crash;
mod crowd;
mod deaths;
mod deliveries;
mod doctor;
mod ends;
mod fairness;
mod forgery;
mod health;
mod images;
mod import;
mod job_webhooks;
mod keys;
mod letters;
mod life;
mod limits;
mod links;
mod mails;
mod metrics;
mod modes;
mod names;
mod notifications;
mod operators;
mod output;
mod resumable;
mod stalls;
mod steps;
mod strangers;
mod traces;
mod uploads;
mod watching;
mod ways;
mod webhooks;

use support::chaos::{seeded, size};
use support::patience::{PATIENCE, pause, until};
