//! How many requests of a user are answered at a time. Most are over at once; uploads, downloads
//! and event streams last, and each costs memory for as long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// Who has how many.
#[derive(Debug)]
pub(crate) struct InFlight {
    most: usize,
    users: Mutex<HashMap<Uuid, usize>>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    all: Arc<InFlight>,
    user: Uuid,
}

impl InFlight {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, users: Mutex::default() })
    }

    /// One more of a user, until what this returns is dropped.
    pub(crate) fn enter(self: &Arc<Self>, user: Uuid) -> Answer<Answering> {
        let mut users = self.users();
        let count = users.entry(user).or_default();
        if *count >= self.most {
            let why = format!("you may have {} requests at a time: end some first", self.most);
            return Err(Problem::too_many(why).retry_after(Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Answering { all: Arc::clone(self), user })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut users = self.all.users();
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many() {
        let all = InFlight::new(2);
        let [anna, ben] = [(); 2].map(|()| Uuid::new_v4());
        let first = all.enter(anna).unwrap();
        let _second = all.enter(anna).unwrap();
        let refused = all.enter(anna).unwrap_err();
        assert_eq!((refused.status, refused.retry_after_seconds), (429, Some(1)));
        drop(all.enter(ben).unwrap());
        drop(first);
        assert!(all.enter(anna).is_ok());
        assert_eq!(all.users().len(), 1, "who has none is forgotten");
    }
}
