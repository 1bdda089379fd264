//! The system calls that a child may make once it is shut in: memory, threads of its own, time, and
//! bytes through its three standard descriptors.
//!
//! An allow-list, because kernels grow: whatever is not on it fails with EPERM, as it does for who
//! lacks a privilege, so that libraries go on without it. Arguments count where a call has more
//! than one use. Descriptors beyond the standard ones are useless, even if some were inherited.
//! Memory is never made executable. Signals reach nobody else.

use std::collections::BTreeMap;

use rustix::process::getpid;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

/// Allowed with any arguments.
const HARMLESS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_times,
    // Refused by another filter; see `filters`.
    libc::SYS_clone3,
];

/// Allowed on a standard descriptor, which is the first argument.
const ON_STANDARD_DESCRIPTORS: &[i64] =
    &[libc::SYS_read, libc::SYS_readv, libc::SYS_write, libc::SYS_writev];

/// Flags of `clone` that make a thread, and those that make anything else.
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const NO_THREAD: i32 = libc::CLONE_VFORK
    | libc::CLONE_PTRACE
    | libc::CLONE_PIDFD
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// From here on, all threads of this process can do no more than the above, nor can they undo it.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    for filter in filters()? {
        apply_filter_all_threads(&filter)?;
    }
    Ok(())
}

fn filters() -> Result<[BpfProgram; 2], BackendError> {
    // Its flags lie in memory, where no filter can see them. glibc falls back to `clone`, but only
    // if the call does not exist.
    let hidden_flags = [(libc::SYS_clone3, vec![])].into();
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    Ok([
        compiled(hidden_flags, SeccompAction::Allow, missing)?,
        compiled(allowed()?, denied, SeccompAction::Allow)?,
    ])
}

fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, action, arch)?.try_into()
}

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    use SeccompCmpOp::{Eq, Le, MaskedEq};
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        HARMLESS.iter().map(|call| (*call, vec![])).collect();
    for call in ON_STANDARD_DESCRIPTORS {
        rules.insert(*call, vec![all(&[(0, Le, 2)])?]);
    }
    let myself = getpid().as_raw_nonzero().get() as u64;
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![all(&[(0, Eq, myself)])?]);
    }
    let not_executable = (2, MaskedEq(libc::PROT_EXEC as u64), 0);
    let anonymous = libc::MAP_ANONYMOUS as u64;
    rules.insert(libc::SYS_mprotect, vec![all(std::slice::from_ref(&not_executable))?]);
    rules
        .insert(libc::SYS_mmap, vec![all(&[not_executable, (3, MaskedEq(anonymous), anonymous)])?]);
    let thread_or_not = MaskedEq((THREAD | NO_THREAD) as u64);
    rules.insert(libc::SYS_clone, vec![all(&[(0, thread_or_not, THREAD as u64)])?]);
    rules.insert(libc::SYS_prctl, vec![all(&[(0, Eq, libc::PR_SET_NAME as u64)])?]);
    // Reading the limits of this process; the third argument would change them.
    let no_change = SeccompCondition::new(2, SeccompCmpArgLen::Qword, Eq, 0)?;
    let of_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![of_itself, no_change])?]);
    Ok(rules)
}

/// A rule that holds if each argument, of 32 bits, compares as given.
fn all(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|(argument, comparison, value)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, comparison.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_compiled() {
        assert!(filters().unwrap().iter().all(|filter| !filter.is_empty()));
    }

    #[test]
    fn no_call_that_reaches_outside_is_allowed() {
        let allowed = allowed().unwrap();
        for call in [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_memfd_create,
            libc::SYS_pidfd_send_signal,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_seccomp,
        ] {
            assert!(!allowed.contains_key(&call), "{call}");
        }
        for (call, rules) in allowed {
            assert_eq!(rules.is_empty(), HARMLESS.contains(&call), "{call}");
        }
    }
}
