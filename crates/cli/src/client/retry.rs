//! How often, how soon and for how long something is tried again.

use std::time::{Duration, Instant};

use crate::client::link::Link;
use crate::failure::Failure;
use crate::text::clock;

/// The first pause and the longest that we choose.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];
/// Trouble that is over sooner is not told.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// What may be over in a moment.
#[derive(Debug)]
pub struct Trouble {
    /// What to say if it is not.
    pub failed: Failure,
    /// When the service wants to be asked again.
    pub after: Option<Duration>,
    /// Whether nobody answered at all.
    pub is_away: bool,
    /// Whether the service only asks to wait.
    pub is_busy: bool,
}

/// Why something was not done this time.
#[derive(Debug)]
pub enum Stop {
    /// Trying again changes nothing.
    Final(Failure),
    /// It may.
    Passing(Trouble),
}

impl From<Failure> for Stop {
    fn from(failed: Failure) -> Self {
        Self::Final(failed)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Passing(trouble)
    }
}

/// Attempts at one thing.
pub struct Retry<'a> {
    link: &'a Link,
    /// Since when nothing succeeds.
    since: Option<Instant>,
    pause: Duration,
}

impl<'a> Retry<'a> {
    pub fn new(link: &'a Link) -> Self {
        Self { link, since: None, pause: PAUSES[0] }
    }

    /// Waits until it is time for the next attempt, or gives up.
    pub async fn pause(&mut self, stop: impl Into<Stop>) -> Result<(), Failure> {
        let trouble = match stop.into() {
            Stop::Final(failed) => return Err(failed),
            Stop::Passing(trouble) => trouble,
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let pause = trouble.after.unwrap_or_else(|| {
            // Clients that were cut off together do not come back together.
            self.pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
        });
        let lasts = since.elapsed();
        // What a stranger says may be any number.
        let until = lasts.saturating_add(pause);
        if until > self.link.patience(trouble.is_away) {
            return Err(given_up(trouble, lasts));
        }
        if until > WORTH_TELLING {
            self.link.tell_trouble(&trouble);
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSES[1]);
        Ok(())
    }

    /// Something succeeded: patience begins anew.
    pub fn progressed(&mut self) {
        *self = Self::new(self.link);
    }
}

fn given_up(trouble: Trouble, lasts: Duration) -> Failure {
    let Trouble { mut failed, after, .. } = trouble;
    if let Some(after) = after {
        failed.advice = format!("try again in {}", clock(after.as_secs_f64().max(1.0)));
    } else if lasts > WORTH_TELLING {
        failed.message = format!("{} for {}", failed.message, clock(lasts.as_secs_f64()));
    }
    failed
}
