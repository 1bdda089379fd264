//! Names of the keys, and the scripts.

use redis::Script;
use uuid::Uuid;

use super::MAILBOX_MS;
use crate::id::JobId;
use crate::message::{Lane, Reply};

/// Names of the keys in one namespace.
pub(super) struct Keys {
    namespace: String,
    /// In the order of [`Lane::ALL`].
    pub(super) lanes: [String; 3],
    pub(super) delayed: String,
    pub(super) events: String,
    pub(super) unreadable: String,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            lanes: Lane::ALL.map(|lane| format!("{namespace}:jobs:{}", lane.name())),
            delayed: format!("{namespace}:delayed"),
            events: format!("{namespace}:events"),
            unreadable: format!("{namespace}:unreadable"),
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> &String {
        let [high, normal, low] = &self.lanes;
        match lane {
            Lane::High => high,
            Lane::Normal => normal,
            Lane::Low => low,
        }
    }

    /// Where events go, and how long they are kept there, in ms; 0 for until they are confirmed.
    pub(super) fn reply(&self, reply: &Reply) -> (String, u64) {
        match reply {
            Reply::Service => (self.events.clone(), 0),
            Reply::Mailbox(mailbox) => (self.mailbox(*mailbox), MAILBOX_MS),
        }
    }

    pub(super) fn mailbox(&self, mailbox: Uuid) -> String {
        format!("{}:mailbox:{mailbox}", self.namespace)
    }

    pub(super) fn cancel(&self, job: JobId) -> String {
        format!("{}:cancel:{job}", self.namespace)
    }

    pub(super) fn progress(&self, job: JobId) -> String {
        format!("{}:progress:{job}", self.namespace)
    }

    /// Keys to try the server out with: a stream, a sorted set and a value that nobody else has.
    pub(super) fn trial(&self, name: Uuid) -> [String; 3] {
        ["stream", "set", "value"].map(|kind| format!("{}:trial:{name}:{kind}", self.namespace))
    }
}

/// What runs inside Redis.
pub(super) struct Scripts {
    pub(super) enqueue: Script,
    pub(super) receive: Script,
    pub(super) settle: Script,
    pub(super) sweep: Script,
    pub(super) depth: Script,
    pub(super) jobs: Script,
    pub(super) confirm: Script,
    pub(super) trial: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            enqueue: Script::new(include_str!("enqueue.lua")),
            receive: Script::new(include_str!("receive.lua")),
            settle: Script::new(&settle()),
            sweep: Script::new(include_str!("sweep.lua")),
            depth: Script::new(include_str!("depth.lua")),
            jobs: Script::new(include_str!("jobs.lua")),
            confirm: Script::new(include_str!("confirm.lua")),
            trial: Script::new(include_str!("trial.lua")),
        }
    }
}

fn settle() -> String {
    let script = include_str!("settle.lua").to_owned();
    #[cfg(feature = "faults")]
    if std::env::var("TONEMILL_SABOTAGE").is_ok_and(|what| what == "unfenced") {
        return script.replace("then return 0 end", "then end");
    }
    script
}
