//! A real MariaDB server for a test: on a port of its own, with its data in a folder of its own,
//! gone when it is dropped. It can be killed, paused and started again on the same port and data.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::process::{Process, answer, end_with_this_process, find, secret};
use crate::server::{self, Server};

/// The user of the tests, who may do everything, and the name of the first database.
const NAME: &str = "tonemill";

/// A running MariaDB server. A transaction that it committed outlives [`kill`](Self::kill), but not
/// the machine's end.
#[derive(Debug)]
pub struct MariaDb {
    // In this order: first the process, then its folder.
    server: Server,
    folder: TempDir,
    password: String,
    databases: AtomicU32,
}

impl MariaDb {
    /// Starts a server. Its programs are `$TONEMILL_MARIADBD`, `$TONEMILL_MARIADB_INSTALL_DB` and
    /// `$TONEMILL_MARIADB`, or where Debian puts them.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let password = secret();
        fs::write(folder.path().join("my.cnf"), config(folder.path())).expect("our folder");
        fs::write(folder.path().join("init.sql"), first_statements(&password)).expect("our folder");
        let mut install = Command::new(find("TONEMILL_MARIADB_INSTALL_DB", "mariadb-install-db"));
        answer(with_config(&mut install, folder.path()).arg("--skip-test-db"), "");
        let server = Server::start("MariaDB", |port| start(port, folder.path()));
        Self { server, folder, password, databases: AtomicU32::new(0) }
    }

    /// Starts a server for a static, which is never dropped.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start_with_parent() -> Self {
        let server = Self::start();
        end_with_this_process(server.pid(), server.folder.path());
        server
    }

    /// Where its first database is, with the user and the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(NAME)
    }

    fn url_of(&self, database: &str) -> String {
        format!("mysql://{NAME}:{}@127.0.0.1:{}/{database}", self.password, self.port())
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    ///
    /// If the server does not make one.
    #[must_use]
    pub fn fresh_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        answer(&mut self.client(&self.url()), &format!("CREATE DATABASE {name};"));
        self.url_of(&name)
    }

    /// Its command-line client, in the database at `url`: takes statements, gives bare rows.
    #[must_use]
    pub fn client(&self, url: &str) -> Command {
        let database = url.rsplit('/').next().unwrap_or_default();
        let mut command = Command::new(find("TONEMILL_MARIADB", "mariadb"));
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered"]);
        command.args(["--protocol=tcp", "--host=127.0.0.1", &format!("--port={}", self.port())]);
        // Else it guesses from a terminal, which it does not have.
        command.arg("--default-character-set=utf8mb4");
        command.args(["--user", NAME, database]).env("MYSQL_PWD", &self.password);
        command
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.running().pid()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        drop(self.server.take());
    }

    /// Starts it again where it was, with the data that it had written.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.server.restart(|port| start(port, self.folder.path()));
    }

    /// Stops it from running without ending it.
    pub fn pause(&self) {
        self.server.running().pause();
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.running().signal(Signal::CONT);
    }
}

fn start(port: u16, folder: &Path) -> Option<Process> {
    let mut command = Command::new(find("TONEMILL_MARIADBD", "mariadbd"));
    with_config(&mut command, folder).arg(format!("--port={port}"));
    command.arg("--init-file").arg(folder.join("init.sql"));
    server::start(&mut command, folder, "ready for connections")
}

/// The options of every program that touches the data. They must come first.
fn with_config<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.arg(format!("--defaults-file={}", folder.join("my.cnf").display()));
    // It refuses to run as root unless told so.
    if geteuid().is_root() {
        command.arg("--user=root");
    }
    command
}

/// Small, because several run at once, and without what only the machine's end makes needed: what
/// is written when a transaction commits is in the kernel's hands, and outlives the process. The
/// double write stays: a write that SIGKILL interrupts may leave half a page.
fn config(folder: &Path) -> String {
    let folder = folder.display();
    // The socket is below the data folder, by a name that is always short enough.
    format!(
        "[mariadbd]
datadir = {folder}/data
# Its own: a server that starts removes what looks like temporary tables, whosever they are.
tmpdir = {folder}
socket = socket
pid-file = pid
bind-address = 127.0.0.1
skip-name-resolve
skip-log-bin
character-set-server = utf8mb4
max_connections = 500
innodb_flush_log_at_trx_commit = 2
innodb_buffer_pool_size = 32M
innodb_log_file_size = 8M
# The kernel limits how many requests all servers of a machine may queue.
innodb_use_native_aio = 0
aria_pagecache_buffer_size = 1M
key_buffer_size = 1M
"
    )
}

/// What the server does before it takes connections, whenever it starts.
fn first_statements(password: &str) -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS {NAME};
CREATE USER IF NOT EXISTS '{NAME}'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO '{NAME}'@'127.0.0.1' WITH GRANT OPTION;
"
    )
}
