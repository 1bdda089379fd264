//! One measurement: wall time, CPU time and peak memory of one program doing one job.
//!
//! CPU time is the kernel's own count (`wait4`), descendants included, not sampled. Peak memory of
//! a lone process is the kernel's too; where children do the work, [`TreeRss`] adds them up.
//!
//! `ru_maxrss` of a child is never below the peak of the process that spawned it (the kernel
//! carries the figure across `exec`), so this program must stay smaller than what it measures:
//! it reads all output in small pieces, and the report states its own peak.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use wait4::Wait4 as _;

use super::command::CommandLine;
use super::tree_rss::TreeRss;
use crate::error::{BenchError, file};
use crate::machine;

/// What one program used for one job.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// From the first process' start to the last one's end.
    pub wall_s: f64,
    /// CPU time in user mode, all processes.
    pub user_s: f64,
    /// CPU time in the kernel, all processes.
    pub system_s: f64,
    /// The highest resident memory of all processes that ran at one time.
    pub peak_rss_bytes: u64,
    /// The highest resident memory of any one process.
    pub largest_process_bytes: u64,
    /// CPU time that the rest of the machine used meanwhile; counted in hundredths of a second.
    pub others_cpu_s: f64,
}

impl Usage {
    /// User and kernel time.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    /// What the rest of the machine used, as a share of all its cores.
    #[must_use]
    pub fn others_share(&self, cores: usize) -> f64 {
        self.others_cpu_s / (self.wall_s * cores as f64)
    }

    fn add(&mut self, used: &wait4::ResourceUsage, tree_peak: Option<u64>) {
        self.user_s += used.utime.as_secs_f64();
        self.system_s += used.stime.as_secs_f64();
        self.largest_process_bytes = self.largest_process_bytes.max(used.maxrss);
        let peak = used.maxrss.max(tree_peak.unwrap_or(0));
        self.peak_rss_bytes = self.peak_rss_bytes.max(peak);
    }
}

/// Runs the commands one after the other in `folder`; `output` keeps what they say.
///
/// The standard output goes to `output/stdout`, the standard error to `output/stderr`.
pub fn run(commands: &[CommandLine], folder: &Path, output: &Path) -> Result<Usage, BenchError> {
    let (stdout_path, stderr_path) = (output.join("stdout"), output.join("stderr"));
    let stdout = File::create(&stdout_path).map_err(file("create", &stdout_path))?;
    let stderr = File::create(&stderr_path).map_err(file("create", &stderr_path))?;
    let mut usage = Usage::default();
    let others = machine::busy_time()?;
    let start = Instant::now();
    for command in commands {
        let handles = (
            stdout.try_clone().map_err(file("share", &stdout_path))?,
            stderr.try_clone().map_err(file("share", &stderr_path))?,
        );
        let child = command
            .command(folder)
            .stdout(handles.0)
            .stderr(handles.1)
            .spawn()
            .map_err(|source| command.missing(source))?;
        let tree = command.has_children.then(|| TreeRss::watch(child.id()));
        let ended = child.wait4().map_err(|source| command.missing(source))?;
        usage.add(&ended.rusage, tree.map(TreeRss::finish));
        if !ended.status.success() {
            let said = fs::read_to_string(&stderr_path).unwrap_or_default();
            return Err(command.failed(ended.status, &said));
        }
    }
    let wall = start.elapsed();
    usage.wall_s = wall.as_secs_f64();
    let busy = machine::busy_time()?.saturating_sub(others);
    usage.others_cpu_s = busy.saturating_sub(Duration::from_secs_f64(usage.cpu_s())).as_secs_f64();
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_cpu_of_grandchildren_and_the_memory_of_the_group() {
        let folder = tempfile::tempdir().unwrap();
        // Two children at a time, each with a buffer of 40 MB, for some tenths of a second.
        let job = ["-a", "jobs", "-P", "2", "-I{}", "dd", "status=none", "if=/dev/zero"];
        let mut command = CommandLine::new("xargs", &job)
            .with(["of=/dev/null", "bs=40000000", "count=50"].map(str::to_owned));
        command.has_children = true;
        fs::write(folder.path().join("jobs"), "1\n2\n").unwrap();
        let usage = run(&[command], folder.path(), folder.path()).unwrap();
        assert!(usage.cpu_s() > 0.05, "{usage:?}");
        assert!(usage.largest_process_bytes > 40_000_000, "{usage:?}");
        assert!(usage.peak_rss_bytes > usage.largest_process_bytes + 30_000_000, "{usage:?}");
        assert!(usage.wall_s > 0.05, "{usage:?}");
    }

    #[test]
    fn a_failing_command_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let command = CommandLine::new("sh", &["-c", "echo broken >&2; exit 1"]);
        let error = run(&[command], folder.path(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
