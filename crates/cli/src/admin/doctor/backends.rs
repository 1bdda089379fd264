//! Redis and the store.

use tonemill_job::chain;
use tonemill_job::objects::try_out;
use tonemill_job::queue::Memory;
use tonemill_ledger::{BondError, Ledger};

use super::Finding;
use crate::args::admin::WhereArgs;
use crate::args::backends::BackendArgs;
use crate::failure::Failure;

/// The first version with all that the queue's scripts need.
const REDIS: u32 = 7;
/// From how full on memory is worth a word, in percent.
const FULL: f64 = 80.0;

pub(super) async fn redis(args: &BackendArgs) -> Result<Vec<Finding>, Failure> {
    let Some(queue) = args.redis(None)? else {
        return Ok(vec![Finding::ok("redis", "none: the queue is in the memory of `serve`")]);
    };
    let settings = match queue.settings().await {
        Ok(Some(settings)) => settings,
        Ok(None) => return Ok(vec![Finding::ok("redis", "a cluster: ask each of its servers")]),
        Err(error) => {
            let advice = "look at --redis-url, and at the server's log";
            return Ok(vec![Finding::bad("redis", chain(&error), advice)]);
        }
    };
    let mut findings = Vec::new();
    let major = settings.version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < REDIS) {
        let says = format!("version {} is too old", settings.version);
        findings.push(Finding::bad("redis", says, "install 7.0 or later"));
    }
    if settings.eviction != "noeviction" {
        let says =
            format!("maxmemory-policy is {}: jobs go when memory runs out", settings.eviction);
        findings.push(Finding::bad("redis", says, "set maxmemory-policy noeviction"));
    }
    if !settings.appends {
        let says = "appendonly is no: a restart forgets jobs, which delays them";
        findings.push(Finding::warning("redis", says, "set appendonly yes"));
    } else if !settings.appends_well {
        let says = "its last write to the append-only file failed";
        findings.push(Finding::bad("redis", says, "make room on its disk"));
    }
    let Memory { used_bytes, limit_bytes } = settings.memory;
    let full = 100.0 * used_bytes as f64 / limit_bytes.max(1) as f64;
    if limit_bytes > 0 && full > FULL {
        let says = format!("{full:.0} % of maxmemory are in use");
        findings.push(Finding::warning("redis", says, "raise maxmemory"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("redis", format!("version {}, set up well", settings.version)));
    }
    Ok(findings)
}

pub(super) async fn store(
    at: &WhereArgs,
    ledger: Option<&Ledger>,
) -> Result<Vec<Finding>, Failure> {
    let store = at.store().await?;
    if let Err(error) = try_out(&*store).await {
        let advice = "look at address, keys and rights: get, put, delete and list, and parts";
        return Ok(vec![Finding::bad("store", chain(&error), advice)]);
    }
    let mut findings = Vec::new();
    if let Some(ledger) = ledger {
        match ledger.bind(&*store).await {
            Ok(()) => {}
            Err(BondError::Ledger(_) | BondError::Store(_)) => {
                findings.push(Finding::warning(
                    "store",
                    "it does not say whose it is",
                    "try again",
                ));
            }
            Err(error) => {
                let advice = "name the right one: what a ledger does not know is removed";
                findings.push(Finding::bad("store", error.to_string(), advice));
            }
        }
    }
    if let Some(bucket) = at.backends.bucket().await?
        && at.backends.folder.is_none()
    {
        match bucket.lifecycle().await {
            Some(rules) if rules.removes_objects => {
                let says = "a lifecycle rule removes objects that the ledger may need";
                findings.push(Finding::bad("store", says, "remove it: --keep-days does it"));
            }
            Some(rules) if !rules.removes_unfinished => {
                let says = "no lifecycle rule removes what is never finished";
                let advice = "the sweep does; AbortIncompleteMultipartUpload is a second net";
                findings.push(Finding::ok("store", format!("{says} ({advice})")));
            }
            _ => {}
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("store", "it takes objects, gives them up, and is the ledger's"));
    }
    Ok(findings)
}
