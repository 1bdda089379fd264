//! The mail server, as `/healthz` asks it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tonemill_notifier::{Courier, Health};
use tonemill_telemetry::Part;
use tonemill_telemetry::health::Probe;

use crate::args::notifier::NotifyArgs;

/// Asks what a courier sends mails by.
pub(super) struct MailProbe(Health);

impl MailProbe {
    /// `None` where mails become files: that is nobody who could be away.
    pub(super) fn of(notify: &NotifyArgs, courier: &Courier) -> Option<Arc<dyn Probe>> {
        notify.smtp_url.is_some().then(|| Arc::new(Self(courier.health())) as Arc<dyn Probe>)
    }
}

impl fmt::Debug for MailProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailProbe")
    }
}

#[async_trait]
impl Probe for MailProbe {
    async fn ask(&self) -> Part {
        self.0.mail().await
    }
}
