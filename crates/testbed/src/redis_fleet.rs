//! Several redis-servers that belong together: a cluster, or a master with a replica under a
//! sentinel's watch.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Process, end_with_this_process};
use crate::redis::{READY, redis_server};
use crate::server::{self, free_port, on_free_port};

/// How long servers may take to find each other.
const START: Duration = Duration::from_mins(1);

/// Three masters that share the keys.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
}

/// A master and its replica; a sentinel makes the replica the master when the master is gone.
#[derive(Debug)]
pub struct RedisSentinel {
    master: Option<Node>,
    _replica: Node,
    sentinel: Node,
}

/// A server with its folder.
#[derive(Debug)]
struct Node {
    // In this order: first the process, then its folder.
    process: Process,
    folder: TempDir,
    port: u16,
}

impl Node {
    fn start(options: &[&str]) -> Self {
        on_free_port("redis-server", |port| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut command = redis_server(port, folder.path());
            command.args(["--save", "", "--appendonly", "yes"]).args(options);
            let process = server::start(&mut command, folder.path(), READY)?;
            Some(Self { process, folder, port })
        })
    }

    fn sentinel(master: u16) -> Self {
        on_free_port("the sentinel", |port| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            // It writes what it finds out into its configuration.
            let path = folder.path().join("sentinel.conf");
            let text = format!(
                "sentinel monitor main 127.0.0.1 {master} 1\n\
                 sentinel down-after-milliseconds main 1000\n\
                 sentinel failover-timeout main 3000\n"
            );
            fs::write(&path, text).expect("a temporary folder");
            let mut command = Command::new("redis-server");
            command.arg(&path).arg("--sentinel").args(["--port", &port.to_string()]);
            command.args(["--bind", "127.0.0.1"]).arg("--dir").arg(folder.path());
            let process = server::start(&mut command, folder.path(), "+monitor")?;
            Some(Self { process, folder, port })
        })
    }
}

/// What `redis-cli` says, or why it failed.
fn ask(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string()]).args(arguments);
    let output = command.output().expect("redis-cli comes with redis-server");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < START, "{what}: not within {} s", START.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}

impl RedisCluster {
    /// Starts a cluster.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let nodes: Vec<Node> = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                Node::start(&["--cluster-enabled", "yes", "--cluster-port", &bus])
            })
            .collect();
        let addresses: Vec<String> =
            nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.push("--cluster-yes");
        let said = ask(nodes[0].port, &create);
        assert!(said.contains("All 16384 slots covered"), "no cluster: {said}");
        for node in &nodes {
            let is_up = || ask(node.port, &["cluster", "info"]).contains("cluster_state:ok");
            wait_until("a cluster", is_up);
        }
        Self { nodes }
    }

    /// Starts a cluster for a static, which is never dropped.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start_with_parent() -> Self {
        let cluster = Self::start();
        for node in &cluster.nodes {
            end_with_this_process(node.process.pid(), node.folder.path());
        }
        cluster
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        let nodes = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        format!("redis+cluster://{}", nodes.collect::<Vec<_>>().join(","))
    }
}

impl RedisSentinel {
    /// Starts a master, a replica that has caught up with it, and a sentinel that knows both.
    ///
    /// # Panics
    ///
    /// If they do not start.
    #[must_use]
    pub fn start() -> Self {
        let master = Node::start(&[]);
        let port = master.port.to_string();
        let replica = Node::start(&["--replicaof", "127.0.0.1", &port]);
        let is_linked =
            || ask(replica.port, &["info", "replication"]).contains("master_link_status:up");
        wait_until("a replica", is_linked);
        let sentinel = Node::sentinel(master.port);
        let knows_both =
            || ask(sentinel.port, &["sentinel", "replicas", "main"]).contains("127.0.0.1");
        wait_until("a sentinel", knows_both);
        Self { master: Some(master), _replica: replica, sentinel }
    }

    /// Where the sentinel is, and whom it watches.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port)
    }

    /// Kills the master.
    pub fn kill_master(&mut self) {
        self.master = None;
    }
}
