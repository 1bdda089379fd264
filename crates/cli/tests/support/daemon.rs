//! A process of the program that goes on until it is told to end (`serve`, `api`, `worker`): where
//! it listens, what it costs, how it ends. What it logs goes to a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::patience::{PATIENCE, pause};

/// Killed when it is dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        command.stdout(Stdio::piped()).stderr(file);
        Self { child: command.spawn().expect("the program starts"), log }
    }

    /// Where it says that it listens: the scheme, and the address.
    pub fn listening(&mut self) -> (String, SocketAddr) {
        let stdout = self.child.stdout.take().expect("it is piped");
        let (sender, receiver) = mpsc::channel();
        // Reads on, so that nobody writes into a closed pipe.
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        let line = receiver.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("it does not listen:\n{}", self.log()));
        let url = line.strip_prefix("tonemill: ").and_then(|url| url.split_once("://"));
        let (scheme, address) = url.expect("where it listens");
        (scheme.to_owned(), address.parse().expect("an address"))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// Its end, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub async fn end(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(start.elapsed() < patience, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, and its end, which must be a success; how long that took.
    pub async fn drain(&mut self) -> Duration {
        self.drain_within(PATIENCE).await
    }

    /// The same; SIGTERM comes when it has begun to take jobs.
    pub async fn drain_worker(&mut self) -> Duration {
        let start = Instant::now();
        while !self.log().contains("worker started") {
            assert_eq!(self.ended(), None, "{}", self.log());
            pause("a worker that takes jobs", start).await;
        }
        self.drain_within(Duration::from_secs(30)).await
    }

    async fn drain_within(&mut self, patience: Duration) -> Duration {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        let status = self.end(patience).await;
        assert!(status.success(), "{status}:\n{}", self.log());
        asked.elapsed()
    }

    /// Processor time that it has used, all threads together.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // After the name, which may hold anything; times are in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("Linux").1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Memory that it has now, and the most that it has had, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let status = self.proc("status");
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse::<u64>().ok()).expect("Linux")
        };
        (kibibytes("VmRSS:") << 10, kibibytes("VmHWM:") << 10)
    }

    /// Its open descriptors and its threads.
    pub fn handles(&self) -> (usize, usize) {
        let count = |what| std::fs::read_dir(format!("/proc/{}/{what}", self.id()));
        (count("fd").expect("Linux").count(), count("task").expect("Linux").count())
    }

    /// Waits until it uses less than a tenth of a core; how long that took.
    pub async fn calm(&self) -> Duration {
        const WINDOW: Duration = Duration::from_millis(200);
        let start = Instant::now();
        loop {
            let before = self.cpu();
            tokio::time::sleep(WINDOW).await;
            if self.cpu().saturating_sub(before) <= WINDOW / 10 {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "it works on and on");
        }
    }

    fn proc(&self, name: &str) -> String {
        read(Path::new(&format!("/proc/{}/{name}", self.id())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is in a file, if there is one.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
