//! Passwords: hashed with Argon2id, a few at a time.
//!
//! Each hash takes 19 MiB and some 20 ms of a core on purpose; a crowd that logs in waits in line,
//! up to a length, and cannot use up the machine. The memory is kept for the next: glibc finds no
//! use for what was freed of such blocks, and a process would grow by some 900 MiB.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonemill_ledger::credentials::random_bytes;

use crate::problem::{Answer, Problem};

/// Shortest password, in characters (NIST SP 800-63B-4 section 3.1.1.2: 8 with a second factor, 15
/// alone; we have none and leave the rest to the operators).
pub const MIN_CHARS: usize = 10;
/// Longest password, in bytes.
pub const MAX_BYTES: usize = 1024;
/// How many may wait in line for each that is hashed.
const LINE: usize = 32;

type Memory = Vec<Block>;
/// A hash in the ledger that is none of ours.
type Strange = Box<dyn Error>;

/// Hashes and verifies passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    at_work: Arc<Semaphore>,
    in_line: Arc<Semaphore>,
    /// To hash in, of whoever is not at work.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// Of a password that nobody has: verified for users that do not exist, so that they take as
    /// long as those that do.
    nobodys: Arc<str>,
}

impl Passwords {
    /// `at_once` hashes at a time: 19 MiB each.
    pub fn new(at_once: usize) -> Answer<Self> {
        let at_once = at_once.max(1);
        let mut memory = Memory::new();
        let nobodys = hash(&uuid::Uuid::new_v4().to_string(), &mut memory);
        let nobodys = nobodys.map_err(|error| Problem::defect(&*error))?.into();
        Ok(Self {
            at_work: Arc::new(Semaphore::new(at_once)),
            in_line: Arc::new(Semaphore::new(at_once * LINE)),
            memories: Arc::new(Mutex::new(vec![memory])),
            nobodys,
        })
    }

    /// The hash of a new password, as a PHC string.
    pub async fn hash(&self, password: &str) -> Answer<String> {
        let password = password.to_owned();
        self.work(move |memory| hash(&password, memory)).await
    }

    /// Whether `password` is the one that was hashed. Without a hash it is not, after the same
    /// time.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Answer<bool> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or(&self.nobodys).to_owned();
        let password = password.to_owned();
        let is_it = self.work(move |memory| verify(&password, &hash, memory)).await?;
        Ok(is_it && is_known)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, Strange> + Send + 'static,
    ) -> Answer<T> {
        let crowded = || {
            Problem::unavailable("too many people log in at this moment")
                .retry_after(Duration::from_secs(2))
        };
        let _in_line = self.in_line.try_acquire().map_err(|_| crowded())?;
        let at_work = Arc::clone(&self.at_work).acquire_owned().await.map_err(|_| crowded())?;
        let memories = Arc::clone(&self.memories);
        let done = spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _at_work = at_work;
            let free = || memories.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = free().pop().unwrap_or_default();
            let done = work(&mut memory).map_err(|error| Problem::defect(&*error));
            free().push(memory);
            done
        });
        done.await.map_err(|error| Problem::defect(&error))?
    }
}

fn hash(password: &str, memory: &mut Memory) -> Result<String, Strange> {
    let salt = &random_bytes()[..Salt::RECOMMENDED_LENGTH];
    let (algorithm, version, params) = (Algorithm::Argon2id, Version::V0x13, Params::default());
    let mut hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(Salt::new(salt)?),
        hash: None,
    };
    let argon2 = Argon2::new(algorithm, version, params);
    hash.hash = Some(output(&argon2, password, salt, Params::DEFAULT_OUTPUT_LEN, memory)?);
    Ok(hash.to_string())
}

fn verify(password: &str, hash: &str, memory: &mut Memory) -> Result<bool, Strange> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash)?);
    // Compared in constant time.
    Ok(output(&argon2, password, salt, expected.len(), memory)? == *expected)
}

fn output(
    argon2: &Argon2<'_>,
    password: &str,
    salt: &[u8],
    length: usize,
    memory: &mut Memory,
) -> Result<Output, Strange> {
    memory.resize(argon2.params().block_count(), Block::default());
    let mut output = vec![0; length];
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, memory)?;
    Ok(Output::new(&output)?)
}

/// Whether a new password will do.
pub fn check_new(password: &str) -> Answer<()> {
    let refuse = |why: String| Err(Problem::invalid(why).field("password"));
    if password.chars().count() < MIN_CHARS {
        return refuse(format!("a password has at least {MIN_CHARS} characters"));
    }
    if password.len() > MAX_BYTES {
        return refuse(format!("a password has at most {MAX_BYTES} bytes"));
    }
    Ok(())
}

/// A password that nobody can guess, easy enough to type once.
#[must_use]
pub fn one_time() -> String {
    // 80 random bits, in letters and digits that are not mistaken for each other.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random_bytes().map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    let groups = letters[..16].chunks(4).map(String::from_iter);
    groups.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[tokio::test]
    async fn passwords_are_verified() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("correct horsf", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("anything", None).await.unwrap());
        assert_ne!(hash, passwords.hash("correct horse").await.unwrap(), "salted");
    }

    #[tokio::test]
    async fn hashes_are_as_others_make_them() {
        let passwords = Passwords::new(1).unwrap();
        let theirs = Argon2::default().hash_password(b"correct horse").unwrap().to_string();
        assert!(passwords.verify("correct horse", Some(&theirs)).await.unwrap());
        assert!(!passwords.verify("correct horsf", Some(&theirs)).await.unwrap());
        let ours = passwords.hash("correct horse").await.unwrap();
        let ours = PasswordHash::new(&ours).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &ours).is_ok());
        // Of other parameters, as those of tomorrow may be.
        let other =
            Argon2::new(Algorithm::Argon2i, Version::V0x10, Params::new(64, 1, 1, None).unwrap());
        let theirs = other.hash_password(b"correct horse").unwrap().to_string();
        assert!(passwords.verify("correct horse", Some(&theirs)).await.unwrap());
        assert!(passwords.verify("correct horse", Some("none")).await.is_err());
    }

    #[tokio::test]
    async fn memory_is_used_again() {
        let passwords = Passwords::new(2).unwrap();
        futures_util::future::join_all((0..20).map(|_| passwords.verify("x", None))).await;
        let memories = passwords.memories.lock().unwrap();
        assert!((1..=2).contains(&memories.len()), "{}", memories.len());
    }

    #[tokio::test]
    async fn the_line_has_an_end() {
        let passwords = Passwords::new(1).unwrap();
        let all = (0..=LINE + 5).map(|_| passwords.verify("x", None));
        let outcomes = futures_util::future::join_all(all).await;
        let crowded = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(crowded, 6);
    }

    #[test]
    fn new_passwords_have_a_length() {
        assert!(check_new("123456789").is_err() && check_new("1234567890").is_ok());
        assert!(check_new("äöüäöüäöüä").is_ok());
        assert!(check_new(&"a".repeat(MAX_BYTES)).is_ok());
        assert!(check_new(&"a".repeat(MAX_BYTES + 1)).is_err());
        let (one, two) = (one_time(), one_time());
        assert!(one != two && one.len() == 19, "{one}");
    }
}
