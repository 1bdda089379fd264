//! The walls around a child, put up by itself before it reads a byte of media.
//!
//! No more privileges, no file, no network (Landlock, where the kernel has it), limits on memory,
//! CPU and files, and few system calls. All but Landlock are required: without one of them the
//! child gives up rather than go on. Nothing of it can be undone, not even by the child.

use std::io;
use std::time::Duration;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

use super::syscalls;

/// The newest Landlock that is asked for; older kernels give what they have of it.
const LANDLOCK: ABI = ABI::V9;

/// What a child may use, beyond the codec's own [`Limits`](tonemill_codec::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLimits {
    /// Address space, which is more than the memory in use. Default: 768 MiB: the program and its
    /// libraries take 200 MiB, each thread 5, and the largest index that FFmpeg builds 192, half as
    /// much again while it grows.
    pub address_space_bytes: u64,
    /// CPU time of all threads together, in full seconds. Default: 2 h.
    pub cpu: Duration,
    /// How long a child may neither ask for anything nor give anything, while nobody makes it wait.
    /// Default: 1 min.
    pub stall: Duration,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            address_space_bytes: 768 << 20,
            cpu: Duration::from_hours(2),
            stall: Duration::from_mins(1),
        }
    }
}

/// The walls that hold around a child. What is required always does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protections {
    /// Version of Landlock's interface that the kernel has; 0 if it has none in force.
    pub landlock_abi: u32,
    /// Whether Landlock denies all that it is asked to, not only what this kernel knows of it.
    pub landlock_complete: bool,
}

/// Raises those walls that need no settings. Must be called while the process has a single thread,
/// as Landlock holds for that and its descendants only.
pub(super) fn enter() -> io::Result<Protections> {
    // Before anything that could take time: the parent may die any moment.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let protections = landlock().map_err(io::Error::other)?;
    // Landlock took one for itself.
    limit(Resource::Nofile, 3)?;
    Ok(protections)
}

/// Raises the others. From here on the process can do nothing but compute, and speak through its
/// standard descriptors.
pub(super) fn close(limits: &SandboxLimits) -> io::Result<()> {
    limit(Resource::As, limits.address_space_bytes)?;
    limit(Resource::Cpu, limits.cpu.as_secs().max(1))?;
    syscalls::restrict().map_err(io::Error::other)
}

/// All of it, for a test to try the walls from inside.
#[cfg(feature = "faults")]
pub fn shut_in(limits: &SandboxLimits) -> io::Result<Protections> {
    let protections = enter()?;
    close(limits)?;
    Ok(protections)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    Ok(())
}

/// No path, no port, and nobody outside to signal or to talk to.
fn landlock() -> Result<Protections, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .no_new_privs(true)
        .restrict_self()?;
    let landlock_abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let landlock_complete = status.ruleset == RulesetStatus::FullyEnforced;
    Ok(Protections { landlock_abi, landlock_complete })
}
