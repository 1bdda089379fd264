//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    room: Arc<Notify>,
    taken: Taken,
    per_address: usize,
}

impl Places {
    /// `per_address` of 0 is no limit.
    pub(super) fn new(all: usize, per_address: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(all.clamp(1, Semaphore::MAX_PERMITS))),
            room: Arc::default(),
            taken: Arc::default(),
            per_address,
        }
    }

    /// None if that address has as many as it may.
    pub(super) fn admit(&self, peer: IpAddr) -> Option<Guest> {
        if self.per_address == 0 {
            return Some(Guest { of: None });
        }
        let source = source(peer);
        let mut taken = lock(&self.taken);
        let count = taken.entry(source).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Guest { of: Some((Arc::clone(&self.taken), source)) })
    }

    /// Waits for a place. While there is none, the connection that is idle the longest is told to
    /// go.
    pub(super) async fn take(&self, guest: Guest) -> Option<Place> {
        let free = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(free) => free,
            Err(_) => {
                self.make_room();
                Arc::clone(&self.free).acquire_owned().await.ok()?
            }
        };
        metrics::gauge!("tonemill_http_connections").increment(1);
        Some(Place { _free: free, _guest: guest })
    }

    /// Tells the connection that is idle the longest to go, or else the next that becomes so.
    pub(super) fn make_room(&self) {
        self.room.notify_one();
    }

    /// For an idle connection to wait on.
    pub(super) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.room)
    }
}

/// Counts for its address until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    of: Option<(Taken, IpAddr)>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some((taken, source)) = &self.of else { return };
        let mut taken = lock(taken);
        if let Some(count) = taken.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(source);
            }
        }
    }
}

/// A connection that is served until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _free: OwnedSemaphorePermit,
    _guest: Guest,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("tonemill_http_connections").decrement(1);
    }
}

fn lock(taken: &Taken) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one address: in IPv6 every customer has a /64 at least.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// `wanted`, or as many as leave a quarter of this process's descriptors to the store, the queue
/// and the database.
pub(super) fn within_descriptors(wanted: usize) -> usize {
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return wanted };
    let most = usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX);
    if wanted > most {
        tracing::warn!(wanted, most, descriptors, "fewer connections: the descriptor limit is low");
    }
    wanted.min(most)
}
