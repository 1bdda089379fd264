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
    /// Whether the password may be tried at all.
    pub fn check(&self, attempt: &Attempt) -> Answer<()> {
        let by_name = if self.is_known(attempt) {
            Ok(())
        } else {
            self.by_name.look(&attempt.name_hash).map(drop)
        };
        let by_both = self.by_both.look(attempt).map(drop);
        let by_address = self.by_address.look(&attempt.address).map(drop);
        match [by_name, by_both, by_address].into_iter().filter_map(Result::err).max() {
            None => Ok(()),
            Some(pause) => {
                metrics::counter!("tonemill_logins_total", "outcome" => "throttled").increment(1);
                let pause = pause.max(Duration::from_secs(1));
                Err(Problem::too_many("too many wrong passwords").retry_after(pause))
            }
        }
    }

    /// The password was wrong.
    pub fn failed(&self, attempt: &Attempt) {
        let _ = self.by_address.take(&attempt.address);
        let _ = self.by_both.take(attempt);
        if !self.is_known(attempt) {
            let _ = self.by_name.take(&attempt.name_hash);
        }
    }

    /// The password was right.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PLACES {
            known.clear();
        }
        known.insert(attempt.clone());
    }

    fn is_known(&self, attempt: &Attempt) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(attempt)
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
            throttle.check(&attacker).unwrap();
            throttle.failed(&attacker);
        }
        let refused = throttle.check(&attacker).unwrap_err();
        assert_eq!(refused.status, 429);
        assert!((20..=30).contains(&refused.retry_after_seconds.unwrap()));
        throttle.check(&attempt("192.0.2.2", "ada")).unwrap();
        throttle.check(&attempt("192.0.2.1", "bob")).unwrap();
    }

    #[test]
    fn an_address_that_tries_all_names_waits() {
        let throttle = Throttle::default();
        for name in 0..50 {
            throttle.failed(&attempt("2001:db8::1", &name.to_string()));
        }
        assert!(throttle.check(&attempt("2001:db8::ffff", "new")).is_err(), "the same network");
        assert!(throttle.check(&attempt("2001:db8:0:1::1", "new")).is_ok());
        assert_eq!(attempt("::ffff:192.0.2.1", "a"), attempt("192.0.2.1", "a"));
    }

    #[test]
    fn many_addresses_do_not_keep_the_user_out() {
        let throttle = Throttle::default();
        throttle.succeeded(&attempt("198.51.100.7", "ada"));
        for n in 0..100 {
            throttle.failed(&attempt(&format!("192.0.2.{n}"), "ada"));
        }
        assert!(throttle.check(&attempt("203.0.113.1", "ada")).is_err());
        assert!(throttle.check(&attempt("198.51.100.7", "ada")).is_ok());
    }
}
