//! When a delivery is tried again: after as long as it is owed already, so that the pauses double, and
//! never later than its end.

use std::time::Duration;

/// The pauses between attempts.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The first. Default: 5 seconds.
    pub first: Duration,
    /// The longest. Default: 6 hours.
    pub longest: Duration,
    /// How old a delivery gets at most. Default: 3 days.
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
    /// How long to wait with the next attempt at a delivery of this age; `None`: it is given up. `wait`
    /// is what the other side asked for.
    #[must_use]
    pub fn pause(&self, age: Duration, wait: Option<Duration>) -> Option<Duration> {
        let left = self.give_up_after.checked_sub(age).filter(|left| !left.is_zero())?;
        let pause = age.clamp(self.first, self.longest);
        // So that what failed together does not come back together.
        let pause = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
        let pause = pause.max(wait.unwrap_or_default().min(self.longest));
        // The last attempt is at its end.
        Some(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let schedule = Schedule::default();
        for (age, pause) in [(0, 5), (5, 5), (60, 60), (3_600, 3_600), (30_000, 21_600)] {
            let is = schedule.pause(seconds(age), None).unwrap();
            assert!(
                is >= seconds(pause).mul_f64(0.8) && is <= seconds(pause).mul_f64(1.2),
                "{age}"
            );
        }
    }

    #[test]
    fn it_ends_when_it_was_said_to() {
        let schedule = Schedule { give_up_after: seconds(100), ..Schedule::default() };
        assert!(schedule.pause(seconds(90), None).unwrap() <= seconds(10));
        assert!(schedule.pause(seconds(99), None).is_some());
        assert_eq!(schedule.pause(seconds(100), None), None);
        assert_eq!(schedule.pause(seconds(101), Some(seconds(1))), None);
    }

    #[test]
    fn who_asks_for_time_gets_it_within_limits() {
        let schedule = Schedule::default();
        assert_eq!(schedule.pause(seconds(1), Some(seconds(600))), Some(seconds(600)));
        assert_eq!(schedule.pause(seconds(1), Some(Duration::MAX)), Some(schedule.longest));
        assert!(schedule.pause(seconds(600), Some(seconds(1))).unwrap() >= seconds(480));
    }

    #[test]
    fn a_delivery_of_three_days_is_tried_some_twenty_times() {
        let schedule = Schedule::default();
        let (mut age, mut attempts) = (Duration::ZERO, 1);
        while let Some(pause) = schedule.pause(age, None) {
            age += pause;
            attempts += 1;
        }
        assert!((18..=30).contains(&attempts), "{attempts}");
        assert_eq!(age, schedule.give_up_after);
    }
}
