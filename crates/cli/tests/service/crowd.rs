//! Clients that are slow on purpose, and one that never ends: what they cost the others, and us
//! (fault test 24). They come from addresses of their own, as those who mean harm do; an address
//! has 512 connections at most.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::jobs::{clip, padded};
use crate::separate::Separate;
use crate::service::PASSWORD;
use crate::size;

/// Longest upload in these tests.
const MOST: usize = 24 << 20;
/// Slow clients of one address.
const PER_ADDRESS: usize = 400;
/// Where those begin that come from other addresses than the first.
const OTHER_ADDRESSES: usize = 10 * PER_ADDRESS;
/// What the slow may cost all together.
const MEMORY: u64 = 100 << 20;
/// Parts of one user's that there is room for in memory.
const SHARE: usize = 16;
/// Until then they are closed.
const CLOSED: Duration = Duration::from_secs(30);

/// An API with a store, a worker, and users.
struct Scene {
    all: Separate,
    users: Vec<Client>,
}

impl Scene {
    async fn new(users: usize) -> Self {
        let mut all = Separate::without_processes(None);
        all.detours.push(("TONEMILL_MAX_INPUT", MOST.to_string()));
        all.detours.push(("TONEMILL_REQUESTS", "100000".to_owned()));
        all.add_api(&[]);
        all.add_worker(&[]);
        let admin = all.nobody(0).log_in("admin", PASSWORD).await;
        let mut clients = Vec::new();
        for number in 0..users {
            let name = format!("user{number}");
            let user = serde_json::json!({"name": name, "password": PASSWORD});
            admin.post("/v1/users").json(&user).send().await.expect(201);
            clients.push(all.nobody(0).log_in(&name, PASSWORD).await);
        }
        Self { all, users: clients }
    }

    /// Memory that the API has now.
    fn memory(&self) -> u64 {
        self.all.apis[0].0.memory().0
    }
}

/// A connection from the `number`th of the slow.
async fn connect(api: SocketAddr, number: usize) -> TcpStream {
    let host = u8::try_from(2 + number / PER_ADDRESS).expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).expect("all of 127/8 is ours");
    socket.connect(api).await.expect("a connection")
}

/// Sends a beginning, then byte after byte, as long as somebody listens; for how long that was, and
/// what was answered.
async fn trickle(mut stream: TcpStream, beginning: Vec<u8>) -> (Duration, String) {
    let start = Instant::now();
    let mut answer = Vec::new();
    let (mut from, mut to) = stream.split();
    let sending = async {
        if to.write_all(&beginning).await.is_ok() {
            while to.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // A reset is an end, too.
        _ = from.read_to_end(&mut answer) => {}
        () = sending => {}
    }
    (start.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

fn head(token: Option<&str>, rest: &str) -> Vec<u8> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("POST /v1/jobs HTTP/1.1\r\nHost: x\r\n{token}{rest}").into_bytes()
}

/// Those whose head never ends.
async fn slow_heads(scene: &Scene, count: usize) -> JoinSet<(Duration, String)> {
    let mut slow = JoinSet::new();
    for number in 0..count {
        let stream = connect(scene.all.apis[0].1, number).await;
        slow.spawn(trickle(stream, head(None, "X-Slow: ")));
    }
    slow
}

/// A user's uploads that hardly come after so many bytes.
async fn slow_bodies(scene: &Scene, count: usize, bytes: usize) -> JoinSet<(Duration, String)> {
    let mut slow = JoinSet::new();
    let video = padded(bytes.max(1 << 20));
    for number in 0..count {
        let token = scene.users[0].token.as_deref();
        let mut beginning = head(token, "Content-Length: 20000000\r\n\r\n");
        beginning.extend(&video[..bytes]);
        let stream = connect(scene.all.apis[0].1, number + OTHER_ADDRESSES).await;
        slow.spawn(trickle(stream, beginning));
    }
    slow
}

/// Asks for a job's state, over and over; how long each answer took.
fn reader(user: &Client, job: &str) -> JoinHandle<Vec<Duration>> {
    let (user, path) = (user.clone(), format!("/v1/jobs/{job}"));
    tokio::spawn(async move {
        let mut took = Vec::new();
        let end = Instant::now() + size(20, 5) as u32 * Duration::from_secs(1);
        while Instant::now() < end {
            let start = Instant::now();
            user.get(path.as_str()).send().await.expect(200);
            took.push(start.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
        took
    })
}

/// A body that goes on until somebody says no; what was said, and how much was sent.
async fn endless(user: &Client, address: usize) -> (String, usize) {
    let mut stream = connect(user.address, address).await;
    let head = head(user.token.as_deref(), "Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(&head).await.expect("a head");
    let (mut from, mut to) = stream.split();
    let mut piece = b"10000\r\n".to_vec();
    piece.extend(clip().into_iter().cycle().take(0x10000));
    piece.extend(b"\r\n");
    let mut sent = 0;
    let mut answer = vec![0; 4096];
    let sending = async {
        while to.write_all(&piece).await.is_ok() {
            sent += 0x10000;
        }
        std::future::pending::<()>().await;
    };
    let bytes = tokio::select! {
        bytes = timeout(crate::PATIENCE, from.read(&mut answer)) => bytes,
        () = sending => unreachable!("it never ends"),
    };
    let bytes = bytes.expect("an answer").expect("an answer");
    (String::from_utf8_lossy(&answer[..bytes]).into_owned(), sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_endless_clients_harm_nobody() {
    let scene = Scene::new(3).await;
    let other = &scene.users[1];
    let job = other.submit(&clip(), "").await;
    other.finished(&job).await;
    let before = scene.memory();
    let (heads, bodies) = (size(1000, 100), size(200, 30));
    let mut slow = [slow_heads(&scene, heads).await, slow_bodies(&scene, bodies, 1000).await];
    let readers: Vec<_> = (0..4).map(|_| reader(other, &job)).collect();
    let mut most_stored = 0;
    let watch = async {
        loop {
            most_stored = most_stored.max(stored(&scene));
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (answer, sent) = tokio::select! {
        outcome = endless(&scene.users[2], 2 * OTHER_ADDRESSES) => outcome,
        () = watch => unreachable!("it never ends"),
    };
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let status = answer.lines().next().unwrap_or_default();
    println!("endless: {status} after {sent} bytes; at most {most_stored} in the store");
    assert!(most_stored < MOST as u64 + (1 << 20), "{most_stored} bytes were stored");
    // What the kernel holds on both sides was sent as well.
    assert!(sent < MOST + (16 << 20), "{sent} bytes were sent");

    let mut took = Vec::new();
    for reader in readers {
        took.extend(reader.await.expect("a reader"));
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    let after = scene.memory();
    let [heads_closed, bodies_closed] = [closed(&mut slow[0]).await, closed(&mut slow[1]).await];
    println!("{heads} slow heads: {heads_closed:?}; {bodies} slow bodies: {bodies_closed:?}");
    println!("reads of others: {}, p99 {p99:.3?}, most {:.3?}", took.len(), took[took.len() - 1]);
    println!("memory: {} MiB before, {} MiB during", before >> 20, after >> 20);
    // The small version shares its cores with other tests.
    let limit = Duration::from_secs(if size(1, 0) == 1 { 1 } else { 5 });
    assert!(p99 < limit, "{p99:?}");
    assert!(heads_closed.within < CLOSED && bodies_closed.within < CLOSED);
    assert_eq!(bodies_closed.told, bodies, "each is told why");
    assert!(after < before + MEMORY, "{} MiB more", (after - before) >> 20);
    let of_refused = async || (stored(&scene) < 1 << 20).then_some(());
    crate::until("a store without what was refused", of_refused).await;
}

/// How the slow ended.
#[derive(Debug, Default)]
struct Closed {
    within: Duration,
    /// Those who were answered with 408.
    told: usize,
}

async fn closed(slow: &mut JoinSet<(Duration, String)>) -> Closed {
    let mut closed = Closed::default();
    while let Some(one) = timeout(crate::PATIENCE, slow.join_next()).await.expect("an end") {
        let (took, answer) = one.expect("it does not panic");
        closed.within = closed.within.max(took);
        closed.told += usize::from(answer.starts_with("HTTP/1.1 408 "));
    }
    closed
}

/// Room in memory for parts is not for one user alone, however much is sent, and however slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_uploads_of_one_user_keep_nobody_out() {
    let scene = Scene::new(3).await;
    let before = scene.memory();
    let bodies = size(200, 40);
    // Of a part nearly all, so that those who have room use it.
    let mut slow = slow_bodies(&scene, bodies, size(8_000_000, 300_000)).await;
    let mut took = Vec::new();
    for number in 0..size(20, 3) {
        let start = Instant::now();
        let user = &scene.users[1 + number % 2];
        let job = user.submit(&padded(9 << 20), "").await;
        took.push(start.elapsed());
        user.finished(&job).await;
    }
    let during = scene.memory();
    let mut ended = 0;
    while slow.try_join_next().is_some() {
        ended += 1;
    }
    assert!(bodies - ended >= SHARE, "{ended} of {bodies} are gone: they were in nobody's way");
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "beside {bodies} slow uploads of one user: {} of 9 MiB, median {median:.2?}, most {most:.2?}",
        took.len()
    );
    println!("memory: {} MiB before, {} MiB during", before >> 20, during >> 20);
}

/// Bytes at the store, where it is a folder.
fn stored(scene: &Scene) -> u64 {
    if std::env::var_os("TONEMILL_S3").is_some() {
        return 0;
    }
    let (mut bytes, mut folders) = (0, vec![scene.all.s3.folder()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(file) if file.is_dir() => folders.push(entry.path()),
                Ok(file) => bytes += file.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Uploads of several users at once, each longer than two parts: memory is for a number of parts,
/// not for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_at_once_need_little_memory() {
    let scene = Scene::new(4).await;
    let (count, bytes) = (size(50, 10), 20_000_000);
    let before = scene.memory();
    let video = bytes::Bytes::from(padded(bytes));
    let start = Instant::now();
    let mut uploads = JoinSet::new();
    for number in 0..count {
        let (user, video) = (scene.users[number % scene.users.len()].clone(), video.clone());
        uploads.spawn(async move {
            let request = user.post("/v1/jobs").body(video).patience(5 * crate::PATIENCE);
            request.send().await.expect(201);
        });
    }
    uploads.join_all().await;
    let took = start.elapsed();
    let (after, most) = scene.all.apis[0].0.memory();
    let mib = |bytes: u64| bytes >> 20;
    let rate = mib((count * bytes) as u64) as f64 / took.as_secs_f64();
    println!("{count} uploads of {bytes} bytes at once in {took:.1?}: {rate:.0} MiB/s");
    println!("memory: {} MiB before, {} at most, {} after", mib(before), mib(most), mib(after));
    // Room for uploads is 256 MiB, and some for all else.
    assert!(most < before + (400 << 20), "{} MiB", mib(most));
}
