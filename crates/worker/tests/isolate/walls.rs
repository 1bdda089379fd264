//! What a child cannot do, tried from inside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::thread;

use rustix::process::{
    Resource, Rlimit, getpid, getppid, set_parent_process_death_signal, setrlimit,
    test_kill_process,
};
use tonemill_worker::isolate::{self, SandboxLimits, shut_in};

pub const ARGUMENT: &str = "probe-sandbox";

pub const TESTS: &[(&str, fn())] = &[
    ("nothing_outside_can_be_reached", nothing_outside_can_be_reached),
    ("the_protections_are_told", the_protections_are_told),
];

type Attempt = Box<dyn Fn() -> io::Result<()>>;

/// What must fail inside.
fn forbidden() -> Vec<(&'static str, Attempt)> {
    let parent = getppid().expect("this is not the first process");
    let program = std::env::current_exe().expect("there is one");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    let here = File::open("/proc/self/exe").expect("it can be read");
    let limit = Rlimit { current: Some(3), maximum: Some(3) };
    vec![
        ("open a file", Box::new(|| File::open("/etc/passwd").map(drop))),
        ("open /proc", Box::new(|| File::open("/proc/self/environ").map(drop))),
        ("create a file", Box::new(|| File::create("/tmp/tonemill-walls").map(drop))),
        ("list a folder", Box::new(|| fs::read_dir("/").map(drop))),
        ("remove a file", Box::new(|| fs::remove_file("/tmp/tonemill-walls"))),
        ("connect", Box::new(move || TcpStream::connect(address).map(drop))),
        ("accept", Box::new(move || listener.accept().map(drop))),
        ("listen", Box::new(|| TcpListener::bind("127.0.0.1:0").map(drop))),
        ("bind", Box::new(|| UdpSocket::bind("127.0.0.1:0").map(drop))),
        ("make sockets", Box::new(|| UnixStream::pair().map(drop))),
        ("run a program", Box::new(move || Command::new(&program).status().map(drop))),
        ("signal the parent", Box::new(move || Ok(test_kill_process(parent)?))),
        ("outlive the parent", Box::new(|| Ok(set_parent_process_death_signal(None)?))),
        ("set a limit", Box::new(move || Ok(setrlimit(Resource::Nofile, limit)?))),
        ("read an inherited file", Box::new(move || (&here).read(&mut [0; 4]).map(drop))),
    ]
}

/// What must not.
fn allowed() -> Vec<(&'static str, Attempt)> {
    let thread = || {
        let named = thread::Builder::new().name("named".to_owned());
        let length = named.spawn(|| vec![1_u8; 1 << 20].len())?.join();
        length.map(drop).map_err(|_| io::ErrorKind::Other.into())
    };
    let itself = getpid();
    vec![
        ("signal itself", Box::new(move || Ok(test_kill_process(itself)?))),
        ("start a thread", Box::new(thread)),
        ("allocate", Box::new(|| reserve(64 << 20))),
    ]
}

fn reserve(bytes: usize) -> io::Result<()> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(io::Error::other)
}

/// Shuts itself in and tries everything. Each line says what was tried and how it went.
pub fn try_all() -> ExitCode {
    let limits = SandboxLimits::default();
    let too_much = limits.address_space_bytes as usize;
    let attempts: Vec<_> = forbidden().into_iter().chain(allowed()).collect();
    shut_in(&limits).expect("the walls can be raised");
    for (what, attempt) in attempts {
        println!("{what}: {:?}", attempt().map_err(|error| error.raw_os_error()));
    }
    println!("allocate too much: {:?}", reserve(too_much).map_err(drop));
    ExitCode::SUCCESS
}

fn nothing_outside_can_be_reached() {
    let program = std::env::current_exe().expect("there is one");
    let output = Command::new(program).arg(ARGUMENT).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let told: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    for (what, _) in forbidden() {
        // EPERM, by the filter of system calls, which holds on every kernel.
        assert_eq!(told[what], "Err(Some(1))", "{what}");
    }
    for (what, _) in allowed() {
        assert_eq!(told[what], "Ok(())", "{what}");
    }
    assert_eq!(told["allocate too much"], "Err(())");
}

fn the_protections_are_told() {
    let protections = isolate::protections(&SandboxLimits::default()).expect("a child starts");
    assert!(protections.landlock_abi > 0 || !protections.landlock_complete);
}
