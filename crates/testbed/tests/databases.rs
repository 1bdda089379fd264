//! The database servers do what tests rely on: they keep what was committed, they can be broken and
//! mended, and they leave nothing behind.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;

/// More than a running server takes to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a paused server is given to show that it is not.
const SILENCE: Duration = Duration::from_millis(300);

/// A client that stays connected.
struct Session {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Session {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a client");
        let input = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, answers) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, input, answers }
    }

    fn say(&mut self, statement: &str) {
        writeln!(self.input, "{statement}").expect("a running client");
    }

    fn answer(&self) -> String {
        self.answers.recv_timeout(PATIENCE).expect("an answer")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a new client says to `statements`.
fn run(mut client: Command, statements: &str) -> String {
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(statements.as_bytes()).expect("a running client");
    drop(input);
    let output = child.wait_with_output().expect("our child");
    assert!(output.status.success(), "{statements}: {}", output.status);
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

fn is_running(pid: u32) -> bool {
    let facts = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    facts.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// How many pieces of shared memory outside of any folder the process made.
fn shared_memory_of(pid: u32) -> usize {
    let table = fs::read_to_string("/proc/sysvipc/shm").expect("Linux");
    let maker = |line: &str| line.split_whitespace().nth(4).and_then(|pid| pid.parse().ok());
    table.lines().filter(|line| maker(line) == Some(pid)).count()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the ignored test `name` of this program in a process of its own, with temporary files in
/// `folder`. It says a number.
fn number_from_another_program(name: &str, folder: &Path) -> u32 {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", name, "--ignored", "--nocapture"]).env("TMPDIR", folder);
    let output = command.output().expect("this program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let number = text.lines().find_map(|line| line.split_once("process: ")?.1.parse().ok());
    number.unwrap_or_else(|| panic!("no number: {text}"))
}

macro_rules! tests_of {
    ($module:ident, $Server:ident, $endless:expr, $client_of_another:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn what_was_committed_outlives_the_server() {
                let start = Instant::now();
                let mut server = $Server::start();
                println!("started in {:?}", start.elapsed());
                let url = server.fresh_database();
                let made = "CREATE TABLE sound (name VARCHAR(20)); \
                            INSERT INTO sound VALUES ('café 🎵');";
                run(server.client(&url), made);
                for _ in 0..3 {
                    // Busy when it happens.
                    let mut session = Session::start(&mut server.client(&url));
                    session.say("SELECT 1;");
                    session.answer();
                    session.say($endless);
                    let pid = server.pid();
                    server.kill();
                    assert!(!is_running(pid));
                    let start = Instant::now();
                    server.restart();
                    println!("restarted in {:?}", start.elapsed());
                    assert_eq!(run(server.client(&url), "SELECT name FROM sound;"), "café 🎵");
                }
            }

            #[test]
            fn databases_know_nothing_of_each_other() {
                let server = $Server::start();
                let start = Instant::now();
                let urls = [(); 2].map(|()| server.fresh_database());
                println!("two databases in {:?}", start.elapsed());
                for url in [server.url(), urls[0].clone(), urls[1].clone()] {
                    let made = "CREATE TABLE sound (id INT); INSERT INTO sound VALUES (1);";
                    run(server.client(&url), made);
                    assert_eq!(run(server.client(&url), "SELECT COUNT(*) FROM sound;"), "1");
                }
            }

            #[test]
            fn a_paused_server_answers_when_it_is_resumed() {
                let server = $Server::start();
                let mut session = Session::start(&mut server.client(&server.url()));
                session.say("SELECT 1;");
                assert_eq!(session.answer(), "1");
                server.pause();
                session.say("SELECT 2;");
                let silence = session.answers.recv_timeout(SILENCE);
                assert_eq!(silence, Err(RecvTimeoutError::Timeout));
                server.resume();
                assert_eq!(session.answer(), "2");
            }

            #[test]
            fn another_password_is_refused() {
                let [server, other] = [$Server::start(), $Server::start()];
                let mut client = $client_of_another(&server, &other);
                let output = client.stdin(Stdio::null()).output().expect("a client");
                let error = String::from_utf8_lossy(&output.stderr).to_lowercase();
                assert!(!output.status.success());
                assert!(error.contains("password"), "{error}");
            }

            #[test]
            fn a_dropped_server_leaves_nothing() {
                // Running, dead and paused.
                for state in 0..3 {
                    let mut server = $Server::start();
                    let (pid, port) = (server.pid(), server.port());
                    let folder = fs::read_link(format!("/proc/{pid}/cwd")).expect("Linux");
                    match state {
                        0 => {}
                        1 => server.kill(),
                        _ => server.pause(),
                    }
                    drop(server);
                    assert!(!is_running(pid));
                    assert!(!folder.parent().expect("a temporary folder").exists());
                    assert_eq!(shared_memory_of(pid), 0);
                    TcpListener::bind(("127.0.0.1", port)).expect("a free port");
                }
            }

            #[test]
            fn a_server_of_a_static_ends_with_the_program() {
                let folder = tempfile::tempdir().expect("a temporary folder");
                // The server may be somebody else's, who must get through.
                fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
                let name = concat!(stringify!($module), "::a_program_with_a_static");
                let pid = number_from_another_program(name, folder.path());
                let is_empty = || fs::read_dir(folder.path()).expect("ours").next().is_none();
                wait_until("the folder goes", is_empty);
                assert!(!is_running(pid));
                assert_eq!(shared_memory_of(pid), 0);
            }

            #[test]
            #[ignore = "the other program of a_server_of_a_static_ends_with_the_program"]
            fn a_program_with_a_static() {
                static SERVER: std::sync::OnceLock<$Server> = std::sync::OnceLock::new();
                let server = SERVER.get_or_init($Server::start_with_parent);
                let url = server.fresh_database();
                assert_eq!(run(server.client(&url), "SELECT 1;"), "1");
                println!("process: {}", server.pid());
            }
        }
    };
}

tests_of!(
    mariadb,
    MariaDb,
    "SELECT BENCHMARK(1000000000000, SHA2('a', 512));",
    |server: &MariaDb, other: &MariaDb| {
        let mut client = server.client(&server.url());
        client.arg(format!("--port={}", other.port()));
        client
    }
);
tests_of!(
    postgres,
    Postgres,
    "SELECT COUNT(*) FROM generate_series(1, 1000000000000);",
    |server: &Postgres, other: &Postgres| {
        let port = |server: &Postgres| format!(":{}/", server.port());
        server.client(&server.url().replace(&port(server), &port(other)))
    }
);
