//! The machine: what the report says of it, and how busy others keep it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::error::{BenchError, file};

/// What the report says of the machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor, by its own name.
    pub cpu: String,
    /// Cores that a process here may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// Name of the distribution.
    pub system: String,
}

impl Machine {
    /// Asks the system.
    pub fn read() -> Result<Self, BenchError> {
        let field = |text: &str, key: &str, mark: char| {
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| Some(line.split_once(mark)?.1.trim().trim_matches('"').to_owned()))
        };
        let unknown = || "unknown".to_owned();
        let memory = field(&read("/proc/meminfo")?, "MemTotal", ':');
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo")?, "model name", ':').unwrap_or_else(unknown),
            cores: cores(),
            memory_bytes: memory.as_deref().and_then(kibibytes).unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: field(&read("/etc/os-release")?, "PRETTY_NAME", '=').unwrap_or_else(unknown),
        })
    }
}

/// Cores that a process here may use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// CPU time that all processes together have used since the machine started, and what the host of
/// a virtual machine took from it.
pub fn busy_time() -> Result<Duration, BenchError> {
    let stat = read("/proc/stat")?;
    busy_ticks(&stat).map(|ticks| Duration::from_millis(ticks * 10)).ok_or_else(|| {
        BenchError::Unreadable {
            what: "/proc/stat".to_owned(),
            detail: "no line `cpu` with its eight columns".to_owned(),
        }
    })
}

/// In hundredths of a second: user, nice, system, irq, softirq and steal; not idle, not iowait.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut columns = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let columns: Vec<u64> = columns.by_ref().take(8).map_while(|c| c.parse().ok()).collect();
    (columns.len() == 8).then(|| columns.iter().sum::<u64>() - columns[3] - columns[4])
}

/// The peak resident memory of this very process, in bytes.
pub fn own_peak_bytes() -> Result<u64, BenchError> {
    let status = read("/proc/self/status")?;
    let peak = status.lines().find_map(|line| kibibytes(line.strip_prefix("VmHWM:")?));
    Ok(peak.unwrap_or(0))
}

/// `"  123 kB"` in bytes.
fn kibibytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|count| count * 1024)
}

fn read(path: &str) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(file("read", Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  100 20 30 9000 800 4 5 6 70 80\ncpu0 1 2 3";
        assert_eq!(busy_ticks(stat), Some(165));
        assert_eq!(busy_ticks("cpu  1 2 3"), None);
    }

    #[test]
    fn the_machine_is_readable() {
        let machine = Machine::read().unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(own_peak_bytes().unwrap() > 0);
        assert!(busy_time().unwrap() > Duration::ZERO);
    }
}
