//! What a notifier needs, and whether it answers.

use std::sync::Arc;

use tonemill_ledger::Ledger;
use tonemill_telemetry::Part;

use crate::Channels;

/// Asks the ledger and the mail server.
#[derive(Clone)]
pub struct Health {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) channels: Arc<Channels>,
}

impl Health {
    /// Both, as they are now.
    pub async fn parts(&self) -> Vec<Part> {
        let ledger = Part::ask("ledger", self.ledger.check());
        let (ledger, mail) = tokio::join!(ledger, self.mail());
        vec![ledger, mail]
    }

    /// The mail server alone.
    pub async fn mail(&self) -> Part {
        self.channels.mail.ask().await
    }
}
