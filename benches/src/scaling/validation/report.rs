//! What both said, beside each other, and whether that is near enough.

use std::fmt::Write as _;

use super::{BUSY, Course, LEASE, Learned, PAUSE, Plan, SEEDS, SLOTS};
use crate::error::BenchError;
use crate::scaling::simulation::outcome::Outcome;
use crate::statistics::Spread;

/// What is compared.
const FIGURES: [&str; 8] = [
    "attempts",
    "wait: median",
    "wait: p90",
    "wait: worst",
    "whole: median",
    "whole: p90",
    "whole: worst",
    "the last ended",
];
/// Of those, where both must be near each other, within this factor. Waits are short, and the worst
/// of anything is chance.
const NEAR: [usize; 3] = [4, 5, 7];
const FACTOR: f64 = 1.25;
/// Times below this, in s, say nothing about each other.
const NOTHING: f64 = 0.05;
/// A film that gets less of its core than this shares it with more than what belongs here.
const QUIET: f64 = 0.8;

/// Why what follows says little: others used the machine while the costs of jobs were measured.
pub(super) fn is_disturbed(learned: &Learned) -> Option<String> {
    let cores = learned.cores;
    (cores < QUIET).then(|| format!("the machine is not quiet: a film got {cores:.2} of its core"))
}

pub(super) fn introduction(learned: &Learned, jobs: usize) -> String {
    let Learned { work, cores } = learned;
    let mut text = format!(
        "{jobs} jobs that come by chance, three of four with 5 s of video, the others with\n\
         ten minutes, for two workers of {SLOTS} jobs, each on a core of its own (`taskset`),\n\
         busy for {:.0} % of the time; a lease of {} s. At a quarter, half and three quarters of\n\
         it the oldest worker is killed, and another starts on its core {} s later. Measured\n\
         before, with both busy: {:.1} ms of CPU a job, {:.2} ms more for a second of sound,\n\
         {:.0} ms beside that; a film got {:.2} of its core, which Redis, the store and measuring\n\
         use as well. Of {SEEDS} simulations, the median of these figures and their range, in s,\n\
         and the ratio of the median to what was. Medians and p90 of the whole, and the last end,\n\
         may not be outside of the range by more than a factor of {FACTOR}.\n\n| round | |",
        BUSY * 100.0,
        LEASE.as_secs(),
        PAUSE.as_secs(),
        work.each * 1e3,
        work.second * 1e3,
        work.latency * 1e3,
        cores,
    );
    for name in FIGURES {
        let _ = write!(text, " {name} |");
    }
    let _ = writeln!(text, "\n|--:|---|{}", "--:|".repeat(FIGURES.len()));
    text
}

/// Both, and the simulation in shares of what was; what is too far off is added to `wrong`.
pub(super) fn rows(
    round: u64,
    plan: &Plan,
    course: &Course,
    simulated: &[Outcome],
    wrong: &mut Vec<String>,
) -> Result<String, BenchError> {
    let times = course.jobs.values();
    let waits: Vec<f32> = times.clone().map(|[at, begun, _]| (begun - at) as f32).collect();
    let wholes: Vec<f32> = times.clone().map(|[at, _, end]| (end - at) as f32).collect();
    let last = times.map(|[.., end]| *end).fold(0.0, f64::max);
    let real = figures(course.attempts, &waits, &wholes, last);
    if simulated.iter().any(|run| run.finished != plan.arrivals.len()) {
        return Err(BenchError::work("the simulation lost a job"));
    }
    let runs: Vec<[f64; 8]> = simulated
        .iter()
        .map(|run| figures(run.attempts, &run.waits, &run.times, run.end))
        .collect();
    let of = |place: usize| Spread::of(runs.iter().map(|run| run[place]));
    let model: Vec<Spread> = (0..FIGURES.len()).filter_map(of).collect();
    for place in NEAR {
        let (name, real, model) = (FIGURES[place], real[place], model[place]);
        if !is_near(real, model) {
            let Spread { low, high, .. } = model;
            wrong.push(format!("round {round}, {name}: {real:.2} s, simulated {low:.2}–{high:.2}"));
        }
    }
    Ok(table(round, &real, &model))
}

fn table(round: u64, real: &[f64; 8], model: &[Spread]) -> String {
    let mut text = format!("| {round} | real | {:.0} |", real[0]);
    for real in &real[1..] {
        let _ = write!(text, " {real:.2} |");
    }
    let _ = write!(text, "\n| {round} | simulated |");
    for (place, Spread { median, low, high }) in model.iter().enumerate() {
        let digits = if place == 0 { 0 } else { 2 };
        let _ = write!(text, " {median:.digits$} ({low:.digits$}–{high:.digits$}) |");
    }
    let _ = write!(text, "\n| {round} | ratio |");
    for (real, model) in real.iter().zip(model) {
        if says_something(*real, model.median) {
            let _ = write!(text, " {:.2} |", model.median / real);
        } else {
            text.push_str(" – |");
        }
    }
    text + "\n"
}

fn says_something(real: f64, model: f64) -> bool {
    real.max(model) >= NOTHING && real > 0.0
}

/// What comes of one run is chance as well: it is to be among what came of the simulations, or
/// nearly so.
fn is_near(real: f64, model: Spread) -> bool {
    !says_something(real, model.high) || (model.low / FACTOR..=model.high * FACTOR).contains(&real)
}

fn figures(attempts: usize, waits: &[f32], wholes: &[f32], last: f64) -> [f64; 8] {
    let of = Outcome::percentile;
    [
        attempts as f64,
        of(waits, 50.0),
        of(waits, 90.0),
        of(waits, 100.0),
        of(wholes, 50.0),
        of(wholes, 90.0),
        of(wholes, 100.0),
        last,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_off_is_told() {
        let plan = Plan { arrivals: vec![(0.0, 0)], kills: Vec::new() };
        let mut course = Course { attempts: 1, ..Course::default() };
        course.jobs.insert(tonemill_job::JobId::new(), [1.0, 1.01, 3.0]);
        let of = |time: f32, end| {
            let (waits, times) = (vec![0.0], vec![time]);
            Outcome { finished: 1, attempts: 1, waits, times, end, ..Outcome::default() }
        };
        let mut wrong = Vec::new();
        let text = rows(1, &plan, &course, &[of(2.25, 3.5)], &mut wrong).unwrap();
        assert_eq!(wrong, Vec::<String>::new());
        assert!(
            text.contains("| 1 | ratio | 1.00 | – | – | – | 1.12 | 1.12 | 1.12 | 1.17 |"),
            "{text}"
        );
        rows(2, &plan, &course, &[of(2.25, 6.0)], &mut wrong).unwrap();
        assert_eq!(wrong, ["round 2, the last ended: 3.00 s, simulated 6.00–6.00"]);
        let lost = Outcome { finished: 0, ..of(2.25, 3.5) };
        assert!(rows(3, &plan, &course, &[lost], &mut wrong).is_err());
    }
}
