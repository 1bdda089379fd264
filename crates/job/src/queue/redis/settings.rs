//! How the server is set up, as far as the queue depends on it.

use redis::cmd;

use super::link::Request;
use super::{RedisQueue, Result};
use crate::queue::Memory;

/// What a Redis server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct RedisSettings {
    /// Such as `7.0.15`.
    pub version: String,
    /// Whether it follows another server, which takes the writes.
    pub is_replica: bool,
    /// Whether changes are written to a file as they are made (`appendonly`).
    pub appends: bool,
    /// Whether the last of those writes was one.
    pub appends_well: bool,
    /// When what is written there is on the disk (`appendfsync`): `always`, `everysec` or `no`;
    /// `None` if it does not let us see, as servers that somebody else looks after do not.
    pub syncs: Option<String>,
    /// Whether the last snapshot was one, or there was none yet.
    pub saves_well: bool,
    /// What goes when memory runs out (`maxmemory-policy`); `noeviction` is nothing.
    pub eviction: String,
    /// What it has in memory.
    pub memory: Memory,
}

impl RedisQueue {
    /// Asks the server; `None` of a cluster, whose servers may differ.
    pub async fn settings(&self) -> Result<Option<RedisSettings>> {
        let Some(info) = self.info().await? else { return Ok(None) };
        let mut ask = cmd("CONFIG");
        ask.arg("GET").arg("appendfsync");
        let asked = self.commands.send_once("tell a setting", Request::Command(&ask)).await;
        // A name and a value; not every server has the command, nor lets everybody use it.
        let answer: Vec<String> = asked.unwrap_or_default();
        Ok(Some(read(&info, answer.into_iter().nth(1))))
    }

    /// What the server tells everybody; `None` of a cluster.
    pub(super) async fn info(&self) -> Result<Option<String>> {
        if self.commands.is_to_cluster() {
            return Ok(None);
        }
        let request = cmd("INFO");
        self.commands.send_once("tell its settings", Request::Command(&request)).await.map(Some)
    }
}

fn read(info: &str, syncs: Option<String>) -> RedisSettings {
    RedisSettings {
        version: text(info, "redis_version").to_owned(),
        is_replica: text(info, "role") == "slave",
        appends: text(info, "aof_enabled") == "1",
        appends_well: text(info, "aof_last_write_status") != "err",
        syncs,
        saves_well: text(info, "rdb_last_bgsave_status") != "err",
        eviction: text(info, "maxmemory_policy").to_owned(),
        memory: memory(info),
    }
}

/// What it has in memory.
pub(super) fn memory(info: &str) -> Memory {
    let number = |name: &str| text(info, name).parse().unwrap_or_default();
    Memory { used_bytes: number("used_memory"), limit_bytes: number("maxmemory") }
}

/// The value of a line.
fn text<'a>(info: &'a str, name: &str) -> &'a str {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_the_servers_words() {
        let info = "# Server\r\nredis_version:7.0.15\r\n\r\nused_memory:1024\r\nmaxmemory:0\r\n\
                    maxmemory_policy:noeviction\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n\
                    aof_last_write_status:ok\r\n# Replication\r\nrole:master\r\n";
        let due = RedisSettings {
            version: "7.0.15".to_owned(),
            is_replica: false,
            appends: true,
            appends_well: true,
            syncs: Some("everysec".to_owned()),
            saves_well: true,
            eviction: "noeviction".to_owned(),
            memory: Memory { used_bytes: 1024, limit_bytes: 0 },
        };
        assert_eq!(read(info, Some("everysec".to_owned())), due);
        let worse = info.replace("status:ok", "status:err").replace(":master", ":slave");
        let due = RedisSettings {
            is_replica: true,
            appends_well: false,
            saves_well: false,
            syncs: None,
            ..due
        };
        assert_eq!(read(&worse, None), due);
    }
}
