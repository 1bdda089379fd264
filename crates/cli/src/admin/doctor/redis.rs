//! Redis: whether it takes what the queue asks of it, and whether it is set up to keep that.

use tonemill_job::chain;
use tonemill_job::queue::redis::RedisSettings;
use tonemill_job::queue::{Memory, QueueError, QueueErrorKind};

use super::Finding;
use crate::args::backends::BackendArgs;
use crate::failure::Failure;

const ABOUT: &str = "redis";
/// The first version with all that the queue's scripts need.
const OLDEST: u32 = 7;
/// From how full on memory is worth a word, in percent.
const FULL: f64 = 80.0;

pub(super) async fn look(args: &BackendArgs) -> Result<Vec<Finding>, Failure> {
    let Some(queue) = args.redis(None)? else {
        return Ok(vec![Finding::ok(ABOUT, "none: the queue is in the memory of `serve`")]);
    };
    let trial = queue.try_out().await;
    Ok(verdicts(&trial, &queue.settings().await))
}

fn verdicts(
    trial: &Result<(), QueueError>,
    settings: &Result<Option<RedisSettings>, QueueError>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = trial.as_ref().err().map(of_trial).into_iter().collect();
    let says = match settings {
        Ok(Some(settings)) => {
            findings.extend(of_settings(settings));
            format!("version {}, takes jobs and is set up well", settings.version)
        }
        Ok(None) => "a cluster, takes jobs: ask each of its servers how it is set up".to_owned(),
        Err(error) => {
            // Whoever is away is told of once.
            if findings.is_empty() {
                let says = format!("how it is set up cannot be read: {}", chain(error));
                findings.push(Finding::warning(ABOUT, says, "let its user run INFO"));
            }
            String::new()
        }
    };
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, says));
    }
    findings
}

fn of_trial(error: &QueueError) -> Finding {
    let advice = match error.kind {
        QueueErrorKind::Unavailable => "look at --redis-url, and at the server's log",
        QueueErrorKind::Full => "raise maxmemory, or see what else is in it",
        QueueErrorKind::Refused => {
            "look at name and password; its user needs scripts, and what docs/workers.md lists"
        }
        QueueErrorKind::Invalid => "it is no Redis 7.0 or later, or not like one: install that",
    };
    Finding::bad(ABOUT, chain(error), advice)
}

/// What is wrong with them.
fn of_settings(settings: &RedisSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let major = settings.version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        let says = format!("version {} is too old", settings.version);
        findings.push(Finding::bad(ABOUT, says, "install 7.0 or later"));
    }
    if settings.is_replica {
        let says = "it is a replica: what it takes, its master does not know";
        findings.push(Finding::bad(ABOUT, says, "name the master, or redis+sentinel://…"));
    }
    if settings.eviction != "noeviction" {
        let says =
            format!("maxmemory-policy is {}: jobs go when memory runs out", settings.eviction);
        findings.push(Finding::bad(ABOUT, says, "set maxmemory-policy noeviction"));
    }
    findings.extend(of_files(settings));
    let Memory { used_bytes, limit_bytes } = settings.memory;
    let full = 100.0 * used_bytes as f64 / limit_bytes.max(1) as f64;
    if limit_bytes > 0 && full > FULL {
        let says = format!("{full:.0} % of maxmemory are in use");
        findings.push(Finding::warning(ABOUT, says, "raise maxmemory"));
    }
    findings
}

/// What is wrong with how it keeps what it has.
fn of_files(settings: &RedisSettings) -> Option<Finding> {
    let no_room = "make room on its disk; its log says more";
    if !settings.saves_well {
        return Some(Finding::bad(ABOUT, "its last snapshot failed", no_room));
    }
    if !settings.appends {
        let says = "appendonly is no: a restart forgets jobs, which delays them";
        return Some(Finding::warning(ABOUT, says, "set appendonly yes"));
    }
    if !settings.appends_well {
        let says = "its last write to the append-only file failed";
        return Some(Finding::bad(ABOUT, says, no_room));
    }
    if settings.syncs.as_deref() == Some("no") {
        let says = "appendfsync is no: a loss of power forgets half a minute, which delays jobs";
        return Some(Finding::warning(ABOUT, says, "set appendfsync everysec"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    fn error(kind: QueueErrorKind) -> QueueError {
        QueueError { kind, operation: "be tried out", ambiguous: false, source: "why".into() }
    }

    fn good() -> RedisSettings {
        RedisSettings {
            version: "7.0.15".to_owned(),
            is_replica: false,
            appends: true,
            appends_well: true,
            syncs: Some("everysec".to_owned()),
            saves_well: true,
            eviction: "noeviction".to_owned(),
            memory: Memory { used_bytes: 80, limit_bytes: 100 },
        }
    }

    #[test]
    fn settings_are_judged_one_by_one() {
        let memory = |used_bytes, limit_bytes| Memory { used_bytes, limit_bytes };
        let text = str::to_owned;
        for (settings, due) in [
            (good(), &["ok"][..]),
            (RedisSettings { version: text("8.2.1"), ..good() }, &["ok"]),
            (RedisSettings { version: text("6.2.14"), ..good() }, &["bad"]),
            (RedisSettings { version: text(""), ..good() }, &["bad"]),
            (RedisSettings { is_replica: true, ..good() }, &["bad"]),
            (RedisSettings { eviction: text("allkeys-lru"), ..good() }, &["bad"]),
            (RedisSettings { saves_well: false, ..good() }, &["bad"]),
            (RedisSettings { appends: false, ..good() }, &["warning"]),
            // What it would do if it appended.
            (RedisSettings { appends: false, syncs: Some(text("no")), ..good() }, &["warning"]),
            (RedisSettings { appends_well: false, ..good() }, &["bad"]),
            (RedisSettings { syncs: Some(text("no")), ..good() }, &["warning"]),
            (RedisSettings { syncs: Some(text("always")), ..good() }, &["ok"]),
            (RedisSettings { syncs: None, ..good() }, &["ok"]),
            (RedisSettings { memory: memory(81, 100), ..good() }, &["warning"]),
            (RedisSettings { memory: memory(1 << 40, 0), ..good() }, &["ok"]),
            (RedisSettings { is_replica: true, appends: false, ..good() }, &["bad", "warning"]),
        ] {
            let findings = verdicts(&Ok(()), &Ok(Some(settings.clone())));
            assert_eq!(verdicts_of(&findings), due, "{settings:?}");
        }
    }

    #[test]
    fn who_takes_nothing_is_bad_however_it_is_set_up() {
        use QueueErrorKind::{Full, Invalid, Refused, Unavailable};
        for kind in [Unavailable, Full, Refused, Invalid] {
            for settings in [Ok(Some(good())), Ok(None), Err(error(kind))] {
                let findings = verdicts(&Err(error(kind)), &settings);
                assert_eq!(verdicts_of(&findings), ["bad"], "{kind:?}");
            }
        }
        let replica = RedisSettings { is_replica: true, ..good() };
        let both = verdicts(&Err(error(Unavailable)), &Ok(Some(replica)));
        assert_eq!(verdicts_of(&both), ["bad", "bad"]);
        assert_eq!(verdicts_of(&verdicts(&Ok(()), &Ok(None))), ["ok"], "a cluster");
        assert_eq!(verdicts_of(&verdicts(&Ok(()), &Err(error(Refused)))), ["warning"]);
    }
}
