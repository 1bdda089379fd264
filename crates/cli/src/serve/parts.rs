//! What the service is put together from: a ledger, a queue and a store.

use std::sync::Arc;

use tonemill_job::chain;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::Queue;
use tonemill_ledger::{BondError, Ledger};

use crate::args::serve::ApiArgs;
use crate::backends::Backends;
use crate::failure::Failure;

/// What the service is put together from.
pub struct Parts {
    pub ledger: Arc<Ledger>,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn ObjectStore>,
}

impl Parts {
    /// All of what was said.
    pub async fn elsewhere(args: &ApiArgs) -> Result<Self, Failure> {
        let url = args.ledger.database.database_url.clone();
        let url = url.ok_or_else(|| Failure::usage("say where the ledger is", "--database-url"))?;
        let Backends { queue, store } = args.backends.open(None).await?;
        let ledger = Arc::new(Ledger::open(args.ledger.config(url)).await?);
        bind(&ledger, &*store).await?;
        Ok(Self { ledger, queue, store })
    }
}

/// A store that does not answer now is asked again before anything in it is removed.
pub async fn bind(ledger: &Ledger, store: &dyn ObjectStore) -> Result<(), Failure> {
    match ledger.bind(store).await {
        Err(BondError::Store(error)) => {
            tracing::warn!(error = chain(&error), "the store does not say whose it is");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}
