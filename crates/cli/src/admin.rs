//! `tonemill admin`: looks after a service, on its ledger.

mod jobs;
mod users;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tonemill_job::chain;
use tonemill_job::objects::{FolderStore, ObjectStore};
use tonemill_job::queue::Queue;
use tonemill_ledger::reconciler::Missing;
use tonemill_ledger::sweep::{Retention, Sweeper, Swept};
use tonemill_ledger::{Ledger, LedgerConfig};

use crate::args_admin::{AdminCommand, WhereArgs};
use crate::exit::Outcome;
use crate::json::print_line;

/// How a command that could not go on is to end, and why.
type Failed = (Outcome, String);

/// Does what was asked.
pub fn run(command: &AdminCommand) -> Outcome {
    let done = Runtime::new()
        .map_err(|error| (Outcome::Fault, format!("no threads can be started: {error}")))
        .and_then(|runtime| {
            runtime.block_on(async {
                match command {
                    AdminCommand::Users(command) => users::run(command).await,
                    AdminCommand::Jobs(command) => jobs::run(command).await,
                    AdminCommand::Quarantine(command) => jobs::run_quarantine(command).await,
                    AdminCommand::Reconcile(args) => reconcile(&args.at).await,
                }
            })
        });
    done.unwrap_or_else(|(outcome, why)| {
        eprintln!("tonemill: {why}");
        outcome
    })
}

fn fault(error: &dyn std::error::Error) -> Failed {
    (Outcome::Fault, chain(error))
}

fn usage(why: impl Into<String>) -> Failed {
    (Outcome::Usage, why.into())
}

/// Prints; a line that nobody gets is a fault.
fn tell(line: &str) -> Result<(), Failed> {
    if print_line(line) {
        Ok(())
    } else {
        Err((Outcome::Fault, "standard output is closed".to_owned()))
    }
}

/// Prints a value as a line of JSON.
fn tell_json(value: &serde_json::Value) -> Result<(), Failed> {
    tell(&value.to_string())
}

impl WhereArgs {
    /// The ledger. One in a file must be there: an empty one would answer everything wrongly.
    async fn ledger(&self) -> Result<Arc<Ledger>, Failed> {
        let url = match &self.database_url {
            Some(url) => url.clone(),
            None => {
                let file = self.data.join("ledger.db");
                if !file.is_file() {
                    let shown = file.display();
                    let why = format!("there is no {shown}: say --data or --database-url");
                    return Err(usage(why));
                }
                format!("sqlite://{}", file.display())
            }
        };
        let ledger = Ledger::open(LedgerConfig { connections: 2, ..LedgerConfig::new(url) });
        Ok(Arc::new(ledger.await.map_err(|error| fault(&error))?))
    }

    /// The queue, unless it is in the memory of another process.
    fn queue(&self) -> Result<Option<Arc<dyn Queue>>, Failed> {
        self.service.queue(None).map_err(usage)
    }

    /// The store: where it was said, or in the data folder.
    async fn store(&self) -> Result<Arc<dyn ObjectStore>, Failed> {
        let store = self.service.store().await.map_err(usage)?;
        Ok(store.unwrap_or_else(|| Arc::new(FolderStore::new(&self.data))))
    }
}

/// Sweeps, all of it now. The service sees an hour later whether what nobody names was named meanwhile;
/// who does not wait for that takes only what has been there for a day.
async fn sweep(ledger: &Ledger, store: &dyn ObjectStore) -> Swept {
    let retention = Retention {
        // Nothing expires here that the service would keep: how long that is, is its setting.
        jobs: Duration::MAX,
        ..Retention::default()
    };
    Sweeper::new(retention).sweep(ledger, store).await
}

/// Two looks at the queue, and a sweep.
async fn reconcile(at: &WhereArgs) -> Result<Outcome, Failed> {
    let ledger = at.ledger().await?;
    let requeued = match at.queue()? {
        Some(queue) => {
            let mut missing = Missing::default();
            // What one look misses may be on its way; what two miss is lost.
            missing.look(&ledger, &*queue).await;
            Some(missing.look(&ledger, &*queue).await)
        }
        None => None,
    };
    let store = at.store().await?;
    let swept = sweep(&ledger, &*store).await;
    if at.json {
        tell_json(&serde_json::json!({
            "requeued": requeued,
            "purged": swept.purged,
            "uploads": swept.uploads,
            "orphans": swept.orphans,
            "unfinished": swept.unfinished,
        }))?;
        return Ok(Outcome::Done);
    }
    match requeued {
        Some(count) => tell(&format!("{count} jobs that the queue had lost are queued again"))?,
        None => tell("the queue is in the memory of the service, which looks after it itself")?,
    }
    tell(&format!("{} deleted jobs and {} left uploads went", swept.purged, swept.uploads))?;
    let (orphans, unfinished) = (swept.orphans, swept.unfinished);
    tell(&format!("{orphans} objects that nobody names and {unfinished} unfinished ones went"))?;
    Ok(Outcome::Done)
}
