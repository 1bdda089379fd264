//! Guessing passwords is slow, and locks nobody out.
//!
//! Wrong passwords are counted for each address, and for each address and name together. A victim's
//! own address is another than the attacker's, so the victim logs in as ever. Many addresses that
//! attack one name make that name slow to log in to, except from where its user has been before.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::problem::{Answer, Problem};
use crate::rate::{Buckets, Rate};

/// Wrong passwords from one address, for all names: an office behind one address makes some.
const BY_ADDRESS: Rate = Rate { burst: 50, per_second: 0.2 };
/// Wrong passwords from one address for one name.
const BY_BOTH: Rate = Rate { burst: 5, per_second: 1.0 / 30.0 };
/// Wrong passwords for one name from addresses where it has never logged in.
const BY_NAME: Rate = Rate { burst: 100, per_second: 0.1 };
/// Places that are remembered.
const PLACES: usize = 100_000;

/// Counts wrong passwords.
#[derive(Debug)]
pub struct Throttle {
    by_address: Buckets<IpAddr>,
    by_both: Buckets<Attempt>,
    by_name: Buckets<u64>,
    /// Where who logged in before.
    known: Mutex<HashSet<Attempt>>,
}

/// A log-in that somebody tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    address: IpAddr,
    /// Of the name, which may be long and is nobody's business here.
    name_hash: u64,
}

impl Attempt {
    /// `name` from `address`. All addresses of an IPv6 network of 64 bits are one.
    #[must_use]
    pub fn new(address: IpAddr, name: &str) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        let hash = blake3::hash(name.as_bytes());
        let name_hash = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { address, name_hash }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            by_address: Buckets::new(BY_ADDRESS),
            by_both: Buckets::new(BY_BOTH),
            by_name: Buckets::new(BY_NAME),
            known: Mutex::default(),
        }
    }
}

impl Throttle {
    /// Whether the password may be tried at all. It counts as wrong from here on, so that many
    /// tries at once are no more than as many one by one, until it is known to be right or not to
    /// be tried.
    pub fn admit(&self, attempt: Attempt) -> Answer<Admitted<'_>> {
        let mut admitted = Admitted { throttle: self, attempt, taken: Vec::new() };
        match admitted.take() {
            Ok(()) => Ok(admitted),
            Err(pause) => {
                metrics::counter!("tonemill_logins_total", "outcome" => "throttled").increment(1);
                let pause = pause.max(Duration::from_secs(1));
                Err(Problem::too_many("too many wrong passwords").retry_after(pause))
            }
        }
    }

    fn is_known(&self, attempt: &Attempt) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(attempt)
    }
}

/// A log-in that is being tried. What it has taken it gives back, unless the password was wrong.
#[derive(Debug)]
pub struct Admitted<'a> {
    throttle: &'a Throttle,
    attempt: Attempt,
    taken: Vec<Count>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Count {
    Address,
    Both,
    Name,
}

impl Admitted<'_> {
    /// Takes a token of each count; how long until there is one, if there is none.
    fn take(&mut self) -> Result<(), Duration> {
        let Self { throttle, attempt, taken } = self;
        throttle.by_address.take(&attempt.address)?;
        taken.push(Count::Address);
        throttle.by_both.take(attempt)?;
        taken.push(Count::Both);
        if !throttle.is_known(attempt) {
            throttle.by_name.take(&attempt.name_hash)?;
            taken.push(Count::Name);
        }
        Ok(())
    }

    /// The password was wrong.
    pub fn failed(mut self) {
        self.taken.clear();
    }

    /// The password was right.
    pub fn succeeded(self) {
        let mut known = self.throttle.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PLACES {
            known.clear();
        }
        known.insert(self.attempt.clone());
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let Self { throttle, attempt, taken } = self;
        for count in taken {
            match count {
                Count::Address => throttle.by_address.give_back(&attempt.address),
                Count::Both => throttle.by_both.give_back(attempt),
                Count::Name => throttle.by_name.give_back(&attempt.name_hash),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(address: &str, name: &str) -> Attempt {
        Attempt::new(address.parse().unwrap(), name)
    }

    #[test]
    fn the_attacker_waits_and_the_victim_does_not() {
        let throttle = Throttle::default();
        let attacker = attempt("192.0.2.1", "ada");
        for _ in 0..5 {
            throttle.admit(attacker.clone()).unwrap().failed();
        }
        let refused = throttle.admit(attacker).unwrap_err();
        assert_eq!(refused.status, 429);
        assert!((20..=30).contains(&refused.retry_after_seconds.unwrap()));
        throttle.admit(attempt("192.0.2.2", "ada")).unwrap();
        throttle.admit(attempt("192.0.2.1", "bob")).unwrap();
    }

    #[test]
    fn guesses_at_once_are_no_more_than_one_by_one() {
        let throttle = Throttle::default();
        let ada = || throttle.admit(attempt("192.0.2.1", "ada"));
        let mut guesses: Vec<_> = (0..5).map(|_| ada().unwrap()).collect();
        assert!(ada().is_err());
        guesses.pop().unwrap().succeeded();
        assert!(ada().is_ok(), "it was right, and this one is dropped untried");
        guesses.into_iter().for_each(Admitted::failed);
        ada().unwrap().failed();
        assert!(ada().is_err());
    }

    #[test]
    fn an_address_that_tries_all_names_waits() {
        let throttle = Throttle::default();
        for name in 0..50 {
            throttle.admit(attempt("2001:db8::1", &name.to_string())).unwrap().failed();
        }
        assert!(throttle.admit(attempt("2001:db8::ffff", "new")).is_err(), "the same network");
        assert!(throttle.admit(attempt("2001:db8:0:1::1", "new")).is_ok());
        assert_eq!(attempt("::ffff:192.0.2.1", "a"), attempt("192.0.2.1", "a"));
    }

    #[test]
    fn many_addresses_do_not_keep_the_user_out() {
        let throttle = Throttle::default();
        throttle.admit(attempt("198.51.100.7", "ada")).unwrap().succeeded();
        for n in 0..100 {
            throttle.admit(attempt(&format!("192.0.2.{n}"), "ada")).unwrap().failed();
        }
        assert!(throttle.admit(attempt("203.0.113.1", "ada")).is_err());
        assert!(throttle.admit(attempt("198.51.100.7", "ada")).is_ok());
    }
}
