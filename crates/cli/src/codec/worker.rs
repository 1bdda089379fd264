//! `tonemill worker`: the process that operators scale.

use async_trait::async_trait;
use tokio::net::TcpListener;
use tonemill_telemetry::admin::{self, Watched};
use tonemill_telemetry::catalogue::Component;
use tonemill_telemetry::{Ended, Part};
use tonemill_worker::{Size, Worker, WorkerConfig, WorkerState};

use crate::args::worker::{SizeArgs, WorkerArgs};
use crate::backends::Backends;
use crate::disks::Disks;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::runtime::{run_until_told, start_metrics, told_by_signals};
use crate::text::seconds;

/// Works until it is told to end.
pub fn run(args: &WorkerArgs) -> Outcome {
    run_until_told("tonemill-worker", &args.log, work(args))
}

async fn work(args: &WorkerArgs) -> Result<Ended, Failure> {
    let Backends { queue, store } = args.backends.open(Some(seconds(args.lease))).await?;
    let shutdown = told_by_signals()?;
    let config = WorkerConfig { once: args.once, ..args.size.config(args.grace) };
    let worker = Worker::new(queue, store, config, shutdown)
        .map_err(|error| Failure::cannot("start threads", error))?;
    if let Some(address) = args.admin {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|error| Failure::cannot(format!("listen on {address}"), error))?;
        let metrics = start_metrics(&[Component::Backends, Component::Worker])?;
        let disks = Disks::of(None, &args.backends);
        let process = WorkerProcess { worker: worker.state(), disks };
        tokio::spawn(admin::serve(listener, process, metrics));
    }
    Ok(worker.run().await)
}

/// A worker with the disks that it works on.
struct WorkerProcess {
    worker: WorkerState,
    disks: Disks,
}

#[async_trait]
impl Watched for WorkerProcess {
    fn is_draining(&self) -> bool {
        self.worker.is_draining()
    }

    async fn parts(&self) -> Vec<Part> {
        self.worker.parts().await
    }

    async fn measure(&self) {
        tokio::join!(self.worker.measure(), self.disks.measure());
    }
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
