//! The stages of an attempt, as spans and metrics: fetch, decode, encode, store.
//!
//! They overlap, and each is many small pieces of work. So each is told once, when the attempt is
//! over: from its first to its last activity, and how much work that was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tonemill_codec::{Period, Timing};
use tonemill_telemetry::trace::{self, KeyValue};

/// Watches a stage that waits for the store. Clones watch the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Option<Activity>>>);

/// What a stage did.
#[derive(Debug, Clone, Copy)]
struct Activity {
    from: SystemTime,
    to: SystemTime,
    /// At work, or waiting for who is.
    busy: Duration,
    bytes: u64,
}

impl Watch {
    /// Something was done since `began`.
    pub(crate) fn worked(&self, began: Instant, bytes: u64) {
        let (to, busy) = (SystemTime::now(), began.elapsed());
        let from = to.checked_sub(busy).unwrap_or(to);
        let mut activity = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let activity =
            activity.get_or_insert(Activity { from, to, busy: Duration::ZERO, bytes: 0 });
        activity.from = activity.from.min(from);
        activity.to = to;
        activity.busy += busy;
        activity.bytes += bytes;
    }

    /// Tells of the stage, if anything was done in it.
    pub(crate) fn tell(&self, stage: &'static str, is_finished: bool) {
        let activity = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Activity { from, to, busy, bytes }) = activity else { return };
        let busy = busy.as_secs_f64();
        let bytes = KeyValue::new("bytes", i64::try_from(bytes).unwrap_or(i64::MAX));
        trace::past(stage, from, to, [KeyValue::new("busy_seconds", busy), bytes]);
        if is_finished {
            measure(stage, busy);
        }
    }
}

/// Tells of the codec's stages. `timing` may come from a child process, which may say anything: no
/// more is believed of it than there can have been since `began`.
pub(crate) fn tell_codec(began: (SystemTime, Instant), timing: &Timing, threads: usize) {
    let (began, longest) = (began.0, began.1.elapsed());
    let at = |seconds: f64| {
        let offset = Duration::try_from_secs_f64(seconds).unwrap_or_default().min(longest);
        began.checked_add(offset).unwrap_or(began)
    };
    let cpu_limit = longest.as_secs_f64() * (threads + 2) as f64;
    let believed = |cpu: f64| cpu.clamp(0.0, cpu_limit);
    let decode = believed(timing.decode_cpu_seconds + timing.convert_cpu_seconds);
    let encode = believed(timing.encode_cpu_seconds);
    for (stage, Period { start_seconds, end_seconds }, busy) in
        [("decode", timing.decode, decode), ("encode", timing.encode, encode)]
    {
        let (from, to) = (at(start_seconds), at(end_seconds.max(start_seconds)));
        trace::past(stage, from, to, [KeyValue::new("busy_seconds", busy)]);
        measure(stage, busy);
    }
    let cpu = believed(decode + encode + timing.write_cpu_seconds);
    metrics::histogram!("tonemill_job_cpu_seconds").record(cpu);
}

fn measure(stage: &'static str, busy: f64) {
    metrics::histogram!("tonemill_stage_duration_seconds", "stage" => stage).record(busy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_lasts_from_its_first_to_its_last_activity() {
        let watch = Watch::default();
        let now = Instant::now();
        watch.worked(now.checked_sub(Duration::from_secs(2)).unwrap(), 5);
        watch.clone().worked(now.checked_sub(Duration::from_secs(7)).unwrap(), 6);
        watch.worked(now, 7);
        let Activity { from, to, busy, bytes } = watch.0.lock().unwrap().unwrap();
        let lasted = to.duration_since(from).unwrap().as_secs_f64();
        assert!((7.0..8.0).contains(&lasted), "{lasted}");
        assert!((9.0..10.0).contains(&busy.as_secs_f64()), "{busy:?}");
        assert_eq!(bytes, 18);
    }

    #[test]
    fn no_timing_is_too_strange() {
        for seconds in [f64::MAX, f64::MIN, f64::INFINITY, f64::NAN, -1.0] {
            let period = Period { start_seconds: seconds, end_seconds: -seconds };
            let timing = Timing {
                wall_seconds: seconds,
                decode_cpu_seconds: seconds,
                convert_cpu_seconds: seconds,
                encode_cpu_seconds: seconds,
                write_cpu_seconds: seconds,
                decode: period,
                encode: period,
            };
            tell_codec((SystemTime::now(), Instant::now()), &timing, 2);
        }
    }
}
