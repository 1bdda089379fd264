//! Slots in memory for uploads on their way into the store.
//!
//! A store takes parts of [`PART_BYTES`], so that much of each upload is in memory. However many
//! come at once, their parts are in so many slots; whoever finds none free waits, and his client
//! with him: who has just begun for a while, who is under way for as long as it takes. No user has
//! more than half of the slots, and who is slow gives way when others wait, so that nobody keeps
//! the others out by sending little for long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonemill_job::objects::PART_BYTES;
use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// How long a request waits for the slot of its first part. To refuse it costs nobody much, yet.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a part may take to fill up when others wait: 32 KiB a second do.
const FILL: Duration = Duration::from_secs(PART_BYTES as u64 / (32 << 10));

/// The slots for parts.
#[derive(Debug)]
pub(crate) struct UploadMemory {
    slots: Arc<Semaphore>,
    /// How many of them a user can have.
    share: usize,
    users: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
    patience: Duration,
    fill: Duration,
}

/// Room for one part, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Who is not done by then gives way.
    overdue: Instant,
    all: Arc<Semaphore>,
    _share: OwnedSemaphorePermit,
    _permit: OwnedSemaphorePermit,
}

impl UploadMemory {
    /// Room for as many parts as fit into `bytes`, but at least two.
    pub(crate) fn new(bytes: u64) -> Self {
        let slots = (bytes / PART_BYTES as u64).clamp(2, Semaphore::MAX_PERMITS as u64) as usize;
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            share: slots / 2,
            users: Mutex::default(),
            patience: PATIENCE,
            fill: FILL,
        }
    }

    /// Two slots, in which nobody may take any time if others wait.
    #[cfg(test)]
    pub(crate) fn for_the_fast() -> Self {
        Self { fill: Duration::ZERO, ..Self::new(0) }
    }

    /// A slot for a part that a request of `user` brings, the first or a later one. Waits until
    /// there is one: whoever asks must not wait for it while he keeps another that only he can
    /// free.
    pub(crate) async fn slot(&self, user: Uuid, is_under_way: bool) -> Answer<Slot> {
        if is_under_way {
            return Ok(self.wait_for_slot(user).await);
        }
        let busy = || {
            let why = "too many uploads are on their way: try again later";
            Problem::unavailable(why).retry_after(PATIENCE)
        };
        timeout(self.patience, self.wait_for_slot(user)).await.map_err(|_| busy())
    }

    async fn wait_for_slot(&self, user: Uuid) -> Slot {
        let never_closed = "nobody closes it";
        let share = self.share_of(user).acquire_owned().await.expect(never_closed);
        let all = Arc::clone(&self.slots);
        let permit = Arc::clone(&all).acquire_owned().await.expect(never_closed);
        Slot { overdue: Instant::now() + self.fill, all, _share: share, _permit: permit }
    }

    fn share_of(&self, user: Uuid) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.get(&user).and_then(Weak::upgrade) {
            return share;
        }
        // Those who wait or have slots keep theirs.
        users.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        users.insert(user, Arc::downgrade(&share));
        share
    }
}

impl Slot {
    /// Refuses to go on with a part that takes long while others wait for a slot.
    pub(crate) fn check(&self) -> Answer<()> {
        if Instant::now() > self.overdue && self.all.available_permits() == 0 {
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

    /// The slot, if there is one at once.
    fn now(slot: impl Future<Output = Slot>) -> Option<Slot> {
        match pin!(slot).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn nobody_has_more_than_half() {
        let memory = UploadMemory::new(5 * PART_BYTES as u64 - 1);
        let [anna, ben, cleo] = [(); 3].map(|()| Uuid::new_v4());
        let first = now(memory.wait_for_slot(anna));
        let second = now(memory.wait_for_slot(anna));
        assert!(first.is_some() && second.is_some());
        assert!(now(memory.wait_for_slot(anna)).is_none(), "half of four");
        let others = [now(memory.wait_for_slot(ben)), now(memory.wait_for_slot(cleo))];
        assert!(others.iter().all(Option::is_some));
        assert!(now(memory.wait_for_slot(ben)).is_none(), "all four are taken");
        drop(first);
        assert!(now(memory.wait_for_slot(ben)).is_some());
        assert!(now(memory.wait_for_slot(anna)).is_some());
    }

    #[tokio::test]
    async fn who_is_slow_gives_way_when_others_wait() {
        let at_once = Duration::ZERO;
        let mut memory = UploadMemory { patience: at_once, fill: at_once, ..UploadMemory::new(0) };
        let slow = memory.slot(Uuid::new_v4(), false).await.unwrap();
        slow.check().expect("there is room for others");
        memory.fill = FILL;
        let fast = memory.slot(Uuid::new_v4(), false).await.unwrap();
        fast.check().expect("it has just begun");
        assert_eq!(memory.slot(Uuid::new_v4(), false).await.unwrap_err().status, 503);
        assert_eq!(slow.check().unwrap_err().status, 408);
    }

    #[tokio::test]
    async fn who_is_under_way_is_not_refused() {
        let memory = UploadMemory { patience: Duration::ZERO, ..UploadMemory::new(0) };
        let [anna, ben, cleo] = [(); 3].map(|()| Uuid::new_v4());
        let first = memory.slot(anna, false).await.unwrap();
        let _second = memory.slot(ben, false).await.unwrap();
        assert_eq!(memory.slot(cleo, false).await.unwrap_err().status, 503);
        let mut next = pin!(memory.slot(cleo, true));
        let moment = Duration::from_millis(20);
        assert!(timeout(moment, &mut next).await.is_err(), "it waits, and is told nothing");
        drop(first);
        assert!(next.await.is_ok());
    }

    #[test]
    fn there_is_always_some() {
        let memory = UploadMemory::new(0);
        let user = Uuid::new_v4();
        assert!(now(memory.wait_for_slot(user)).is_some());
        assert!(now(memory.wait_for_slot(user)).is_some(), "the one before is dropped");
        assert_eq!(memory.users.lock().unwrap().len(), 1);
        let other = now(memory.wait_for_slot(Uuid::new_v4()));
        assert!(other.is_some());
        assert_eq!(memory.users.lock().unwrap().len(), 1, "who has nothing is forgotten");
    }
}
