//! Progress on a terminal: a bar per running file and one for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tonemill_job::message::Progress;

use crate::text::clock;

/// All bars of a run; draws nothing unless standard error is a terminal.
pub struct Bars {
    all: MultiProgress,
    total: Option<Total>,
}

/// The bar of all files.
#[derive(Clone)]
struct Total {
    bar: ProgressBar,
    started: Instant,
    /// Of all files so far, in milliseconds of audio.
    encoded_ms: Arc<AtomicU64>,
}

/// The bar of one file. Removed when dropped.
pub struct FileBar {
    bar: ProgressBar,
    started: Instant,
    encoded_ms: u64,
    total: Option<Total>,
}

impl Bars {
    /// Bars for `files`; hidden if not `wanted`.
    pub fn new(files: usize, wanted: bool) -> Self {
        let all = on_terminal(wanted);
        let total = (files > 1).then(|| {
            let bar = all.add(ProgressBar::new(files as u64));
            bar.set_style(style("{pos}/{len} files {wide_bar} {msg}"));
            Total { bar, started: Instant::now(), encoded_ms: Arc::default() }
        });
        Self { all, total }
    }

    /// Starts the bar of one file.
    pub fn file(&self, name: &str) -> FileBar {
        let bar = ProgressBar::no_length();
        let bar = match &self.total {
            Some(total) => self.all.insert_before(&total.bar, bar),
            None => self.all.add(bar),
        };
        bar.set_style(style("{prefix:30!} {spinner} {msg}"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        FileBar { bar, started: Instant::now(), encoded_ms: 0, total: self.total.clone() }
    }

    /// Counts a file that has ended.
    pub fn file_ended(&self) {
        if let Some(total) = &self.total {
            total.bar.inc(1);
        }
    }

    /// Prints a line above the bars, or plainly where there are none.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }
}

impl FileBar {
    pub fn update(&mut self, progress: &Progress) {
        let encoded_ms = (progress.encoded_seconds * 1000.0) as u64;
        if let Some(total) = &self.total {
            total.add(encoded_ms.saturating_sub(self.encoded_ms));
        }
        self.encoded_ms = encoded_ms;
        let speed = speed(progress.encoded_seconds, self.started);
        let done = clock(progress.encoded_seconds);
        match progress.declared_seconds.filter(|s| *s > 0.0) {
            Some(declared) => {
                if self.bar.length().is_none() {
                    self.bar
                        .set_style(style("{prefix:30!} {percent:>3}% {wide_bar} {msg} {eta} left"));
                }
                self.bar.set_length(declared.max(progress.encoded_seconds).ceil() as u64);
                self.bar.set_position(progress.encoded_seconds as u64);
                self.bar.set_message(format!("{done}/{} {speed}", clock(declared)));
            }
            None => self.bar.set_message(format!("{done} {speed}")),
        }
    }
}

impl Total {
    fn add(&self, encoded_ms: u64) {
        let sum_ms = encoded_ms + self.encoded_ms.fetch_add(encoded_ms, Ordering::Relaxed);
        self.bar.set_message(speed(sum_ms as f64 / 1000.0, self.started));
    }
}

impl Drop for FileBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn speed(audio_seconds: f64, since: Instant) -> String {
    format!("{:.0}x", audio_seconds / since.elapsed().as_secs_f64().max(0.001))
}

/// Room for bars on standard error, if that is a terminal; hidden if not `wanted`.
pub fn on_terminal(wanted: bool) -> MultiProgress {
    // indicatif draws only if its target is a terminal.
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
}

pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
