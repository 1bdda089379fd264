//! Many findings, one verdict: tests that walk over a table tell all that is wrong with it.

/// Collects what is wrong.
#[derive(Default)]
pub struct Verdict(Vec<String>);

impl Verdict {
    /// Notes `finding` about `name` unless `right`.
    pub fn expect(&mut self, right: bool, name: &str, finding: impl FnOnce() -> String) {
        if !right {
            self.0.push(format!("{name}: {}", finding()));
        }
    }

    /// Notes it if two values differ.
    // Most callers have values, and references would only clutter them.
    #[allow(clippy::needless_pass_by_value)]
    pub fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        name: &str,
        what: &str,
        got: T,
        due: T,
    ) {
        self.expect(got == due, name, || format!("{what} is {got:?}, not {due:?}"));
    }

    /// Fails the test if anything was noted.
    #[track_caller]
    pub fn pronounce(self) {
        assert!(self.0.is_empty(), "{} wrong:\n  {}", self.0.len(), self.0.join("\n  "));
    }
}
