//! A real PostgreSQL server for a test: on a port of its own, with its data in a folder of its own,
//! gone when it is dropped. It can be killed, paused and started again on the same port and data.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::process::{Process, answer, end_with_this_process_by, find, kill, pause, secret};
use crate::server::{self, Server};

/// The user of the tests, who may do everything.
const USER: &str = "tonemill";
/// Small, because several run at once, and without what only the machine's end makes needed: what
/// is written when a transaction commits is in the kernel's hands, and outlives the process. Full
/// page writes stay: a write that SIGKILL interrupts may leave half a page.
const OPTIONS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=32MB",
    "fsync=off",
    // In the data folder, which goes when the server does, however it ends.
    "dynamic_shared_memory_type=mmap",
    "logging_collector=off",
];

/// A running PostgreSQL server. A transaction that it committed outlives [`kill`](Self::kill), but
/// not the machine's end.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    place: Place,
    password: String,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server. Its programs are beside `$TONEMILL_INITDB`, or where Debian puts them; they
    /// refuse to run as root and do so as `postgres` or `nobody` instead.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place { folder, programs: programs() };
        let password = secret();
        place.make_data(&password);
        let server = Server::start("PostgreSQL", |port| place.start(port));
        Self { server, place, password, databases: AtomicU32::new(0) }
    }

    /// Starts a server for a static, which is never dropped.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start_with_parent() -> Self {
        let server = Self::start();
        // At once, but with its children, and without leaving shared memory behind.
        end_with_this_process_by(Signal::QUIT, server.pid(), server.place.folder.path());
        server
    }

    /// Where its first database is, with the user and the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port())
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
        let mut command = Command::new(self.place.programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set=ON_ERROR_STOP=1", "--dbname", url]);
        command
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its first process, the parent of the others.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.running().pid()
    }

    /// Kills all its processes with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        // Each child has a process group of its own, and a busy one would outlive its parent and
        // forbid the next start. A parent that is paused makes no more of them, and as it does not
        // ask how they ended, their numbers stay theirs.
        let process = self.server.take();
        process.pause();
        children(&process).into_iter().for_each(kill);
    }

    /// Starts it again where it was, with the data that it had written.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.server.restart(|port| self.place.start(port));
    }

    /// Stops all its processes from running without ending them.
    pub fn pause(&self) {
        let process = self.server.running();
        // First, so that it makes no more children.
        process.pause();
        children(process).into_iter().for_each(pause);
    }

    /// Undoes [`pause`](Self::pause).
    pub fn resume(&self) {
        let process = self.server.running();
        for child in children(process) {
            let _ = kill_process(child, Signal::CONT);
        }
        process.signal(Signal::CONT);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_running() {
            self.kill();
        }
        self.place.remove_shared_memory();
    }
}

/// A folder for the data, and the programs that work on it.
#[derive(Debug)]
struct Place {
    folder: TempDir,
    programs: PathBuf,
}

impl Place {
    fn make_data(&self, password: &str) {
        let folder = self.folder.path();
        if let Some((user, group)) = other_than_root() {
            chown(folder, Some(user), Some(group)).expect("our folder");
        }
        let file = folder.join("password");
        fs::write(&file, password).expect("our folder");
        let mut command = self.program("initdb");
        command.args(["--username", USER, "--auth=scram-sha-256", "--pwfile"]).arg(file);
        command.args(["--no-locale", "--encoding=UTF8", "--no-sync", "--no-instructions"]);
        // 1 MB instead of 16, all of which it writes.
        command.arg("--wal-segsize=1");
        answer(&mut command, "");
    }

    fn start(&self, port: u16) -> Option<Process> {
        let mut command = self.program("postgres");
        command.arg("-c").arg(format!("port={port}"));
        for option in OPTIONS {
            command.args(["-c", option]);
        }
        server::start(&mut command, self.folder.path(), "ready to accept connections")
    }

    /// A program that works on the data.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        // It looks at the folder that it starts in, and may not see ours.
        command.current_dir(self.folder.path()).arg("-D").arg(self.data());
        // Else initdb compares the machine's time zone with each that it knows.
        command.env("TZ", "UTC");
        if let Some((user, group)) = other_than_root() {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Removes the shared memory of a killed server, which the next start would have done. It is
    /// not part of any folder, and a machine has room for some thousands.
    fn remove_shared_memory(&self) {
        let facts = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let key_and_id = facts.lines().nth(6).unwrap_or_default();
        if let Some(id) = key_and_id.split_whitespace().nth(1) {
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

/// None where there is no `/proc`: there, children end only when they notice that they are alone.
fn children(process: &Process) -> Vec<Pid> {
    let pid = process.pid();
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// Where the server's programs are.
fn programs() -> PathBuf {
    let variable = "TONEMILL_INITDB";
    let of_debian = if env::var_os(variable).is_none() { newest_of_debian() } else { None };
    let initdb = of_debian.unwrap_or_else(|| find(variable, "initdb"));
    // The others are beside the file, not beside a link to it.
    let initdb = initdb.canonicalize().expect("initdb is a file");
    initdb.parent().expect("a file is in a folder").to_owned()
}

/// Debian keeps each version's programs apart, outside of PATH.
fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin/initdb"))
}

/// The user and the group to be when we are root.
fn other_than_root() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user who is not root"))
}
