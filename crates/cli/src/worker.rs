//! `tonemill worker`: the process that operators scale.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonemill_worker::{Ended, Shutdown, Size, Worker, WorkerConfig, admin};
use tracing_subscriber::EnvFilter;

use crate::args_service::{LogFormat, SizeArgs, WorkerArgs};
use crate::exit::Outcome;
use crate::service::seconds;

/// Works until it is told to end.
pub fn run(args: &WorkerArgs) -> Outcome {
    if let Err(error) = start_log(args) {
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
    let config = args.size.config(args);
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
    fn config(&self, args: &WorkerArgs) -> WorkerConfig {
        let size = Size::detect(self.memory);
        let mut config = WorkerConfig {
            jobs: self.jobs.map_or(size.jobs, usize::from),
            threads: self.threads.map_or(size.threads, usize::from),
            grace: seconds(args.grace),
            once: args.once,
            ..WorkerConfig::default()
        };
        if let Some(bytes) = self.max_input {
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

fn start_log(args: &WorkerArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| error.to_string())?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written is no reason to lose work.
    let log = log.log_internal_errors(false);
    let format = args.log_format.unwrap_or_else(|| {
        if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
    });
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).init(),
        LogFormat::Text => log.with_target(false).init(),
    }
    Ok(())
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
