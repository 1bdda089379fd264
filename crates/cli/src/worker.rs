//! `tonemill worker`: the process that operators scale.

use std::os::unix::process::CommandExt;
use std::process::Command;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonemill_worker::{Ended, Shutdown, Size, Worker, WorkerConfig, admin};

use crate::args_service::{SizeArgs, WorkerArgs};
use crate::exit::Outcome;
use crate::service::seconds;

/// Works until it is told to end.
pub fn run(args: &WorkerArgs) -> Outcome {
    if let Err(error) = args.log.start() {
        eprintln!("tonemill: --log: {error}");
        return Outcome::Usage;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tonemill: the worker cannot start its threads: {error}");
            return Outcome::Fault;
        }
    };
    let ended = runtime.block_on(work(args));
    // A thread that hangs would be waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Done) => Outcome::Done,
        Ok(Ended::Hung) => start_again(),
        Err((outcome, error)) => {
            eprintln!("tonemill: {error}");
            outcome
        }
    }
}

async fn work(args: &WorkerArgs) -> Result<Ended, (Outcome, String)> {
    let fault = |what: &str, error: &dyn std::fmt::Display| {
        (Outcome::Fault, format!("the worker cannot {what}: {error}"))
    };
    let service = args
        .service
        .open(Some(seconds(args.lease)))
        .await
        .map_err(|error| (Outcome::Usage, error))?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(|error| fault("listen to signals", &error))?;
    let config = WorkerConfig { once: args.once, ..args.size.config(args.grace) };
    let worker = Worker::new(service.queue, service.store, config, shutdown)
        .map_err(|error| fault("start its threads", &error))?;
    if let Some(address) = args.admin {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| fault(&format!("listen on {address}"), &error))?;
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| fault("keep metrics", &error))?;
        tokio::spawn(admin::serve(listener, worker.state(), metrics));
    }
    Ok(worker.run().await)
}

impl SizeArgs {
    /// A worker of this size that lets its jobs go on for `grace` seconds.
    pub fn config(&self, grace: f64) -> WorkerConfig {
        let size = Size::detect(self.memory);
        let mut config = WorkerConfig {
            jobs: self.jobs.map_or(size.jobs, usize::from),
            threads: self.threads.map_or(size.threads, usize::from),
            grace: seconds(grace),
            ..WorkerConfig::default()
        };
        if let Some(bytes) = self.limits.max_input {
            config.limits.input_bytes = bytes;
        }
        if let Some(limit) = self.max_duration {
            config.limits.decoded_seconds = limit.ceil() as u64;
        }
        if let Some(limit) = self.timeout {
            config.limits.wall_clock = seconds(limit);
        }
        if let Some(limit) = self.stall {
            config.stall = seconds(limit);
            config.sandbox.stall = config.stall;
        }
        if let Some(bytes) = self.alone_memory {
            config.sandbox.address_space_bytes = bytes;
        }
        if let Some(delay) = self.retry_delay {
            config.retry_delay = seconds(delay);
        }
        config
    }
}

/// A thread of this process does not end: only another program in its place gets rid of it.
pub fn start_again() -> Outcome {
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
