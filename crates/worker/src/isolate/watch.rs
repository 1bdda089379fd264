//! Who ends a child, and why: the first reason counts.
//!
//! The two threads that serve a child wait for it in slices and look at the clock between them, so
//! that each deadline is kept as long as one of them is not held up in the source or the sink.
//! While one is, the child is not blamed for its silence.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use tonemill_codec::CancelToken;

use super::error::Misconduct;

/// How long is waited before the clock is looked at.
const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Why the child was told to end, other than by itself.
#[derive(Debug)]
pub(super) enum Verdict {
    Cancelled,
    Source(io::Error),
    Sink(io::Error),
    /// This machine refuses what an attempt needs.
    Machine(io::Error),
    Misconduct(Misconduct),
}

/// The attempt is over, for the reason that the [`Watch`] knows or because the child has gone.
#[derive(Debug)]
pub(super) struct Over;

/// Watches over one child.
pub(super) struct Watch<'a> {
    cancel: &'a CancelToken,
    started: Instant,
    wall_clock: Duration,
    stall: Duration,
    /// When the child was heard or served last, in milliseconds from the start.
    heard_ms: AtomicU64,
    /// Threads that are held up in the source or the sink.
    serving: AtomicU32,
    verdict: Mutex<Option<Verdict>>,
    kill: &'a (dyn Fn() + Sync),
}

impl<'a> Watch<'a> {
    /// Starts the clock. `kill` ends the child and may be called more than once.
    pub(super) fn new(
        cancel: &'a CancelToken,
        wall_clock: Duration,
        stall: Duration,
        kill: &'a (dyn Fn() + Sync),
    ) -> Self {
        Self {
            cancel,
            started: Instant::now(),
            wall_clock,
            stall,
            heard_ms: AtomicU64::new(0),
            serving: AtomicU32::new(0),
            verdict: Mutex::new(None),
            kill,
        }
    }

    /// The child said something whole.
    pub(super) fn heard(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Does something for the child that may take long.
    pub(super) fn serve<T>(&self, work: impl FnOnce() -> T) -> T {
        self.serving.fetch_add(1, Ordering::Relaxed);
        let outcome = work();
        self.heard();
        self.serving.fetch_sub(1, Ordering::Release);
        outcome
    }

    /// Ends the child, unless it was told to already.
    pub(super) fn end(&self, verdict: Verdict) -> Over {
        self.verdict().get_or_insert(verdict);
        (self.kill)();
        Over
    }

    pub(super) fn misconduct(&self, what: &'static str) -> Over {
        self.end(Verdict::Misconduct(Misconduct::Protocol(what)))
    }

    /// Why the child was told to end.
    pub(super) fn into_verdict(self) -> Option<Verdict> {
        self.verdict.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the deadlines.
    pub(super) fn check(&self) -> Result<(), Over> {
        if self.verdict().is_some() {
            return Err(Over);
        }
        // In this order: when nobody serves any more, what was heard last is known.
        let served = self.serving.load(Ordering::Acquire) > 0;
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        let elapsed = self.started.elapsed();
        let why = if self.cancel.is_cancelled() {
            Verdict::Cancelled
        } else if elapsed > self.wall_clock {
            Verdict::Misconduct(Misconduct::OverTime)
        } else if !served && elapsed.saturating_sub(heard) > self.stall {
            Verdict::Misconduct(Misconduct::Stalled)
        } else {
            return Ok(());
        };
        Err(self.end(why))
    }

    /// Waits until one of `fds` is ready, whose flags are returned, and keeps the deadlines.
    pub(super) fn wait<const N: usize>(
        &self,
        mut fds: [PollFd<'_>; N],
    ) -> Result<[PollFlags; N], Over> {
        loop {
            self.check()?;
            match poll(&mut fds, Some(&SLICE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(fds.map(|fd| fd.revents())),
                Err(error) => return Err(self.end(Verdict::Machine(error.into()))),
            }
        }
    }

    /// Writes all of `bytes`. `to` must not block.
    pub(super) fn write_all(&self, to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            self.wait([PollFd::from_borrowed_fd(to, PollFlags::OUT)])?;
            match write(to, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn verdict(&self) -> MutexGuard<'_, Option<Verdict>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills `buffer` from a descriptor, before each read of which `wait` is called; `false` if the
/// child has closed its end before the first byte.
pub(super) fn read_exact(
    from: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut wait: impl FnMut() -> Result<(), Over>,
) -> Result<bool, Over> {
    let mut filled = 0;
    while filled < buffer.len() {
        wait()?;
        match read(from, &mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(count @ 1..) => filled += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => return Err(Over),
        }
    }
    Ok(true)
}
