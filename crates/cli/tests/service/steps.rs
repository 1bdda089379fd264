//! A trap for the API: what it does while it takes an upload is seen from outside, step by step,
//! and at the step that the trap is set to, nothing passes any more until the API is killed.
//!
//! Proxies stand between the API and everybody else. A step is a request to the store and its
//! answer, a transaction of the ledger that writes an upload or a job, and its answer, a job on its
//! way into the queue, some of a body, or an answer to the client.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy, Passing};

use crate::separate::Separate;

/// When the API is caught.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum At {
    /// Never: its steps are only told.
    #[default]
    Never,
    /// At this step.
    Step(usize),
    /// At the first step of the second name; those of the first name do not pass before.
    Behind(&'static str, &'static str),
}

/// So much of a body is a step.
const BODY_STEP: u64 = 4 << 20;
/// What writes uploads and jobs down.
const WRITES: [&[u8]; 4] =
    [b"INSERT INTO jobs", b"INSERT INTO uploads", b"UPDATE uploads", b"DELETE FROM uploads"];

#[derive(Debug, Clone)]
pub struct Trap {
    state: Arc<Mutex<State>>,
    sprung: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    is_set: bool,
    at: At,
    steps: Vec<&'static str>,
    /// Jobs whose objects are no part of what goes on.
    known: HashSet<String>,
}

impl Trap {
    pub fn new() -> Self {
        Self { state: Arc::default(), sprung: watch::Sender::new(false) }
    }

    pub fn set(&self, at: At) {
        let mut state = self.state();
        (state.is_set, state.at) = (true, at);
        state.steps.clear();
        self.sprung.send_replace(false);
    }

    /// Lets everything pass; the steps that were seen.
    pub fn open(&self) -> Vec<&'static str> {
        let mut state = self.state();
        state.is_set = false;
        self.sprung.send_replace(false);
        std::mem::take(&mut state.steps)
    }

    /// Until it has sprung.
    pub async fn sprung(&self) {
        let mut sprung = self.sprung.subscribe();
        let _ = sprung.wait_for(|sprung| *sprung).await;
    }

    pub fn has_seen(&self, step: &str) -> bool {
        self.state().steps.contains(&step)
    }

    /// From now on this job's objects are old ones, and may go.
    pub fn forget(&self, job: &str) {
        self.state().known.insert(job.to_owned());
    }

    fn step(&self, name: &'static str) -> Fault {
        let mut state = self.state();
        if !state.is_set {
            return Fault::None;
        }
        if *self.sprung.borrow() {
            return Fault::BlackHole;
        }
        let number = state.steps.len();
        state.steps.push(name);
        let holds = match state.at {
            At::Never => false,
            At::Step(at) => number == at,
            At::Behind(_, until) => name == until,
        };
        if holds {
            self.sprung.send_replace(true);
        }
        let waits = matches!(state.at, At::Behind(held, _) if held == name);
        if holds || waits { Fault::BlackHole } else { Fault::None }
    }

    fn is_about_old(&self, request: &str) -> bool {
        let state = self.state();
        request.split('/').any(|part| state.known.contains(part))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxies around an API.
pub struct Surroundings {
    _store: FaultProxy,
    _queue: FaultProxy,
    _ledger: Option<FaultProxy>,
}

impl Surroundings {
    /// Proxies that `all`'s APIs take from their next start on.
    pub async fn of(all: &mut Separate, trap: &Trap) -> Self {
        let store = FaultProxy::http(&all.s3.endpoint).await;
        watch_store(&store, trap, format!("/{}/uploads/", all.s3.bucket));
        let queue = FaultProxy::tcp(SocketAddr::from(([127, 0, 0, 1], all.redis.port()))).await;
        watch_queue(&queue, trap);
        all.detours = vec![
            ("TONEMILL_S3_ENDPOINT", store.endpoint()),
            ("TONEMILL_REDIS_URL", format!("redis://{}", queue.address())),
        ];
        let mut ledger = None;
        if let Some((user, rest)) = all.database.split_once('@') {
            let (address, database) = rest.split_once('/').expect("a database");
            let proxy = FaultProxy::tcp(address.parse().expect("an address")).await;
            watch_ledger(&proxy, trap);
            // Every statement comes with its text, every time.
            let parameters = "statement-cache-capacity=0";
            let url = format!("{user}@{}/{database}?{parameters}", proxy.address());
            all.detours.push(("TONEMILL_DATABASE_URL", url));
            ledger = Some(proxy);
        }
        Self { _store: store, _queue: queue, _ledger: ledger }
    }
}

fn watch_store(proxy: &FaultProxy, trap: &Trap, uploads: String) {
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let (answers, after) = (Arc::clone(&asked), trap.clone());
    let before = trap.clone();
    proxy.plan(move |incoming| {
        let mut words = incoming.request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !path.starts_with(&uploads) || (method == "DELETE" && before.is_about_old(path)) {
            return Fault::None;
        }
        asked.lock().unwrap().insert(incoming.number);
        before.step(match method {
            "PUT" => "store: put",
            "POST" => "store: post",
            "DELETE" => "store: delete",
            _ => "store: look",
        })
    });
    proxy.guard(move |passing| {
        let is_first = passing.is_response && answers.lock().unwrap().remove(&passing.number);
        if is_first { after.step("store: done") } else { Fault::None }
    });
}

fn watch_queue(proxy: &FaultProxy, trap: &Trap) {
    let trap = trap.clone();
    let mut asked = HashSet::new();
    proxy.guard(move |passing| {
        if !passing.is_response && holds(passing, b"\"uploads/") {
            asked.insert(passing.number);
            return trap.step("queue: add");
        }
        let is_answer = passing.is_response && asked.remove(&passing.number);
        if is_answer { trap.step("queue: done") } else { Fault::None }
    });
}

fn watch_ledger(proxy: &FaultProxy, trap: &Trap) {
    #[derive(PartialEq)]
    enum Is {
        Written,
        Committed,
    }
    let trap = trap.clone();
    let mut connections = HashMap::new();
    proxy.guard(move |passing| {
        let number = passing.number;
        if passing.is_response {
            if connections.get(&number) == Some(&Is::Committed) {
                connections.remove(&number);
                return trap.step("ledger: done");
            }
        } else if WRITES.iter().any(|write| holds(passing, write)) {
            connections.insert(number, Is::Written);
        } else if connections.contains_key(&number) && holds(passing, b"COMMIT") {
            connections.insert(number, Is::Committed);
            return trap.step("ledger: commit");
        }
        Fault::None
    });
}

/// A way to the API that the trap watches.
pub async fn watched(api: SocketAddr, trap: &Trap) -> FaultProxy {
    let proxy = FaultProxy::tcp(api).await;
    let trap = trap.clone();
    let (mut bodies, mut answered) = (HashMap::new(), HashSet::new());
    proxy.guard(move |passing| {
        if passing.is_response {
            let is_first = answered.insert(passing.number);
            return if is_first { trap.step("answer") } else { Fault::None };
        }
        let bytes: &mut u64 = bodies.entry(passing.number).or_default();
        let before = *bytes / BODY_STEP;
        *bytes += passing.bytes.len() as u64;
        if *bytes / BODY_STEP > before { trap.step("body") } else { Fault::None }
    });
    proxy
}

fn holds(passing: Passing<'_>, text: &[u8]) -> bool {
    passing.bytes.windows(text.len()).any(|window| window == text)
}
