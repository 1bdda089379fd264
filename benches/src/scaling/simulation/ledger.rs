//! Turns, as the ledger gives them: a job's turn is one after its user's last, but not before the
//! one that is served.

use std::collections::{BTreeSet, HashMap};

/// Jobs that wait, by their turns.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    waiting: BTreeSet<(i64, usize)>,
    last: HashMap<u32, i64>,
    serving: i64,
}

impl Ledger {
    pub(super) fn accept(&mut self, job: usize, user: u32) {
        let next = self.last.get(&user).map_or(self.serving, |last| self.serving.max(last + 1));
        self.last.insert(user, next);
        self.waiting.insert((next, job));
    }

    /// The next job to be queued.
    pub(super) fn take(&mut self) -> Option<usize> {
        let (turn, job) = self.waiting.pop_first()?;
        self.serving = self.serving.max(turn);
        Some(job)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_behind_the_crowd_of_another() {
        let mut ledger = Ledger::default();
        (0..10).for_each(|job| ledger.accept(job, 0));
        assert_eq!([ledger.take(), ledger.take()], [Some(0), Some(1)]);
        ledger.accept(10, 1);
        ledger.accept(11, 1);
        let order: Vec<usize> = std::iter::from_fn(|| ledger.take()).take(4).collect();
        assert_eq!(order, [10, 2, 11, 3]);
    }
}
