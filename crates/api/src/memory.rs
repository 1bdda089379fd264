//! Room in memory for uploads on their way into the store.
//!
//! A store takes parts of [`PART_BYTES`], so that much of each upload is in memory. However many come
//! at once, their parts are in so many places; whoever finds none waits, and his client with him. No
//! user has more than half of the places, so that somebody who sends slowly, and much, keeps nobody
//! else out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonemill_job::objects::PART_BYTES;
use uuid::Uuid;

/// What an upload may have in memory without a place.
pub(crate) const FREE_BYTES: usize = 64 << 10;

/// The places for parts.
#[derive(Debug)]
pub(crate) struct UploadMemory {
    places: Arc<Semaphore>,
    /// How many of them a user can have.
    share: usize,
    users: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
}

/// Room for one part, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _share: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl UploadMemory {
    /// Room for as many parts as fit into `bytes`, but at least two.
    pub(crate) fn new(bytes: u64) -> Self {
        let places = (bytes / PART_BYTES as u64).clamp(2, Semaphore::MAX_PERMITS as u64) as usize;
        let users = Mutex::default();
        Self { places: Arc::new(Semaphore::new(places)), share: places / 2, users }
    }

    /// Room for a part of an upload of `user`. Waits until there is some: whoever asks must not wait
    /// for it while he keeps room that only he can free.
    pub(crate) async fn room(&self, user: Uuid) -> Room {
        let share = self.share_of(user);
        let never_closed = "nobody closes it";
        Room {
            _share: share.acquire_owned().await.expect(never_closed),
            _place: Arc::clone(&self.places).acquire_owned().await.expect(never_closed),
        }
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
        let first = now(memory.room(anna));
        let second = now(memory.room(anna));
        assert!(first.is_some() && second.is_some());
        assert!(now(memory.room(anna)).is_none(), "half of four");
        let others = [now(memory.room(ben)), now(memory.room(cleo))];
        assert!(others.iter().all(Option::is_some));
        assert!(now(memory.room(ben)).is_none(), "all four are taken");
        drop(first);
        assert!(now(memory.room(ben)).is_some());
        assert!(now(memory.room(anna)).is_some());
    }

    #[test]
    fn there_is_always_some() {
        let memory = UploadMemory::new(0);
        let user = Uuid::new_v4();
        assert!(now(memory.room(user)).is_some());
        assert!(now(memory.room(user)).is_some(), "the one before is dropped");
        assert_eq!(memory.users.lock().unwrap().len(), 1);
        let other = now(memory.room(Uuid::new_v4()));
        assert!(other.is_some());
        assert_eq!(memory.users.lock().unwrap().len(), 1, "who has nothing is forgotten");
    }
}
