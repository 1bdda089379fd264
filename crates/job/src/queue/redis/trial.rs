//! Whether the server does what the queue asks of servers.

use uuid::Uuid;

use super::link::Request;
use super::{RedisQueue, Result};

impl RedisQueue {
    /// Tries the server out, or the part of a cluster that has the queue's keys: runs a script that
    /// writes, reads and removes keys of its own, with every command that the queue needs. A server
    /// that only answers may be a replica, full, unable to save, or forbid its user scripts; then
    /// all that is queued fails.
    ///
    /// The queue's own keys are as before.
    pub async fn try_out(&self) -> Result<()> {
        let mut script = self.scripts.trial.prepare_invoke();
        let keys = self.keys.trial(Uuid::new_v4());
        script.key(&keys);
        // Words in the place of the number are an error.
        let done = self.commands.send_once::<u8>("be tried out", Request::Script(&script));
        done.await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The commands that come after one of `marks` in a text.
    fn commands(text: &str, marks: &[&str]) -> BTreeSet<String> {
        let after = |mark: &&str| text.split(*mark).skip(1).collect::<Vec<_>>();
        let command = |rest: &str| rest.chars().take_while(char::is_ascii_uppercase).collect();
        marks.iter().flat_map(after).map(command).collect()
    }

    #[test]
    fn whatever_the_queue_needs_is_tried() {
        let in_script = |text: &str| commands(text, &["redis.call('", "redis.pcall('"]);
        let tried = in_script(include_str!("trial.lua"));
        let scripts = [
            include_str!("confirm.lua"),
            include_str!("depth.lua"),
            include_str!("enqueue.lua"),
            include_str!("jobs.lua"),
            include_str!("receive.lua"),
            include_str!("settle.lua"),
            include_str!("sweep.lua"),
        ];
        let files = [
            include_str!("../redis.rs"),
            include_str!("events.rs"),
            include_str!("jobs.rs"),
            include_str!("receive.rs"),
        ];
        let alone = files.iter().flat_map(|text| commands(text, &["cmd(\""]));
        let needed: BTreeSet<String> =
            scripts.iter().flat_map(|text| in_script(text)).chain(alone).collect();
        assert!(needed.contains("XADD") && needed.contains("XREADGROUP"), "{needed:?}");
        let all: BTreeSet<String> = tried.into_iter().chain(["PING".to_owned()]).collect();
        let not_tried: Vec<_> = needed.difference(&all).collect();
        assert!(not_tried.is_empty(), "{not_tried:?}");
    }
}
