//! Room in memory for uploads on their way into the store.
//!
//! A store takes parts of [`PART_BYTES`], so that much of each upload is in memory. However many come
//! at once, their parts are in so many places; whoever finds none waits for a while, and his client with
//! him. No user has more than half of the places, and who is slow gives way when others wait, so that
//! nobody keeps the others out by sending little for long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonemill_job::objects::PART_BYTES;
use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// What an upload may have in memory without a place.
pub(crate) const FREE_BYTES: usize = 64 << 10;

/// How long an upload waits for a place.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a part may take to fill up when others wait: 32 KiB a second do.
const FILL: Duration = Duration::from_secs(PART_BYTES as u64 / (32 << 10));

/// The places for parts.
#[derive(Debug)]
pub(crate) struct UploadMemory {
    places: Arc<Semaphore>,
    /// How many of them a user can have.
    share: usize,
    users: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
    patience: Duration,
    fill: Duration,
}

/// Room for one part, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    /// Who is not done by then gives way.
    overdue: Instant,
    places: Arc<Semaphore>,
    _share: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl UploadMemory {
    /// Room for as many parts as fit into `bytes`, but at least two.
    pub(crate) fn new(bytes: u64) -> Self {
        let places = (bytes / PART_BYTES as u64).clamp(2, Semaphore::MAX_PERMITS as u64) as usize;
        Self {
            places: Arc::new(Semaphore::new(places)),
            share: places / 2,
            users: Mutex::default(),
            patience: PATIENCE,
            fill: FILL,
        }
    }

    /// Room for a part of an upload of `user`. Waits until there is some: whoever asks must not wait
    /// for it while he keeps room that only he can free.
    pub(crate) async fn room(&self, user: Uuid) -> Answer<Room> {
        let busy = || {
            let why = "too many uploads are on their way: try again later";
            Problem::unavailable(why).retry_after(PATIENCE)
        };
        timeout(self.patience, self.wait_for_room(user)).await.map_err(|_| busy())
    }

    async fn wait_for_room(&self, user: Uuid) -> Room {
        let never_closed = "nobody closes it";
        let share = self.share_of(user).acquire_owned().await.expect(never_closed);
        let places = Arc::clone(&self.places);
        let place = Arc::clone(&places).acquire_owned().await.expect(never_closed);
        Room { overdue: Instant::now() + self.fill, places, _share: share, _place: place }
    }

    fn share_of(&self, user: Uuid) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get(&user).and_then(Weak::upgrade) {
            return share;
        }
        // Those who wait or have room keep theirs.
        users.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        users.insert(user, Arc::downgrade(&share));
        share
    }
}

impl Room {
    /// Refuses to go on with a part that takes long while others wait for room.
    pub(crate) fn check(&self) -> Answer<()> {
        if Instant::now() > self.overdue && self.places.available_permits() == 0 {
            let why =
                "the upload is too slow while others wait: go on with it later, in parts (tus)";
            return Err(Problem::timeout(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The room, if there is some at once.
    fn now(room: impl Future<Output = Room>) -> Option<Room> {
        match pin!(room).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn nobody_has_more_than_half() {
        let memory = UploadMemory::new(5 * PART_BYTES as u64 - 1);
        let [anna, ben, cleo] = [(); 3].map(|()| Uuid::new_v4());
        let first = now(memory.wait_for_room(anna));
        let second = now(memory.wait_for_room(anna));
        assert!(first.is_some() && second.is_some());
        assert!(now(memory.wait_for_room(anna)).is_none(), "half of four");
        let others = [now(memory.wait_for_room(ben)), now(memory.wait_for_room(cleo))];
        assert!(others.iter().all(Option::is_some));
        assert!(now(memory.wait_for_room(ben)).is_none(), "all four are taken");
        drop(first);
        assert!(now(memory.wait_for_room(ben)).is_some());
        assert!(now(memory.wait_for_room(anna)).is_some());
    }

    #[tokio::test]
    async fn who_is_slow_gives_way_when_others_wait() {
        let at_once = Duration::ZERO;
        let mut memory = UploadMemory { patience: at_once, fill: at_once, ..UploadMemory::new(0) };
        let slow = memory.room(Uuid::new_v4()).await.unwrap();
        slow.check().expect("there is room for others");
        memory.fill = FILL;
        let fast = memory.room(Uuid::new_v4()).await.unwrap();
        fast.check().expect("it has just begun");
        assert_eq!(memory.room(Uuid::new_v4()).await.unwrap_err().status, 503);
        assert_eq!(slow.check().unwrap_err().status, 408);
    }

    #[test]
    fn there_is_always_some() {
        let memory = UploadMemory::new(0);
        let user = Uuid::new_v4();
        assert!(now(memory.wait_for_room(user)).is_some());
        assert!(now(memory.wait_for_room(user)).is_some(), "the one before is dropped");
        assert_eq!(memory.users.lock().unwrap().len(), 1);
        let other = now(memory.wait_for_room(Uuid::new_v4()));
        assert!(other.is_some());
        assert_eq!(memory.users.lock().unwrap().len(), 1, "who has nothing is forgotten");
    }
}
