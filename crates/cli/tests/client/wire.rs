//! The network between client and service: it can be slow, it can be cut, and the other end can
//! move.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes at a time.
const PIECE: usize = 16 << 10;

pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    /// Bytes in a second, each way; 0 for as many as there are.
    pace: AtomicU64,
    /// The connection on which so many bytes have come down ends.
    cut_after: AtomicU64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    is_gone: AtomicBool,
}

impl Wire {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            pace: AtomicU64::new(0),
            cut_after: AtomicU64::new(u64::MAX),
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            is_gone: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_thread.is_gone.load(Ordering::SeqCst) {
                    return;
                }
                connect(&client, &of_thread);
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The service is somewhere else.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    pub fn pace(&self, bytes_per_second: u64) {
        self.shared.pace.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Ends the connection on which so many more bytes come down, once.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(self.down_bytes() + bytes, Ordering::SeqCst);
    }

    pub fn up_bytes(&self) -> u64 {
        self.shared.up_bytes.load(Ordering::SeqCst)
    }

    pub fn down_bytes(&self) -> u64 {
        self.shared.down_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.is_gone.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn connect(client: &TcpStream, shared: &Arc<Shared>) {
    let target = *shared.target.lock().unwrap();
    // A service that is away: the client sees its connection end.
    let Ok(server) = TcpStream::connect(target) else { return };
    let pair = |a: &TcpStream, b: &TcpStream| Some((a.try_clone().ok()?, b.try_clone().ok()?));
    for is_down in [false, true] {
        let ends = if is_down { pair(&server, client) } else { pair(client, &server) };
        let Some((from, to)) = ends else { return };
        let shared = Arc::clone(shared);
        thread::spawn(move || copy(from, to, &shared, is_down));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared, is_down: bool) {
    let mut piece = vec![0; PIECE];
    let counter = if is_down { &shared.down_bytes } else { &shared.up_bytes };
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        let total = counter.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
        if is_down && total >= shared.cut_after.load(Ordering::SeqCst) {
            shared.cut_after.store(u64::MAX, Ordering::SeqCst);
            break;
        }
        if let pace @ 1.. = shared.pace.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_secs_f64(count as f64 / pace as f64));
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
