//! `tonemill serve`: the whole service in one process, and `tonemill api`: without the workers.
//!
//! | file | what |
//! |---|---|
//! | `mail_probe` | how `/healthz` asks the mail server |
//! | `measures` | what is looked up now and then, for the metrics |
//! | `parts` | ledger, queue and store: where they were said to be, or in the data folder |
//! | `running` | the service apart from its workers: how it starts and how it ends |
//! | `settings` | what was said on the command line, as the API and the ledger take it |

mod mail_probe;
mod measures;
pub mod parts;
mod running;
mod settings;

use std::sync::Arc;

use tonemill_telemetry::catalogue::Component;
use tonemill_worker::{Ended, Worker};

use crate::args::serve::{ApiCommandArgs, ServeArgs};
use crate::disks::Disks;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::print_line;
use crate::runtime::{run_until_told, start_metrics, told_by_signals};
use crate::text::{seconds, shown};

use parts::{DataFolder, Parts};
use running::{Service, Watching};

/// Runs the whole service until it is told to end.
pub fn serve(args: &ServeArgs) -> Outcome {
    run_until_told("tonemill", &args.api.log, async {
        let metrics = start_metrics(&[
            Component::Api,
            Component::Books,
            Component::Backends,
            Component::Worker,
            Component::Notifier,
        ])?;
        args.notify.check_serving()?;
        let data = DataFolder::lock(&args.data)?;
        let parts = Parts::embedded(&args.api, &data, seconds(args.lease)).await?;
        let config = args.size.config(args.api.grace);
        let shutdown = told_by_signals()?;
        let queue = parts.worker_queue.clone().unwrap_or_else(|| Arc::clone(&parts.queue));
        let worker = Worker::new(queue, Arc::clone(&parts.store), config, shutdown.clone())
            .map_err(|error| Failure::cannot("start threads", error))?;
        let max_input = args.size.limits.max_input;
        let mails = args.notify.mail_folder.clone().unwrap_or_else(|| args.data.join("mail"));
        let notify = Some((&args.notify, mails));
        let disks = Disks::of(Some(&args.data), &args.api.backends);
        let watching = Watching { metrics, disks, worker: Some(worker.state()) };
        let starting = Service::start(&args.api, max_input, parts, watching, notify, &shutdown);
        let service = starting.await?;
        let folder = std::path::absolute(&args.data).unwrap_or_else(|_| args.data.clone());
        print_line(&format!("tonemill: data in {}; Ctrl-C ends it", shown(&folder)));
        let ended = worker.run().await;
        // Also where it was not told to end: a hang ends the whole process.
        shutdown.drain();
        service.end().await?;
        drop(data);
        Ok(ended)
    })
}

/// Runs the API, without workers, until it is told to end.
pub fn api(args: &ApiCommandArgs) -> Outcome {
    run_until_told("tonemill-api", &args.api.log, async {
        let metrics = start_metrics(&[Component::Api, Component::Books, Component::Backends])?;
        let parts = Parts::elsewhere(&args.api).await?;
        let shutdown = told_by_signals()?;
        let disks = Disks::of(None, &args.api.backends);
        let watching = Watching { metrics, disks, worker: None };
        let max_input = args.limits.max_input;
        let starting = Service::start(&args.api, max_input, parts, watching, None, &shutdown);
        let service = starting.await?;
        shutdown.draining().await;
        service.end().await?;
        Ok(Ended::Done)
    })
}
