//! A worker that tells of outputs before they are there, on command: a test shows that it would be
//! noticed. Exists with the feature `faults` alone.

use tonemill_job::message::{Finished, What};
use tonemill_job::queue::{LeaseToken, Settlement};
use tonemill_job::{JobMessage, ObjectKey};

use crate::job::JobRun;

impl JobRun {
    /// Settles the job before it has begun, if that is wanted.
    pub(crate) async fn acknowledge_first(
        &self,
        lease: &LeaseToken,
        message: &JobMessage,
        number: u32,
        output: &ObjectKey,
    ) {
        if std::env::var("TONEMILL_SABOTAGE").is_ok_and(|what| what == "acknowledge_first") {
            let finished = Finished {
                output: output.clone(),
                bytes: 0,
                duration_seconds: 0.0,
                audio_blake3: String::new(),
                truncated: false,
                warnings: Vec::new(),
                report: serde_json::Value::Null,
            };
            let event = self.event(message, number, What::Finished(Box::new(finished)));
            let end = Settlement::End { event, reply: message.reply.clone() };
            let _ = self.queue.settle(lease, &end).await;
        }
    }
}
