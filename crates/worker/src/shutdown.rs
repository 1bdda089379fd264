//! How a worker is told to end: first to finish what it can, then at once.

use tokio_util::sync::CancellationToken;

/// Tells a worker to end. Clones tell the same one.
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

    /// Drains at the first SIGTERM, stops at SIGINT and at the second SIGTERM.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {
                        if shutdown.is_draining() {
                            shutdown.stop();
                        } else {
                            tracing::info!("SIGTERM: taking no more jobs");
                            shutdown.drain();
                        }
                    }
                    _ = interrupt.recv() => shutdown.stop(),
                }
            }
        });
        Ok(())
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
