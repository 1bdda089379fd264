//! When a delivery is tried again, and when it is given up.
//!
//! Pauses double, and are never longer than it is owed already: neither an outage of ours nor a
//! replay of what was tried often begins with long ones. Nothing is given up for its age alone:
//! after an outage of ours everything is old.

use std::time::Duration;

/// Attempts at the least before a delivery is given up. With the default pauses they take some ten
/// minutes, in which who is being started again comes back. Those before a replay count.
pub const MIN_ATTEMPTS: u64 = 8;

/// The pauses between attempts.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The first. Default: 5 seconds.
    pub first: Duration,
    /// The longest. Default: 6 hours.
    pub longest: Duration,
    /// How old a delivery gets that has had its [`MIN_ATTEMPTS`]. Default: 3 days.
    pub give_up_after: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_hours(6),
            give_up_after: Duration::from_hours(72),
        }
    }
}

impl Schedule {
    /// How long to wait after the `attempt`-th, at a delivery of this age; `None`: it is given up.
    /// `wait` is what the other side asked for.
    #[must_use]
    pub fn pause(&self, attempt: u64, age: Duration, wait: Option<Duration>) -> Option<Duration> {
        let left = self.give_up_after.saturating_sub(age);
        if left.is_zero() && attempt >= MIN_ATTEMPTS {
            return None;
        }
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(doublings));
        let pause = doubled.min(age.max(self.first)).min(self.longest);
        // So that what failed together does not come back together.
        let pause = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
        let pause = pause.max(wait.unwrap_or_default().min(self.longest));
        // The last attempt is at its end.
        Some(if left.is_zero() { pause } else { pause.min(left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// An attempt so late that only its delivery's age counts.
    const LATE: u64 = 100;

    #[track_caller]
    fn is_about(pause: Option<Duration>, due: u64) {
        let (pause, due) = (pause.expect("it goes on"), seconds(due));
        assert!(pause >= due.mul_f64(0.8) && pause <= due.mul_f64(1.2), "{pause:?}");
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let schedule = Schedule::default();
        for (age, pause) in [(0, 5), (5, 5), (60, 60), (3_600, 3_600), (30_000, 21_600)] {
            is_about(schedule.pause(LATE, seconds(age), None), pause);
        }
        for (attempt, pause) in [(0, 5), (1, 5), (2, 10), (3, 20), (10, 2_560), (20, 21_600)] {
            is_about(schedule.pause(attempt, seconds(200_000), None), pause);
        }
    }

    #[test]
    fn an_outage_of_ours_is_not_held_against_a_delivery() {
        let schedule = Schedule::default();
        let outage = schedule.give_up_after + seconds(1);
        let (mut age, mut attempt) = (outage, 1);
        while let Some(pause) = schedule.pause(attempt, age, None) {
            age += pause;
            attempt += 1;
        }
        assert_eq!(attempt, MIN_ATTEMPTS, "it is tried as often as if it were new");
        let took = age.saturating_sub(outage);
        assert!((seconds(300)..seconds(1_000)).contains(&took), "{took:?}");
    }

    #[test]
    fn a_replay_begins_with_short_pauses() {
        is_about(Schedule::default().pause(30, Duration::ZERO, None), 5);
    }

    #[test]
    fn it_ends_when_it_was_said_to() {
        let schedule = Schedule { give_up_after: seconds(100), ..Schedule::default() };
        assert!(schedule.pause(LATE, seconds(90), None).unwrap() <= seconds(10));
        assert!(schedule.pause(LATE, seconds(99), None).is_some());
        assert_eq!(schedule.pause(LATE, seconds(100), None), None);
        assert_eq!(schedule.pause(LATE, seconds(101), Some(seconds(1))), None);
        assert!(schedule.pause(MIN_ATTEMPTS - 1, seconds(100), None).is_some());
        assert_eq!(schedule.pause(MIN_ATTEMPTS, seconds(100), None), None);
    }

    #[test]
    fn who_asks_for_time_gets_it_within_limits() {
        let schedule = Schedule::default();
        let pause = |age, wait| schedule.pause(LATE, seconds(age), Some(wait));
        assert_eq!(pause(1, seconds(600)), Some(seconds(600)));
        assert_eq!(pause(1, Duration::MAX), Some(schedule.longest));
        assert!(pause(600, seconds(1)).unwrap() >= seconds(480));
    }

    #[test]
    fn a_delivery_of_three_days_is_tried_some_twenty_times() {
        let schedule = Schedule::default();
        let (mut age, mut attempts) = (Duration::ZERO, 1);
        while let Some(pause) = schedule.pause(attempts, age, None) {
            age += pause;
            attempts += 1;
        }
        assert!((18..=30).contains(&attempts), "{attempts}");
        assert_eq!(age, schedule.give_up_after);
    }
}
