//! What may be done with a lease, all by one script.

use std::time::Duration;

use super::link::Request;
use super::{RELEASED, RedisQueue, WORKERS};
use crate::message::Reply;
use crate::queue::{Hold, LeaseToken, Result};

/// What a script is to do with a lease.
pub(super) enum Settle<'a> {
    Renew,
    Release,
    End { reply: &'a Reply, event: Vec<u8> },
    Again { job: &'a [u8], delay: Duration, event: Option<(&'a Reply, Vec<u8>)> },
    Reject { job: &'a [u8] },
}

impl RedisQueue {
    pub(super) async fn run_settle(&self, lease: &LeaseToken, settle: &Settle<'_>) -> Result<Hold> {
        let mut script = self.scripts.settle.prepare_invoke();
        let (event_key, mailbox_ms) = match settle {
            Settle::End { reply, .. } | Settle::Again { event: Some((reply, _)), .. } => {
                self.keys.reply(reply)
            }
            _ => self.keys.reply(&Reply::Service),
        };
        script.key(self.keys.lane(lease.lane)).key(event_key);
        let (operation, event, job, delay): (_, &[u8], &[u8], _) = match settle {
            Settle::Renew => ("renew", &[], &[], Duration::ZERO),
            Settle::Release => ("release", &[], &[], Duration::ZERO),
            Settle::End { event, .. } => ("end", event, &[], Duration::ZERO),
            Settle::Again { job, delay, event } => {
                ("again", event.as_ref().map_or(&[], |(_, event)| event.as_slice()), job, *delay)
            }
            Settle::Reject { job } => ("reject", &[], job, Duration::ZERO),
        };
        script.key(match settle {
            Settle::Reject { .. } => &self.keys.unreadable,
            _ => &self.keys.delayed,
        });
        if let Settle::End { .. } = settle {
            script.key(self.keys.cancel(lease.job)).key(self.keys.progress(lease.job));
        }
        script.arg(WORKERS).arg(&lease.entry).arg(&self.worker).arg(lease.deliveries);
        script.arg(operation).arg(RELEASED).arg(event).arg(mailbox_ms);
        script.arg(job).arg(delay.as_millis().to_string());
        let held: u32 = self.commands.send_once("settle a lease", Request::Script(&script)).await?;
        Ok(if held == 1 { Hold::Held } else { Hold::Lost })
    }
}
