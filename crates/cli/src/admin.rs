//! `tonemill admin`: looks after a service, on its ledger.

mod backup;
mod deliveries;
mod doctor;
mod import;
mod jobs;
mod migrate;
mod recover;
mod users;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use tonemill_job::objects::{FolderStore, ObjectStore};
use tonemill_job::queue::Queue;
use tonemill_ledger::reconciler::Missing;
use tonemill_ledger::sweep::{Retention, Sweeper, Swept};
use tonemill_ledger::{Ledger, LedgerConfig};

use crate::args::admin::{AdminCommand, WhereArgs};
use crate::data_folder::sqlite_url;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_lines};
use crate::runtime;

/// Does what was asked.
pub fn run(command: &AdminCommand) -> Outcome {
    runtime::run(async {
        match command {
            AdminCommand::Users(command) => users::run(command).await,
            AdminCommand::Jobs(command) => jobs::run(command).await,
            AdminCommand::Quarantine(command) => jobs::run_quarantine(command).await,
            AdminCommand::Deliveries(command) => deliveries::run(command).await,
            AdminCommand::Webhooks(command) => webhooks::run(command).await,
            AdminCommand::Reconcile(args) => reconcile(&args.at).await,
            AdminCommand::Import(args) => import::run(args).await,
            AdminCommand::Doctor(args) => doctor::run(args).await,
            AdminCommand::Migrate(args) => migrate::run(args).await,
            AdminCommand::Backup(args) => backup::back_up(args).await,
            AdminCommand::Restore(args) => backup::restore(args).await,
            AdminCommand::Recover(args) => recover::run(args).await,
            AdminCommand::Verify(args) => backup::verify(args).await,
        }
    })
}

impl WhereArgs {
    /// The ledger.
    async fn ledger(&self) -> Result<Arc<Ledger>, Failure> {
        Ok(Arc::new(Ledger::open(self.ledger_config()?).await?))
    }

    /// Where the ledger is. One in a file must be there: an empty one would answer everything
    /// wrongly.
    fn ledger_config(&self) -> Result<LedgerConfig, Failure> {
        let url = match &self.database_url {
            Some(url) => url.clone(),
            None => {
                let file = self.data.join("ledger.db");
                if !file.is_file() {
                    let shown = file.display();
                    let advice = "say --data or --database-url";
                    return Err(Failure::usage(format!("there is no {shown}"), advice));
                }
                sqlite_url(&file)?
            }
        };
        Ok(LedgerConfig { connections: 2, ..LedgerConfig::new(url) })
    }

    /// The queue, unless it is in the memory of another process.
    fn queue(&self) -> Result<Option<Arc<dyn Queue>>, Failure> {
        self.backends.queue(None)
    }

    /// The store: where it was said, or in the data folder.
    async fn store(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        let store = self.backends.store().await?;
        Ok(store.unwrap_or_else(|| Arc::new(FolderStore::new(&self.data))))
    }
}

/// Sweeps, all of it now. The service sees an hour later whether what nobody names was named
/// meanwhile; who does not wait for that takes only what has been there for a day.
async fn sweep(ledger: &Ledger, store: &dyn ObjectStore) -> Result<Swept, Failure> {
    let retention = Retention {
        // Nothing expires here that the service would keep: how long that is, is its setting.
        jobs: Duration::MAX,
        ..Retention::default()
    };
    Ok(Sweeper::new(retention).sweep(ledger, store).await?)
}

/// Two looks at the queue, and a sweep.
async fn reconcile(at: &WhereArgs) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let requeued = match at.queue()? {
        Some(queue) => {
            // A look that fails finds nothing missing.
            queue.check().await?;
            let mut missing = Missing::default();
            // What one look misses may be on its way; what two miss is lost.
            missing.look(&ledger, &*queue).await;
            Some(missing.look(&ledger, &*queue).await)
        }
        None => None,
    };
    let store = at.store().await?;
    let swept = sweep(&ledger, &*store).await?;
    if at.json {
        return Ok(print_json(&serde_json::json!({
            "requeued": requeued,
            "purged": swept.purged,
            "uploads": swept.uploads,
            "orphans": swept.orphans,
            "unfinished": swept.unfinished,
        })));
    }
    let (orphans, unfinished) = (swept.orphans, swept.unfinished);
    Ok(print_lines([
        match requeued {
            Some(count) => format!("{count} jobs that the queue had lost are queued again"),
            None => {
                "the queue is in the memory of the service, which looks after it itself".to_owned()
            }
        },
        format!("{} deleted jobs and {} left uploads went", swept.purged, swept.uploads),
        format!("{orphans} objects that nobody names and {unfinished} unfinished ones went"),
    ]))
}
