//! The threads of commands that wait for others, and how those end that go on until they are told.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tonemill_telemetry::catalogue::Component;
use tonemill_telemetry::{Ended, Metrics, Shutdown};

use crate::args::worker::LogArgs;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Threads to wait on.
pub fn threads() -> Result<Runtime, Failure> {
    Runtime::new().map_err(|error| Failure::cannot("start threads", error))
}

/// Does `work`.
pub fn run(work: impl Future<Output = Result<Outcome, Failure>>) -> Outcome {
    let done = threads().and_then(|runtime| runtime.block_on(work));
    done.unwrap_or_else(|failure| failure.tell())
}

/// Does the `work` of a service or a worker, which ends when it is told to or when a thread hangs.
/// It is called `name` in traces.
pub fn run_until_told(
    name: &'static str,
    log: &LogArgs,
    work: impl Future<Output = Result<Ended, Failure>>,
) -> Outcome {
    raise_descriptor_limit();
    let done = threads().and_then(|runtime| {
        let _within = runtime.enter();
        let traces = log.start(name)?;
        let ended = runtime.block_on(work);
        traces.end();
        // A thread that hangs would be waited for.
        runtime.shutdown_background();
        ended
    });
    match done {
        Ok(Ended::Done) => Outcome::Done,
        Ok(Ended::Hung) => start_again(),
        Err(failure) => failure.tell(),
    }
}

/// As many descriptors as this process may have: shells and containers give 1,024, which only those
/// who call `select` need, and let a process ask for more.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised, an API has fewer connections, and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Keeps the metrics of a process of these components from now on.
pub fn start_metrics(components: &[Component]) -> Result<Metrics, Failure> {
    Metrics::install(components).map_err(|error| Failure::cannot("keep metrics", error))
}

/// What signals tell, from now on.
pub fn told_by_signals() -> Result<Shutdown, Failure> {
    let shutdown = Shutdown::new();
    let listening = shutdown.on_signals();
    listening.map_err(|error| Failure::cannot("listen to signals", error))?;
    Ok(shutdown)
}

/// A thread of this process does not end: only another program in its place gets rid of it.
fn start_again() -> Outcome {
    tracing::error!("an attempt hangs; the worker starts again");
    // Whatever lies where it was started from by now.
    let program = if cfg!(target_os = "linux") {
        Ok("/proc/self/exe".into())
    } else {
        std::env::current_exe()
    };
    let program = program.unwrap_or_else(|_| "tonemill".into());
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    tracing::error!(%error, "the worker cannot start again");
    Outcome::Fault
}
