//! Quotas: what a user has room for, looked at before anything is sent.

use std::time::Duration;

use tonemill_ledger::OverQuota;

use crate::Api;
use crate::auth::Caller;
use crate::jobs::intake::{most_bytes, too_large};
use crate::problem::{Answer, Problem};

impl Api {
    /// Refuses what the quotas have no room for before it is sent. What is accepted in the end is
    /// decided when the job is written down.
    pub(crate) async fn check_room(&self, caller: &Caller, bytes: u64) -> Answer<()> {
        let most = most_bytes(self);
        if bytes > most {
            return Err(too_large(most));
        }
        let usage = self.ledger.usage(caller.user.id).await?;
        match usage.and_then(|(usage, quotas)| quotas.exceeded_by(usage, bytes)) {
            Some(over) => Err(over_quota(over)),
            None => Ok(()),
        }
    }
}

/// The answer to who has too much already.
pub(crate) fn over_quota(over: OverQuota) -> Problem {
    let quota = match over {
        OverQuota::UnfinishedJobs { .. } => "jobs",
        OverQuota::StoredBytes { .. } => "bytes",
        OverQuota::DailyAudio { .. } => "minutes",
    };
    metrics::counter!("tonemill_quota_refusals_total", "quota" => quota).increment(1);
    match over {
        OverQuota::UnfinishedJobs { limit } => {
            let why = format!("you may have {limit} unfinished jobs: wait for some to finish");
            Problem::over_quota(why).retry_after(Duration::from_mins(1))
        }
        OverQuota::StoredBytes { limit } => {
            let why = format!("you may have {limit} bytes stored: delete jobs that are done");
            // To wait does not help.
            Problem::over_quota(why)
        }
        OverQuota::DailyAudio { limit_ms, day_ends_in_ms } => {
            let minutes = limit_ms / 60_000;
            let why = format!("you may have {minutes} minutes of audio a day (UTC)");
            let pause = Duration::from_millis(day_ends_in_ms);
            Problem::over_quota(why).retry_after(pause)
        }
    }
}
