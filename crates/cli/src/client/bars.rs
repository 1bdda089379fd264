//! Progress on a terminal: a bar for each file on its way up, through its job, and down.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};

use crate::client::job::Job;
use crate::progress::{on_terminal, style};
use crate::text::clock;

const BYTES: &str = "{prefix:30!} {msg:4} {percent:>3}% {wide_bar} {binary_bytes}/{binary_total_bytes} \
    {binary_bytes_per_sec} {eta} left";
const PARTS: &str = "{prefix:30!} mp3  {percent:>3}% {wide_bar} {msg}";
const WORDS: &str = "{prefix:30!} {spinner} {msg}";

/// All bars of a run; draws nothing unless standard error is a terminal.
#[derive(Debug, Clone)]
pub struct Bars(MultiProgress);

/// The bar of one file. Removed when dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bars {
    /// Bars; hidden if not `wanted`.
    pub fn new(wanted: bool) -> Self {
        Self(on_terminal(wanted))
    }

    /// Starts the bar of one file.
    pub fn file(&self, name: impl Into<Cow<'static, str>>) -> Bar {
        let bar = self.0.add(ProgressBar::no_length());
        bar.set_style(style(WORDS));
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(250));
        Bar(bar)
    }

    /// Prints a line above the bars, or plainly where there are none.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Bar {
    /// `bytes` are to go up or down, `done` of them before.
    pub fn begin_bytes(&self, what: &'static str, bytes: u64, done: u64) {
        self.0.set_style(style(BYTES));
        self.0.set_message(what);
        self.0.set_length(bytes);
        self.0.set_position(done);
        // Else what was there before counts as speed.
        self.0.reset_eta();
    }

    /// So many bytes are there.
    pub fn set_bytes(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So many more are on their way.
    pub fn add_bytes(&self, more: u64) {
        self.0.inc(more);
    }

    /// What it is called, once that is known.
    pub fn set_name(&self, name: String) {
        self.0.set_prefix(name);
    }

    /// How a job is.
    pub fn job(&self, job: &Job) {
        let progress = job.progress.clone().unwrap_or_default();
        if let Some(percent) = progress.percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            self.0.set_style(style(PARTS));
            self.0.set_length(1000);
            self.0.set_position((percent * 10.0) as u64);
            let left = progress.eta_seconds.filter(|eta| eta.is_finite());
            let left = left.map(|eta| format!("{} left", clock(eta)));
            self.0.set_message(left.unwrap_or_default());
        } else {
            self.0.set_style(style(WORDS));
            let words = match job.progress_shown() {
                shown if shown.is_empty() => job.state.clone(),
                shown => format!("{}, {shown}", job.state),
            };
            self.0.set_message(crate::text::plain(&words));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
