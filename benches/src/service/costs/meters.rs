//! What servers have done so far, by their own count and by the kernel's.

use std::collections::BTreeMap;
use std::process::Command;

use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;
use tonemill_testbed::redis::RedisServer;

use crate::error::BenchError;
use crate::process::cpu_time;
use crate::scaling::costs::Work;

/// CPU time of processes, in ms.
pub(super) fn cpu_ms(pids: impl IntoIterator<Item = u32>) -> f64 {
    pids.into_iter().map(|pid| cpu_time(pid).as_secs_f64() * 1e3).sum()
}

/// What Redis has done: all commands, those within scripts included, and the scripts.
pub(super) fn redis(redis: &RedisServer) -> Result<Work, BenchError> {
    let info = redis.info("stats") + &redis.info("cpu");
    let number = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        parsed(line, name)
    };
    let commands = commands(redis);
    let scripts = ["evalsha", "eval"].map(|name| commands.get(name).copied().unwrap_or(0.0));
    Ok(Work {
        // In microseconds, where the kernel has hundredths of a second.
        cpu_ms: (number("used_cpu_sys")? + number("used_cpu_user")?) * 1e3,
        calls: commands.values().sum(),
        groups: scripts.iter().sum(),
        in_bytes: number("total_net_input_bytes")?,
        out_bytes: number("total_net_output_bytes")?,
    })
}

/// How often each command was called.
pub(super) fn commands(redis: &RedisServer) -> BTreeMap<String, f64> {
    let info = redis.info("commandstats");
    let parse = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        // A subcommand comes behind a bar, which ends a cell of a table.
        Some((name.replace('|', " "), rest.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(parse).collect()
}

/// A database, empty, in a server of its own.
pub(super) enum Database {
    MariaDb(MariaDb),
    Postgres(Postgres),
}

impl Database {
    pub(super) const NAMES: [&str; 2] = ["MariaDB", "PostgreSQL"];

    pub(super) fn start(name: &str) -> Result<Self, BenchError> {
        if name == "MariaDB" {
            return Ok(Self::MariaDb(MariaDb::start()));
        }
        // It counts statements for who asks before it starts.
        let mut server = Postgres::start();
        let library = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'";
        said(server.client(&server.url()).args(["--command", library]))?;
        server.kill();
        server.restart();
        let extension = "CREATE EXTENSION pg_stat_statements";
        said(server.client(&server.url()).args(["--command", extension]))?;
        Ok(Self::Postgres(server))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::MariaDb(server) => server.url(),
            Self::Postgres(server) => server.url(),
        }
    }

    /// What it has done: statements and transactions.
    pub(super) fn work(&self) -> Result<Work, BenchError> {
        match self {
            Self::MariaDb(server) => {
                let ask = "SHOW GLOBAL STATUS WHERE Variable_name IN \
                           ('Questions', 'Com_commit', 'Bytes_received', 'Bytes_sent')";
                let said = said(server.client(&server.url()).args(["--execute", ask]))?;
                let number = |name: &str| {
                    parsed(said.lines().find_map(|line| line.strip_prefix(name)), name)
                };
                Ok(Work {
                    cpu_ms: cpu_ms([server.pid()]),
                    calls: number("Questions")?,
                    groups: number("Com_commit")?,
                    in_bytes: number("Bytes_received")?,
                    out_bytes: number("Bytes_sent")?,
                })
            }
            Self::Postgres(server) => {
                let ask = "SELECT (SELECT sum(calls) FROM pg_stat_statements) || chr(10) || \
                           (SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database)";
                let said = said(server.client(&server.url()).args(["--command", ask]))?;
                let mut lines = said.lines();
                let calls = parsed(lines.next(), "pg_stat_statements")?;
                let groups = parsed(lines.next(), "pg_stat_database")?;
                let cpu_ms = cpu_ms(family(server.pid()));
                Ok(Work { cpu_ms, calls, groups, ..Work::default() })
            }
        }
    }
}

/// What a server says, which must be a number.
fn parsed(said: Option<&str>, what: &str) -> Result<f64, BenchError> {
    let number = said.and_then(|said| said.trim().parse().ok());
    number.ok_or_else(|| BenchError::work(format!("{what}: {said:?} is no number")))
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

/// What a client of a database says, which must end well.
fn said(command: &mut Command) -> Result<String, BenchError> {
    let output = command.output().map_err(|error| BenchError::work(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BenchError::work(format!("a database's client ended ({}): {why}", output.status)))
}
