//! `tonemill worker`: the process that operators scale.

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tonemill_worker::{Ended, Size, Worker, WorkerConfig, admin};

use crate::args::worker::{SizeArgs, WorkerArgs};
use crate::backends::Backends;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::runtime::{run_until_told, told_by_signals};
use crate::text::seconds;

/// Works until it is told to end.
pub fn run(args: &WorkerArgs) -> Outcome {
    run_until_told(&args.log, work(args))
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
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| Failure::cannot("keep metrics", error))?;
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
