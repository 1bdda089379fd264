//! How a worker works, and how large it is.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonemill_codec::Limits;

use crate::isolate::SandboxLimits;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Jobs at a time. Default: see [`Size::detect`].
    pub jobs: usize,
    /// Threads that encode, shared by all jobs. Default: one per core that the cgroup grants.
    pub threads: usize,
    /// What one job may use.
    pub limits: Limits,
    /// What a job in a process of its own may use besides.
    pub sandbox: SandboxLimits,
    /// For how long an attempt may show no sign of life. Default: 60 s.
    pub stall: Duration,
    /// How long a worker that is to end lets its jobs go on. Default: 25 s, within the 30 s that
    /// Kubernetes grants.
    pub grace: Duration,
    /// How long the first retry waits; each further one waits four times as long. Default: 5 s.
    pub retry_delay: Duration,
    /// How much of an upload that the decoder did not need is read all the same, to hold it against
    /// the store's checksum. Default: 256 MiB.
    pub verify_bytes: u64,
    /// End when no job waits.
    pub once: bool,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let Size { jobs, threads } = Size::detect(None);
        Self {
            jobs,
            threads,
            limits: Limits::default(),
            sandbox: SandboxLimits::default(),
            stall: Duration::from_mins(1),
            grace: Duration::from_secs(25),
            retry_delay: Duration::from_secs(5),
            verify_bytes: 256 << 20,
            once: false,
        }
    }
}

/// How large a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Jobs at a time.
    pub jobs: usize,
    /// Threads that encode.
    pub threads: usize,
}

/// What a worker uses without a job: libraries, connections, one more job's peak.
const BASE_BYTES: u64 = 128 << 20;
/// What a job uses besides its segments: ranges that are kept and fetched, parts on their way out,
/// the decoder.
const JOB_BYTES: u64 = 40 << 20;
/// What a segment uses: a bit more than 512 frames of stereo floats, and LAME.
const SEGMENT_BYTES: u64 = 7 << 20;

impl Size {
    /// What fits into `memory_bytes`, or else into the memory that the cgroup and the machine
    /// leave, at most four jobs per core: more would only wait for each other.
    #[must_use]
    pub fn detect(memory_bytes: Option<u64>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let memory = memory_bytes.or_else(memory_limit_bytes).unwrap_or(1 << 30);
        Self { jobs: jobs_that_fit(memory, threads), threads }
    }
}

fn jobs_that_fit(memory_bytes: u64, threads: usize) -> usize {
    // As many segments as threads, one that waits, and one that is being cut.
    let job_bytes = JOB_BYTES + SEGMENT_BYTES * (threads as u64 + 2);
    // A third is left to others and to mistakes of this estimate.
    let fit = (memory_bytes / 3 * 2).saturating_sub(BASE_BYTES) / job_bytes;
    (fit as usize).clamp(1, threads * 4)
}

/// The memory that this process may use, in bytes.
fn memory_limit_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| cgroup_limit(&text));
    machine.into_iter().chain(group).min()
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The least of the limits of this process's group and those above it.
fn cgroup_limit(groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group: PathBuf = Path::new(root).join(path.trim_start_matches('/'));
        let files = group.ancestors().take_while(|at| at.starts_with(root)).map(|at| at.join(file));
        let read = |file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
        files.filter_map(read).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_decides_within_bounds() {
        assert_eq!(jobs_that_fit(0, 2), 1);
        assert_eq!(jobs_that_fit(512 << 20, 2), 3);
        assert_eq!(jobs_that_fit(1 << 40, 2), 8);
        assert!(Size::detect(Some(u64::MAX)).jobs == Size::detect(None).threads * 4);
    }

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:  2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_total("MemTotal: x kB"), None);
        assert_eq!(cgroup_limit("0::/no/such/group\n3:cpu:/\n"), root_limit());
    }

    /// That of the root, which few machines have.
    fn root_limit() -> Option<u64> {
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
    }
}
