//! Faults on command, so that tests see what becomes of a step that fails, dies or never ends.
//!
//! `TONEMILL_FAULTS` names steps and what they do: `decode=segv;encode=sleep:500@nth:3`. An action
//! may have a number after a colon; conditions follow it, each with an `@`, and all must hold:
//! `nth:N` (the N-th time this process comes by), `odds:P` (in so many of 100 times), or a fact of
//! the step, such as `bytes:12345`. Without the feature `faults` nothing of this exists.
//!
//! The crate `fail` has counts and odds but neither these actions nor facts, and reads a variable
//! that libraries share: what it would leave to write here is nearly all of this.

/// The variable that names the faults.
#[cfg(feature = "faults")]
pub(crate) const VARIABLE: &str = "TONEMILL_FAULTS";

/// A step at which things may go wrong, with the facts that a fault may depend on.
#[cfg(not(feature = "faults"))]
#[inline]
#[allow(clippy::unnecessary_wraps, reason = "it fails with the feature")]
pub(crate) fn point(_step: &str, _facts: &[(&str, u64)]) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
pub(crate) use armed::point;

#[cfg(feature = "faults")]
mod armed {
    use std::io;
    use std::process;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    #[derive(Debug, PartialEq)]
    enum Action {
        Segv,
        Abort,
        Kill,
        Spin,
        Oom,
        Error,
        Panic,
        Exit(u64),
        Sleep(u64),
    }

    #[derive(Debug, PartialEq)]
    enum Condition {
        Nth(u64),
        OddsInHundred(u64),
        Fact(String, u64),
    }

    #[derive(Debug)]
    struct Fault {
        step: String,
        action: Action,
        conditions: Vec<Condition>,
        passed: AtomicU64,
    }

    /// A step at which things may go wrong, with the facts that a fault may depend on.
    ///
    /// Panics, besides on command, if the faults are misspelt: a test that asks for none would
    /// pass.
    pub(crate) fn point(step: &str, facts: &[(&str, u64)]) -> io::Result<()> {
        static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();
        let faults = FAULTS.get_or_init(|| {
            let text = std::env::var(super::VARIABLE).unwrap_or_default();
            parse(&text).unwrap_or_else(|| panic!("not understood: {}={text}", super::VARIABLE))
        });
        let mut due = faults.iter().filter(|fault| fault.step == step && fault.is_due(facts));
        due.try_for_each(|fault| fault.action.perform(step))
    }

    fn parse(text: &str) -> Option<Vec<Fault>> {
        text.split(';').filter(|fault| !fault.is_empty()).map(Fault::parse).collect()
    }

    impl Fault {
        fn parse(text: &str) -> Option<Self> {
            let (step, rest) = text.split_once('=')?;
            let mut parts = rest.split('@');
            let action = Action::parse(parts.next()?)?;
            let conditions = parts.map(Condition::parse).collect::<Option<_>>()?;
            Some(Self { step: step.to_owned(), action, conditions, passed: AtomicU64::new(0) })
        }

        fn is_due(&self, facts: &[(&str, u64)]) -> bool {
            let passed = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
            self.conditions.iter().all(|condition| match condition {
                Condition::Nth(nth) => passed == *nth,
                Condition::OddsInHundred(odds) => fastrand::u64(..100) < *odds,
                Condition::Fact(name, value) => facts.contains(&(name, *value)),
            })
        }
    }

    impl Action {
        fn parse(text: &str) -> Option<Self> {
            let (name, number) = match text.split_once(':') {
                Some((name, number)) => (name, Some(number.parse().ok()?)),
                None => (text, None),
            };
            Some(match (name, number) {
                ("segv", None) => Self::Segv,
                ("abort", None) => Self::Abort,
                ("kill", None) => Self::Kill,
                ("spin", None) => Self::Spin,
                ("oom", None) => Self::Oom,
                ("error", None) => Self::Error,
                ("panic", None) => Self::Panic,
                ("exit", Some(code)) => Self::Exit(code),
                ("sleep", Some(ms)) => Self::Sleep(ms),
                _ => return None,
            })
        }

        fn perform(&self, step: &str) -> io::Result<()> {
            match self {
                Self::Segv => die(Signal::SEGV),
                Self::Kill => die(Signal::KILL),
                Self::Abort => process::abort(),
                Self::Spin => loop {
                    std::hint::spin_loop();
                },
                Self::Oom => {
                    let mut hoard = Vec::new();
                    loop {
                        hoard.push(vec![1_u8; 1 << 20]);
                    }
                }
                Self::Error => return Err(io::Error::other(format!("fault at {step}"))),
                Self::Panic => panic!("fault at {step}"),
                Self::Exit(code) => process::exit(i32::try_from(*code).unwrap_or(i32::MAX)),
                Self::Sleep(ms) => sleep(Duration::from_millis(*ms)),
            }
            Ok(())
        }
    }

    /// Dies of `signal`. Rust's own handler lets the first SIGSEGV that nothing caused pass.
    fn die(signal: Signal) -> ! {
        loop {
            let _ = kill_process(getpid(), signal);
        }
    }

    impl Condition {
        fn parse(text: &str) -> Option<Self> {
            let (name, value) = text.split_once(':')?;
            let value = value.parse().ok()?;
            Some(match name {
                "nth" => Self::Nth(value),
                "odds" => Self::OddsInHundred(value),
                fact => Self::Fact(fact.to_owned(), value),
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn faults_are_understood() {
            let faults = parse("decode=segv@bytes:12;encode=sleep:5@nth:2@odds:100;").unwrap();
            assert_eq!(faults.len(), 2);
            assert_eq!(faults[0].action, Action::Segv);
            assert!(faults[0].is_due(&[("bytes", 12)]) && !faults[0].is_due(&[("bytes", 13)]));
            assert_eq!(faults[1].action, Action::Sleep(5));
            assert!(!faults[1].is_due(&[]) && faults[1].is_due(&[]) && !faults[1].is_due(&[]));
        }

        #[test]
        fn what_is_misspelt_is_refused() {
            for wrong in ["decode", "decode=", "decode=boom", "decode=sleep", "decode=segv@x"] {
                assert!(parse(wrong).is_none(), "{wrong}");
            }
        }

        #[test]
        fn odds_of_none_never_come_true() {
            let never = Fault::parse("decode=error@odds:0").unwrap();
            assert!((0..1000).all(|_| !never.is_due(&[])));
        }
    }
}
