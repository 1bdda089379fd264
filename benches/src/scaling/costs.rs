//! What a job costs each server, and what everybody costs who waits: measured by the case `costs`
//! of `service`, kept as JSON beside its report, and what capacity and simulations start from.

use std::collections::BTreeMap;
use std::ops::{Add, Sub};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{BenchError, file};

/// What a server does: of one job, or of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// CPU time, in ms.
    pub cpu_ms: f64,
    /// Commands, requests or statements.
    pub calls: f64,
    /// Scripts among the commands, or transactions of the statements.
    pub groups: f64,
    /// What came in, in bytes; 0 if the server does not count it.
    pub in_bytes: f64,
    /// What went out, in bytes; 0 if the server does not count it.
    pub out_bytes: f64,
}

/// What a job of some kind costs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JobCosts {
    /// What it converts.
    pub name: String,
    /// The length of that.
    pub audio_seconds: f64,
    /// Its upload, in bytes.
    pub input_bytes: f64,
    /// Its MP3, in bytes.
    pub output_bytes: f64,
    /// How many were measured.
    pub jobs: usize,
    /// CPU time of the worker, in ms.
    pub worker_cpu_ms: f64,
    /// What it takes besides its CPU time when nothing else is done, in ms.
    pub latency_ms: f64,
    /// CPU time of the API, in ms: the upload, a look at the job, the download.
    pub api_cpu_ms: f64,
    /// What Redis does.
    pub redis: Work,
    /// What the S3 server does.
    pub s3: Work,
    /// What the database does, by the name of its software.
    pub sql: BTreeMap<String, Work>,
}

/// What somebody costs who has nothing to do, in a second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IdleCosts {
    /// Its own CPU time, in ms.
    pub cpu_ms: f64,
    /// What Redis does for it.
    pub redis: Work,
    /// What the database does for it, by the name of its software.
    pub sql: BTreeMap<String, Work>,
}

/// All that is measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Costs {
    /// The first lines of the report: the machine, and what was measured.
    pub header: String,
    /// By what is converted.
    pub jobs: Vec<JobCosts>,
    /// An API without requests.
    pub api: IdleCosts,
    /// A worker without jobs.
    pub worker: IdleCosts,
}

impl Costs {
    /// What was measured before.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = std::fs::read_to_string(path).map_err(file("read", path))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Keeps it.
    pub fn write(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).map_err(file("write", path))
    }

    /// A job's CPU time in ms as a line through the shortest and the longest kind: for every job,
    /// and for every second of sound.
    #[must_use]
    pub fn line(&self) -> (f64, f64) {
        let by_length = |a: &&JobCosts, b: &&JobCosts| a.audio_seconds.total_cmp(&b.audio_seconds);
        let (short, long) =
            (self.jobs.iter().min_by(by_length), self.jobs.iter().max_by(by_length));
        let (Some(short), Some(long)) = (short, long) else { return (0.0, 0.0) };
        let seconds = long.audio_seconds - short.audio_seconds;
        if seconds <= 0.0 {
            return (0.0, short.worker_cpu_ms / short.audio_seconds);
        }
        let slope = (long.worker_cpu_ms - short.worker_cpu_ms) / seconds;
        ((short.worker_cpu_ms - slope * short.audio_seconds).max(0.0), slope)
    }

    /// The kind from whose CPU time that line is farthest, and by which share of it; `None` if it
    /// goes through all.
    #[must_use]
    pub fn missed(&self) -> Option<(&str, f64)> {
        let (each, second) = self.line();
        let miss = |job: &JobCosts| (each + second * job.audio_seconds) / job.worker_cpu_ms - 1.0;
        let missed = self.jobs.iter().map(|job| (job.name.as_str(), miss(job)));
        let farthest = missed.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        (farthest.1.abs() > 0.005).then_some(farthest)
    }

    /// Where they were measured: the header without its title.
    #[must_use]
    pub fn source(&self) -> String {
        self.header.lines().skip(2).collect::<Vec<_>>().join("\n")
    }
}

impl Work {
    /// Each part, times this.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            cpu_ms: self.cpu_ms * factor,
            calls: self.calls * factor,
            groups: self.groups * factor,
            in_bytes: self.in_bytes * factor,
            out_bytes: self.out_bytes * factor,
        }
    }

    /// What is not less than nothing: differences of small measurements may be.
    #[must_use]
    pub fn at_least_nothing(self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.max(0.0),
            calls: self.calls.max(0.0),
            groups: self.groups.max(0.0),
            in_bytes: self.in_bytes.max(0.0),
            out_bytes: self.out_bytes.max(0.0),
        }
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms + other.cpu_ms,
            calls: self.calls + other.calls,
            groups: self.groups + other.groups,
            in_bytes: self.in_bytes + other.in_bytes,
            out_bytes: self.out_bytes + other.out_bytes,
        }
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other.times(-1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_through_the_ends() {
        let job = |audio_seconds, worker_cpu_ms| JobCosts {
            audio_seconds,
            worker_cpu_ms,
            ..JobCosts::default()
        };
        let jobs = vec![job(1.0, 30.0), job(5.0, 70.0), job(101.0, 1030.0)];
        let (each, second) = Costs { jobs, ..Costs::default() }.line();
        assert!((each - 20.0).abs() < 1e-9 && (second - 10.0).abs() < 1e-9, "{each} {second}");
        let (each, second) = Costs { jobs: vec![job(2.0, 30.0)], ..Costs::default() }.line();
        assert!(each.abs() < 1e-9 && (second - 15.0).abs() < 1e-9, "{each} {second}");
    }

    #[test]
    fn what_the_line_misses_is_told() {
        let job = |name: &str, audio_seconds, worker_cpu_ms| JobCosts {
            name: name.to_owned(),
            audio_seconds,
            worker_cpu_ms,
            ..JobCosts::default()
        };
        let mut jobs = vec![job("short", 1.0, 30.0), job("long", 101.0, 1030.0)];
        assert_eq!(Costs { jobs: jobs.clone(), ..Costs::default() }.missed(), None);
        jobs.push(job("middle", 5.0, 56.0));
        let costs = Costs { jobs, ..Costs::default() };
        let (name, share) = costs.missed().unwrap();
        assert!(name == "middle" && (share - 0.25).abs() < 1e-9, "{name} {share}");
    }
}
