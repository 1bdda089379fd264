//! How the server is set up, as far as the queue depends on it.

use redis::cmd;

use super::link::Request;
use super::{RedisQueue, Result};
use crate::queue::Memory;

/// What a Redis server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Such as `7.0.15`.
    pub version: String,
    /// Whether changes are written to a file as they are made (`appendonly`).
    pub appends: bool,
    /// Whether the last of those writes was one.
    pub appends_well: bool,
    /// What goes when memory runs out (`maxmemory-policy`); `noeviction` is nothing.
    pub eviction: String,
    /// What it has in memory.
    pub memory: Memory,
}

impl RedisQueue {
    /// Asks the server; `None` of a cluster, whose servers may differ.
    pub async fn settings(&self) -> Result<Option<RedisSettings>> {
        if self.commands.is_to_cluster() {
            return Ok(None);
        }
        let request = cmd("INFO");
        let info: String =
            self.commands.send_once("tell its settings", Request::Command(&request)).await?;
        Ok(Some(read(&info)))
    }
}

fn read(info: &str) -> RedisSettings {
    let text = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    let number = |name: &str| text(name).parse().unwrap_or_default();
    RedisSettings {
        version: text("redis_version"),
        appends: text("aof_enabled") == "1",
        appends_well: text("aof_last_write_status") != "err",
        eviction: text("maxmemory_policy"),
        memory: Memory { used_bytes: number("used_memory"), limit_bytes: number("maxmemory") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_the_servers_words() {
        let info = "# Server\r\nredis_version:7.0.15\r\n\r\nused_memory:1024\r\nmaxmemory:0\r\n\
                    maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\n";
        let due = RedisSettings {
            version: "7.0.15".to_owned(),
            appends: true,
            appends_well: true,
            eviction: "noeviction".to_owned(),
            memory: Memory { used_bytes: 1024, limit_bytes: 0 },
        };
        assert_eq!(read(info), due);
    }
}
