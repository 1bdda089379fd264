//! How a process is told to end: first to finish what it can, then at once; and how it ended.

use tokio_util::sync::CancellationToken;

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, or there was nothing left to do.
    Done,
    /// An attempt hangs in a thread of this process, which nothing but the end of the process ends:
    /// start it again.
    Hung,
}

/// Tells a process to end. Clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// Nobody has said anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Take no more jobs, finish those that run within the grace period, release the others.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Release all jobs and end.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    /// Drains at the first SIGTERM or SIGHUP, stops at SIGINT and at the second.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => shutdown.drain_or_stop("SIGTERM"),
                    _ = hang_up.recv() => shutdown.drain_or_stop("SIGHUP"),
                    _ = interrupt.recv() => shutdown.stop(),
                }
            }
        });
        Ok(())
    }

    fn drain_or_stop(&self, signal: &str) {
        if self.is_draining() {
            self.stop();
        } else {
            tracing::info!("{signal}: taking no more jobs");
            self.drain();
        }
    }

    /// Whether no more jobs are to be taken.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Ends when no more jobs are to be taken.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Ends when all jobs are to be released.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }
}
