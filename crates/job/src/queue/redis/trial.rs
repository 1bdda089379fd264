//! Whether the server does what the queue asks of servers.

use uuid::Uuid;

use super::link::Request;
use super::{RedisQueue, Result};

impl RedisQueue {
    /// Tries the server out, or the part of a cluster that has the queue's keys: runs a script that
    /// writes, reads and removes keys of its own, with every command that the queue needs. A server
    /// that only answers may be a replica, full, unable to save, or forbid its user scripts; then all
    /// that is queued fails.
    ///
    /// The queue's own keys are as before.
    pub async fn try_out(&self) -> Result<()> {
        let mut script = self.scripts.trial.prepare_invoke();
        let keys = self.keys.trial(Uuid::new_v4());
        script.key(&keys);
        self.commands.send("be tried out", Request::Script(&script)).await
    }
}
