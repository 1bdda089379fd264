//! The service without workers: `tonemill api`. `codec/serve.rs` puts them beside it.
//!
//! | file | what |
//! |---|---|
//! | `mail_probe` | how `/healthz` asks the mail server |
//! | `measures` | what is looked up now and then, for the metrics |
//! | `parts` | ledger, queue and store, where they were said to be |
//! | `running` | the service apart from its workers: how it starts and how it ends |
//! | `settings` | what was said on the command line, as the API and the ledger take it |

mod mail_probe;
mod measures;
pub mod parts;
pub mod running;
mod settings;

use tonemill_telemetry::Ended;
use tonemill_telemetry::catalogue::Component;

use crate::args::serve::ApiCommandArgs;
use crate::disks::Disks;
use crate::exit::Outcome;
use crate::runtime::{run_until_told, start_metrics, told_by_signals};

use parts::Parts;
use running::{Service, Watching};

/// Runs the API, without workers, until it is told to end.
pub fn api(args: &ApiCommandArgs) -> Outcome {
    run_until_told("tonemill-api", &args.api.log, async {
        let metrics = start_metrics(&[Component::Api, Component::Books, Component::Backends])?;
        let parts = Parts::elsewhere(&args.api).await?;
        let shutdown = told_by_signals()?;
        let disks = Disks::of(None, &args.api.backends);
        let watching = Watching { metrics, disks, also: Box::new(|| ()) };
        let max_input = args.limits.max_input;
        let starting = Service::start(&args.api, max_input, parts, watching, None, &shutdown);
        let service = starting.await?;
        shutdown.draining().await;
        service.end().await?;
        Ok(Ended::Done)
    })
}
