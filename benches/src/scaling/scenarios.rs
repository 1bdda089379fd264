//! What is simulated: fleets over a day, and crowds before an empty one, on machines that last and
//! on such that are taken away.

use std::fmt::Write as _;
use std::time::Duration;

use super::costs::Costs;
use super::simulation::arrivals::{Arrival, Pattern, Work, burst};
use super::simulation::outcome::Outcome;
use super::simulation::scaler::Scaler;
use super::simulation::{Fleet, Kills, Settings, simulate};

/// Of the cores of the whole fleet, so many are busy on average; at two in the afternoon nearly
/// twice as many.
const BUSY: f64 = 0.45;
/// Attempts that fail for a passing reason.
const FAILING: f64 = 0.001;
/// Shares of machines that are taken away in an hour.
const RATES: [f64; 3] = [0.0, 0.05, 0.5];
/// What some clouds tell of that beforehand, in s.
const NOTICE: f64 = 120.0;
/// The grace period: as in the manifests for any cluster, and in those for machines that are told.
const GRACE: [Duration; 2] = [Duration::from_mins(5), Duration::from_secs(90)];
const HOUR: f64 = 3600.0;

/// Fleets: how many workers at most, and from when to when.
const FLEETS: [(usize, f64, f64); 4] =
    [(1, 0.0, 24.0), (10, 0.0, 24.0), (100, 0.0, 24.0), (1000, 12.0, 14.0)];
/// Crowds before no workers: jobs, and how many workers there may be.
const CROWDS: [(u32, usize); 2] = [(10_000, 100), (10_000, 1000)];
/// Others who come in the hour after a crowd, one after the other.
const OTHERS: u32 = 720;

/// Tables of all scenarios, and the jobs that were lost or given up in them, which is a defect.
#[must_use]
pub fn tables(costs: &Costs, seed: u64, is_quick: bool) -> (String, usize) {
    let work = Work::measured(costs);
    let mut lost = 0;
    let mut text = introduction(costs, &work, seed);
    for (most, from, to) in FLEETS {
        let to = if is_quick { from + (to - from) / most.max(12) as f64 } else { to };
        for kills in plans() {
            let arrivals =
                Pattern::new(work, 2.0 * BUSY * most as f64, from * HOUR, to * HOUR, seed);
            let outcome = run(most, kills, arrivals, seed);
            lost += outcome.lost() + outcome.given_up;
            let what = format!("{most}, {:.0} h", to - from);
            text.push_str(&row(&what, kills, &outcome));
        }
    }
    text.push_str(
        "\nA crowd: 10,000 jobs of one user at once, before no worker at all; twelve others a\n\
         minute come with a clip each, in the hour after that. What they wait is of those who\n\
         come before the last job of the crowd has begun; the first wait for pods, too.\n\n\
         | workers at most | machines lost in an hour | crowd done after, min | crowd waits, min: \
         median, p95 | others beside it | they wait, s: median, p95, worst | core-hours | kills \
         | repeated | lost |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (jobs, most) in CROWDS {
        for kills in plans() {
            let jobs = if is_quick { jobs / 20 } else { jobs };
            let outcome = run(most, kills, burst(work, jobs, OTHERS, seed).into_iter(), seed);
            lost += outcome.lost() + outcome.given_up;
            text.push_str(&crowd_row(most, kills, &outcome));
        }
    }
    (text, lost)
}

fn plans() -> impl Iterator<Item = Kills> {
    let without = RATES.map(|per_hour| Kills { per_hour, notice_seconds: 0.0 });
    without.into_iter().chain([Kills { per_hour: RATES[2], notice_seconds: NOTICE }])
}

fn run(most: usize, kills: Kills, arrivals: impl Iterator<Item = Arrival>, seed: u64) -> Outcome {
    let grace = GRACE[usize::from(kills.notice_seconds > 0.0)];
    let settings = Settings { kills, failing: FAILING, grace, ..Settings::usual() };
    simulate(&settings, Fleet::Scaled(Scaler::usual(most)), arrivals, seed)
}

fn introduction(costs: &Costs, work: &Work, seed: u64) -> String {
    let settings = Settings::usual();
    let scaler = Scaler::usual(1);
    let missed = costs.missed().map_or_else(String::new, |(kind, share)| {
        format!(
            "; the line through the shortest and\nthe longest that were measured, {:+.0} % \
            from a {kind}",
            share * 100.0
        )
    });
    format!(
        "Costs of:\n\n{}\n\n\
         Seed {seed}. A job takes {:.1} ms of a core, {:.2} ms more for each second of sound, and\n\
         {:.0} ms beside that{missed}.\n\
         Three in four are clips (30 s on average), the others have half an\n\
         hour in the middle and up to four; {:.0} % of all cores are busy on average, over a day\n\
         with its most at two in the afternoon; one job in twenty comes in a crowd. Workers have\n\
         {:.0} cores and {} jobs; the lease is {} s, grace {} s, and {} s where machines are told\n\
         before they go. KEDA as in the manifests, from no worker; a pod takes {:.0} to {:.0} s\n\
         to start. One attempt in a thousand fails for a passing reason. Waits are from\n\
         acceptance to the first attempt, in s; core-hours are those of pods, from when they are\n\
         wanted; repeated is the share of the work that was in vain.\n\n\
         | workers at most | machines lost in an hour | jobs | wait: median | p95 | p99 | worst \
         | core-hours | busy | kills | attempts again | repeated | lost |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        costs.source(),
        work.each * 1e3,
        work.second * 1e3,
        work.latency * 1e3,
        BUSY * 100.0,
        settings.cores,
        settings.slots,
        settings.lease.as_secs(),
        GRACE[0].as_secs(),
        GRACE[1].as_secs(),
        scaler.start[0],
        scaler.start[1],
    )
}

fn share(part: f64, whole: f64) -> String {
    format!("{:.2} %", if whole > 0.0 { part / whole * 100.0 } else { 0.0 })
}

fn spot(kills: Kills) -> String {
    let notice = if kills.notice_seconds > 0.0 { ", told 2 min before" } else { "" };
    format!("{:.0} %{notice}", kills.per_hour * 100.0)
}

fn row(what: &str, kills: Kills, outcome: &Outcome) -> String {
    let wait = |percent| Outcome::percentile(&outcome.waits, percent);
    let busy = share(outcome.busy_hours, outcome.core_hours);
    let mut text = format!("| {what} | {} | {} |", spot(kills), outcome.jobs);
    for percent in [50.0, 95.0, 99.0, 100.0] {
        let _ = write!(text, " {:.1} |", wait(percent));
    }
    let again = outcome.attempts.saturating_sub(outcome.jobs);
    let lost = outcome.lost() + outcome.given_up;
    let repeated = share(outcome.repeated_hours, outcome.busy_hours);
    let _ = writeln!(
        text,
        " {:.1} | {busy} | {} | {again} | {repeated} | {lost} |",
        outcome.core_hours, outcome.kills
    );
    text
}

fn crowd_row(most: usize, kills: Kills, outcome: &Outcome) -> String {
    let minutes = |percent| Outcome::percentile(&outcome.waits_of_the_crowd, percent) / 60.0;
    let beside = outcome.waits_beside_the_crowd();
    let others = |percent| Outcome::percentile(&beside, percent);
    // The others come for an hour, but nobody takes as long as the last of the crowd.
    let all = Outcome::percentile(&outcome.times, 100.0) / 60.0;
    format!(
        "| {most} | {} | {all:.1} | {:.1}, {:.1} | {} | {:.1}, {:.1}, {:.1} | {:.1} | {} | {} \
         | {} |\n",
        spot(kills),
        minutes(50.0),
        minutes(95.0),
        beside.len(),
        others(50.0),
        others(95.0),
        others(100.0),
        outcome.core_hours,
        outcome.kills,
        share(outcome.repeated_hours, outcome.busy_hours),
        outcome.lost() + outcome.given_up
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A setting of the workers.
    fn manifest(folder: &str, name: &str) -> u64 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes").join(folder);
        let text = std::fs::read_to_string(path.join("kustomization.yaml")).unwrap();
        let (_, of_workers) = text.split_once("- name: worker\n").unwrap();
        let (of_workers, _) = of_workers.split_once("- name: notifier\n").unwrap();
        let (_, value) = of_workers.split_once(&format!("- {name}=")).unwrap();
        value.lines().next().unwrap().parse().unwrap()
    }

    #[test]
    fn settings_are_those_of_the_manifests() {
        let grace = ["base", "overlays/aws"].map(|folder| manifest(folder, "TONEMILL_GRACE"));
        assert_eq!(grace, GRACE.map(|grace| grace.as_secs()));
        assert_eq!(manifest("base", "TONEMILL_JOBS"), Settings::usual().slots as u64);
    }
}
