use std::time::Duration;

use fastrand::Rng;
use tonemill_ledger::dispatcher::Window;

use super::arrivals::{Arrival, Pattern, Work, burst};
use super::*;

const WORK: Work = Work { each: 0.025, second: 0.005, latency: 0.02 };

/// Without a limit to what waits in Redis: first come, first served.
fn unlimited() -> Window {
    Window { least: u64::MAX, per_running: 1, most: u64::MAX }
}

/// Jobs that come by chance, so many a second, and take a second of a core on average.
fn memoryless(rate: f64, jobs: usize) -> Vec<Arrival> {
    let mut random = Rng::with_seed(7);
    let mut exponential = move || -(1.0 - random.f64()).ln();
    let mut at = 0.0;
    let mut next = |_| {
        at += exponential() / rate;
        Arrival { at, user: 1, work: exponential(), segments: 1.0, latency: 0.0 }
    };
    (0..jobs).map(&mut next).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

/// As queueing theory has it, for one and for two servers (M/M/1 and M/M/2) at 80 %.
#[test]
fn waits_are_those_of_erlang() {
    for (servers, due) in [(1, 4.0), (2, 16.0 / 9.0)] {
        let pods = vec![Pod { up: 0.0, killed: None }; servers];
        let settings = Settings { cores: 1.0, slots: 1, window: unlimited(), ..Settings::usual() };
        let arrivals = memoryless(0.8 * servers as f64, 200_000);
        let outcome = simulate(&settings, Fleet::Given(pods), arrivals.into_iter(), 1);
        let wait = mean(&outcome.waits);
        assert!((wait / due - 1.0).abs() < 0.07, "{servers}: {wait}, not {due}");
        assert_eq!(outcome.finished, 200_000);
    }
}

/// One server that is shared evenly by all who come (M/M/1-PS): 5 s, whoever comes.
#[test]
fn times_are_those_of_sharing() {
    let pods = vec![Pod { up: 0.0, killed: None }];
    let settings =
        Settings { cores: 1.0, slots: usize::MAX, window: unlimited(), ..Settings::usual() };
    let arrivals = memoryless(0.8, 200_000);
    let outcome = simulate(&settings, Fleet::Given(pods), arrivals.into_iter(), 1);
    let time = mean(&outcome.times);
    assert!((time / 5.0 - 1.0).abs() < 0.07, "{time}");
}

fn an_evening(kills: Kills, seed: u64) -> Outcome {
    let settings =
        Settings { kills, failing: 0.01, grace: Duration::from_secs(90), ..Settings::usual() };
    let hours = |hours: f64| hours * 3600.0;
    let arrivals = Pattern::new(WORK, 10.0, hours(12.0), hours(16.0), seed);
    simulate(&settings, Fleet::Scaled(Scaler::usual(10)), arrivals, seed)
}

#[test]
fn the_same_seed_is_the_same_run() {
    let kills = Kills { per_hour: 0.5, notice_seconds: 0.0 };
    let first = an_evening(kills, 3);
    assert!(first == an_evening(kills, 3), "it depends on something else");
    assert!(first != an_evening(kills, 4), "the seed means nothing");
}

#[test]
fn who_is_killed_loses_nothing_but_time() {
    let calm = an_evening(Kills { per_hour: 0.0, notice_seconds: 0.0 }, 5);
    let wild = an_evening(Kills { per_hour: 0.5, notice_seconds: 0.0 }, 5);
    let warned = an_evening(Kills { per_hour: 0.5, notice_seconds: 120.0 }, 5);
    for outcome in [&calm, &wild, &warned] {
        assert_eq!((outcome.lost(), outcome.given_up), (0, 0));
        assert_eq!(outcome.jobs, calm.jobs, "the users are the same");
    }
    assert!(calm.kills == 0 && wild.kills > 5 && warned.kills > 5);
    // Every repeated attempt of the calm is one that failed.
    assert!(calm.attempts > calm.jobs && wild.attempts > calm.attempts);
    assert!(warned.repeated_hours < wild.repeated_hours, "a notice is worth nothing");
}

/// A job whose worker dies goes on when its lease has ended, and takes what it took before.
#[test]
fn a_lease_that_ends_is_a_wait() {
    let settings = Settings { lease: Duration::from_secs(30), ..Settings::usual() };
    let film = Arrival { at: 1.0, user: 1, work: 40.0, segments: 2.0, latency: 0.0 };
    // Renewed at 11, it ends at 41. Whoever waits then looks within 7.5 s, but nobody before it has
    // been there for as long as a lease: not who comes before the end, nor who comes after it.
    for (up, looks) in [(2.0, 41.0), (20.0, 50.0), (45.0, 75.0)] {
        let pods = vec![Pod { up: 0.0, killed: Some(15.0) }, Pod { up, killed: None }];
        let outcome = simulate(&settings, Fleet::Given(pods), [film].into_iter(), 1);
        let time = f64::from(outcome.times[0]) + 1.0;
        assert!((looks + 20.0..looks + 7.5 + 20.0).contains(&time), "{up}: {time}");
        assert_eq!((outcome.attempts, outcome.kills), (2, 1));
        assert!((outcome.repeated_hours * 3600.0 - 28.0).abs() < 1e-6);
    }
}

/// What is in the queue already goes first: three jobs for each that runs, which are 120 here. The
/// rest of the crowd does not.
#[test]
fn others_wait_for_what_is_queued_and_not_for_the_crowd() {
    let arrivals = burst(WORK, 3000, 720, 9);
    let work: f64 = arrivals[..3000].iter().map(|job| job.work).sum();
    let queued = work / 3000.0 * 120.0 / 10.0;
    let fleet = Fleet::Scaled(Scaler::usual(5));
    let outcome = simulate(&Settings::usual(), fleet, arrivals.into_iter(), 9);
    assert_eq!(outcome.finished, 3720);
    let beside = outcome.waits_beside_the_crowd();
    // They come every five seconds, and an hour is longer than the crowd.
    let due = outcome.crowd_begun / 5.0;
    assert!((beside.len() as f64 - due).abs() <= 1.0 && beside.len() < 600, "{}", beside.len());
    let of_others = Outcome::percentile(&beside, 50.0);
    assert!((of_others / queued - 1.0).abs() < 0.25, "{of_others} {queued}");
    let of_crowd = Outcome::percentile(&outcome.waits_of_the_crowd, 50.0);
    assert!(Outcome::percentile(&beside, 90.0) * 5.0 < of_crowd, "{of_others} {of_crowd}");
}

/// What a clip of a second and a second of film take, as it was measured on two cores:
/// benches/runs/2026-11-21-debian12-2cores-pool.md.
mod beside_what_was_measured {
    use super::*;

    /// CPU time of a worker for a clip, and all that a lone clip takes.
    const CLIP: [f64; 2] = [0.0239, 0.0737];
    /// Half an hour of video took both cores so long.
    const HALF_AN_HOUR: f64 = 17.6;

    fn one_worker(arrivals: &[Arrival]) -> Outcome {
        let pods = vec![Pod { up: 0.0, killed: None }];
        let settings = Settings { window: unlimited(), ..Settings::usual() };
        simulate(&settings, Fleet::Given(pods), arrivals.iter().copied(), 1)
    }

    fn clip(at: f64) -> Arrival {
        Arrival { at, user: 1, work: CLIP[0], segments: 1.0, latency: CLIP[1] - CLIP[0] }
    }

    fn is_near(is: f64, due: f64) {
        assert!((is / due - 1.0).abs() < 0.15, "{is}, not {due}");
    }

    /// 397.9 ms instead of 73.7.
    #[test]
    fn a_clip_beside_a_film() {
        let work = Work { each: 0.0, second: 2.0 * HALF_AN_HOUR / 1800.0, latency: 0.0 };
        let film = work.job(0.5, 1, 7200.0);
        let outcome = one_worker(&[clip(0.0), film, clip(5.0)]);
        is_near(f64::from(outcome.times[0]), 0.0737);
        is_near(f64::from(outcome.times[1]), 0.3979);
    }

    /// 63.3 in a second. Redis and the store, which take 6 ms for each, shared the cores.
    #[test]
    fn a_thousand_clips() {
        let clip = Arrival { work: CLIP[0] + 0.006, ..clip(0.0) };
        let outcome = one_worker(&vec![clip; 1000]);
        is_near(1000.0 / outcome.end, 63.3);
    }
}
