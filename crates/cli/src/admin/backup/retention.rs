//! What backups are called, which says when they were made, and which of them are kept.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// In the order of their times.
const NAME: &str = "ledger-%Y%m%d-%H%M%S.gz";
const DAY_MS: i64 = 24 * 3_600_000;
/// How far clocks may be apart.
const SLACK_MS: i64 = DAY_MS;

/// The name of one that is made at a time, in milliseconds since 1970.
pub(super) fn name_at(now_ms: i64) -> String {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    now.to_zoned(TimeZone::UTC).strftime(NAME).to_string()
}

/// Whether something is called as backups are.
pub(super) fn is_name(name: &str) -> bool {
    made_ms(name).is_some()
}

fn made_ms(name: &str) -> Option<i64> {
    let made = DateTime::strptime(NAME, name).ok()?;
    let made = made.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    (name_at(made) == name).then_some(made)
}

/// The names of what was made until now, and those of a time to come: by a wrong clock, or by hand.
pub(super) fn until_now(names: Vec<String>, now_ms: i64) -> (Vec<String>, Vec<String>) {
    let limit = now_ms.saturating_add(SLACK_MS);
    names.into_iter().partition(|name| made_ms(name).is_some_and(|made| made <= limit))
}

/// Those of the names, oldest first, that are not among the newest `keep`, and not as young as so
/// many days. Nothing is, if neither is said; the newest never is, nor what was made now.
pub(super) fn outdated(
    mut names: Vec<String>,
    keep: Option<u32>,
    days: Option<u32>,
    now_ms: i64,
) -> Vec<String> {
    if keep.is_none() && days.is_none() {
        return Vec::new();
    }
    let kept = keep.map_or(1, |keep| keep as usize);
    names.truncate(names.len().saturating_sub(kept));
    let is_old = |name: &String| {
        let limit = now_ms.saturating_sub(i64::from(days.unwrap_or(0)) * DAY_MS);
        made_ms(name).is_some_and(|made| made < limit) && *name != name_at(now_ms)
    };
    names.retain(is_old);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_348_800_000;

    /// One each day until noon of today.
    fn names(count: i64) -> Vec<String> {
        (0..count).rev().map(|day| name_at(NOON - day * DAY_MS)).collect()
    }

    #[test]
    fn names_are_times_in_order() {
        assert_eq!(name_at(NOON), "ledger-20261122-120000.gz");
        assert!(names(400).is_sorted());
        for (name, is_one) in [
            ("ledger-20261122-120000.gz", true),
            ("ledger-20261122-120000.gz.part", false),
            ("ledger-20261322-120000.gz", false),
            ("ledger-2026122-120000.gz", false),
            ("mine.gz", false),
        ] {
            assert_eq!(is_name(name), is_one, "{name}");
        }
    }

    #[test]
    fn the_newest_and_the_young_are_kept() {
        let left = |keep, days| 10 - outdated(names(10), keep, days, NOON).len();
        assert_eq!(left(None, None), 10);
        assert_eq!((left(Some(3), None), left(Some(10), None), left(Some(11), None)), (3, 10, 10));
        // To the edge: one of just so many days is as young as that.
        assert_eq!((left(None, Some(1)), left(None, Some(3))), (2, 4));
        assert_eq!((left(Some(3), Some(5)), left(Some(7), Some(5))), (6, 7));
        let late = NOON + 100 * DAY_MS;
        assert_eq!(outdated(names(10), None, Some(1), late).len(), 9, "the newest stays");
        assert_eq!(outdated(names(10), Some(3), None, NOON), names(10)[..7]);
    }

    #[test]
    fn what_is_of_a_time_to_come_does_not_count() {
        let of_2030 = "ledger-20300101-000000.gz".to_owned();
        let all = [names(3), vec![name_at(NOON + 60_000), of_2030.clone()]].concat();
        let (known, to_come) = until_now(all, NOON);
        assert_eq!((known.len(), to_come), (4, vec![of_2030]));
        // Another's clock is a minute ahead: what was made now is not the newest, and stays.
        assert_eq!(outdated(known, Some(1), None, NOON), names(3)[..2]);
    }
}
