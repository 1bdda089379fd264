//! Every metric, on one page. What is counted anywhere has a row here, or the tests that ask
//! running processes fail; `docs/watching.md` has the same rows.
//!
//! Names and units are Prometheus' own: seconds and bytes, `_total` for what only grows. The values
//! of every label are a closed set, whatever clients send.

use metrics::Unit;

/// What a process consists of: it has the metrics of its components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Any process.
    Process,
    /// The API.
    Api,
    /// Dispatcher, recorder, reconciler and sweeper, and the ledger that they look at.
    Books,
    /// Queue and store.
    Backends,
    /// A worker.
    Worker,
    /// What sends notifications.
    Notifier,
}

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Observations, counted by these upper bounds.
    Histogram(&'static [f64]),
}

/// What tells the series of a family apart.
#[derive(Debug, Clone, Copy)]
pub struct LabelNames {
    /// Its name.
    pub name: &'static str,
    /// All values that it can have; none where the code has too many of them to list here.
    pub values: &'static [&'static str],
}

/// A metric, with all its series.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub component: Component,
    /// What kind of number it is.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [LabelNames],
    /// What it means, in a line.
    pub help: &'static str,
}

/// Calls to a server nearby.
const CALLS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What people wait for: requests, jobs, and what they are made of.
const WORK: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];
/// The lengths of what is converted.
const LENGTHS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0];

const fn label(name: &'static str, values: &'static [&'static str]) -> LabelNames {
    LabelNames { name, values }
}

const LANE: LabelNames = label("lane", &["high", "normal", "low"]);
const CHANNEL: LabelNames = label("channel", &["mail", "webhook"]);
const OPERATION: LabelNames = label("operation", &[]);
const ROUTE: LabelNames = label("route", &[]);
/// How an attempt ended.
const OUTCOME: LabelNames = label(
    "outcome",
    &[
        "finished",
        "bad_input",
        "limit_exceeded",
        "transient",
        "crash",
        "bug",
        "cancelled",
        "released",
        "lost",
        "hung",
    ],
);
const FAILURE: LabelNames =
    label("failure", &["none", "bad_input", "limit_exceeded", "transient", "crash", "bug"]);

/// The rows of one component, in a form that fits on a page.
macro_rules! families {
    ($($component:ident { $($kind:ident $name:literal $([$($label:expr),*])? = $help:literal;)* })*) => {
        /// All of them.
        pub const FAMILIES: &[Family] = &[$($(Family {
            name: $name,
            component: Component::$component,
            kind: kind::$kind,
            labels: &[$($($label),*)?],
            help: $help,
        },)*)*];
    };
}

/// The kinds, as the rows call them.
#[allow(non_upper_case_globals, reason = "they read as words in the rows")]
mod kind {
    use super::{CALLS, Kind, LENGTHS, WORK};

    pub(super) const counter: Kind = Kind::Counter;
    pub(super) const gauge: Kind = Kind::Gauge;
    pub(super) const calls: Kind = Kind::Histogram(CALLS);
    pub(super) const work: Kind = Kind::Histogram(WORK);
    pub(super) const lengths: Kind = Kind::Histogram(LENGTHS);
}

families! {
    Process {
        gauge "tonemill_build_info" [label("version", &[])] = "1, with the version";
        counter "tonemill_trace_exports_total" [label("outcome", &["ok", "failed"])]
            = "Batches of spans that were sent to the collector";
    }
    Api {
        counter "tonemill_http_requests_total" [ROUTE, label("method", &[]), label("status", &[])]
            = "Requests that were answered";
        work "tonemill_http_request_duration_seconds" [ROUTE]
            = "From the head of a request to the head of its answer";
        gauge "tonemill_http_connections" = "Open connections";
        counter "tonemill_http_connections_refused_total" [label("reason", &["address"])]
            = "Connections of an address that has too many";
        counter "tonemill_http_connections_cut_total" [label("reason", &[
            "closing", "handshake", "header", "shutdown", "stream_stall", "write_stall"])]
            = "Connections and streams whose client used up its time";
        counter "tonemill_http_bodies_too_slow_total" = "Request bodies that came too slowly";
        counter "tonemill_http_tls_errors_total" = "TLS handshakes that failed";
        counter "tonemill_http_accept_errors_total"
            = "Connections that could not be accepted, mostly for want of descriptors";
        gauge "tonemill_tls_certificate_expiry_timestamp_seconds"
            = "When the certificate in use expires";
        counter "tonemill_uploads_total" [
            label("way", &["body", "form", "tus", "direct"]),
            label("outcome", &["accepted", "refused", "failed"])]
            = "Uploads that became jobs, were refused (the client's doing) or failed (ours)";
        counter "tonemill_upload_bytes_total" = "Bytes of whole uploads that came past the API";
        counter "tonemill_jobs_accepted_total" [LANE] = "Jobs that were accepted";
        counter "tonemill_logins_total" [label("outcome", &["ok", "refused", "throttled"])]
            = "Log-ins by password";
        counter "tonemill_quota_refusals_total" [label("quota", &["jobs", "bytes", "minutes"])]
            = "Requests that a quota had no room for";
    }
    Books {
        gauge "tonemill_jobs" [label("state", &["waiting", "queued", "running"]), LANE]
            = "Unfinished jobs, by the ledger";
        gauge "tonemill_jobs_oldest_waiting_seconds" [LANE]
            = "How long the first of the jobs that wait to be dispatched has waited";
        gauge "tonemill_users_waiting" = "Users with jobs that wait to be dispatched";
        gauge "tonemill_stored_bytes" = "Uploads and outputs of all users, by the ledger";
        counter "tonemill_jobs_dispatched_total" [LANE] = "Jobs that were put into the queue";
        work "tonemill_dispatch_wait_seconds" [LANE]
            = "From a job's acceptance to its first way into the queue";
        counter "tonemill_jobs_ended_total" [
            label("state", &["finished", "failed", "cancelled"]), FAILURE, LANE]
            = "Jobs that are over";
        work "tonemill_job_duration_seconds" [LANE] = "From a job's acceptance to its end";
        counter "tonemill_recorder_events_total" [label("event", &[
            "started", "retrying", "finished", "failed", "cancelled", "other"])]
            = "Events of workers that were recorded";
        work "tonemill_recorder_lag_seconds"
            = "From an event to its record, by the clocks of both";
        gauge "tonemill_deliveries_owed" [CHANNEL] = "Notifications that are owed, by the ledger";
        gauge "tonemill_deliveries_oldest_owed_seconds" [CHANNEL]
            = "Age of the notification that is owed for the longest time";
        counter "tonemill_requeued_jobs_total" = "Jobs that the queue had lost";
        counter "tonemill_swept_objects_total" = "Objects that were removed from the store";
        gauge "tonemill_sweep_last_success_timestamp_seconds"
            = "When the last sweep ended that left nothing undone";
    }
    Backends {
        gauge "tonemill_queue_waiting" [LANE] = "Jobs in the queue that wait for a worker";
        gauge "tonemill_queue_running" [LANE] = "Jobs under a lease";
        gauge "tonemill_queue_oldest_seconds" [LANE] = "Age of the oldest job that waits in the queue";
        gauge "tonemill_queue_delayed" = "Jobs in the queue that are to be tried again later";
        gauge "tonemill_queue_events" = "Events that are not recorded yet";
        gauge "tonemill_queue_workers" = "Workers that have a job or had one lately";
        calls "tonemill_redis_call_duration_seconds" [OPERATION] = "How long Redis takes to answer";
        gauge "tonemill_redis_memory_used_bytes" = "Memory that Redis uses";
        gauge "tonemill_redis_memory_limit_bytes" = "Memory that Redis may use; 0: as much as there is";
        calls "tonemill_s3_call_duration_seconds" [OPERATION, label("outcome", &["ok", "error"])]
            = "How long the S3 server takes to answer, each try by itself";
        gauge "tonemill_disk_free_bytes" [label("folder", &["data", "store"])]
            = "What is free on the disk of a folder";
        gauge "tonemill_disk_size_bytes" [label("folder", &["data", "store"])]
            = "The size of that disk";
    }
    Worker {
        counter "tonemill_attempts_total" [OUTCOME] = "Attempts at jobs that ended";
        work "tonemill_attempt_duration_seconds" [OUTCOME] = "From a job's receipt to its settlement";
        work "tonemill_stage_duration_seconds" [label("stage", &[
            "fetch", "decode", "encode", "store"])]
            = "What a finished job's stage was at work: fetch and store by the wall clock, decode and \
               encode in CPU time";
        work "tonemill_isolated_attempt_duration_seconds" = "Attempts in a process of their own";
        gauge "tonemill_jobs_running" = "Jobs that run here";
        gauge "tonemill_permits" = "Jobs that may run here at a time";
        gauge "tonemill_permits_free" = "Room for more of them";
        gauge "tonemill_encoder_threads" = "Threads that encode";
        counter "tonemill_leases_lost_total" = "Leases that others took";
        counter "tonemill_receive_errors_total" = "Calls for a job that failed";
        counter "tonemill_store_read_bytes_total" = "Bytes of uploads that were read";
        counter "tonemill_store_written_bytes_total" = "Bytes of outputs that were written";
        lengths "tonemill_job_audio_seconds" = "Audio of finished jobs";
        work "tonemill_job_cpu_seconds" = "CPU time that the codec took for finished jobs";
    }
    Notifier {
        counter "tonemill_delivery_attempts_total" [
            CHANNEL, label("outcome", &["delivered", "failed", "dead"])]
            = "Attempts to notify somebody: failed ones are made again, dead ones were the last";
        work "tonemill_delivery_duration_seconds" [CHANNEL]
            = "How long an attempt to notify somebody took";
    }
}

impl Family {
    /// What it is counted in, which its name says at its end.
    #[must_use]
    pub fn unit(&self) -> Option<Unit> {
        let name = self.name.strip_suffix("_total");
        match name.unwrap_or(self.name).rsplit('_').next() {
            Some("seconds") => Some(Unit::Seconds),
            Some("bytes") => Some(Unit::Bytes),
            _ => name.map(|_| Unit::Count),
        }
    }

    /// Its row in the table of `docs/watching.md`.
    #[must_use]
    pub fn row(&self) -> String {
        let labels: Vec<&str> = self.labels.iter().map(|label| label.name).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        format!("| `{}{labels}` | {kind} | {} |", self.name, self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_there_once() {
        for (at, family) in FAMILIES.iter().enumerate() {
            let name = family.name;
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_3".contains(&byte)),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            let is_histogram = matches!(family.kind, Kind::Histogram(_));
            assert!(!is_histogram || family.unit() == Some(Unit::Seconds), "{name}");
            assert!(
                !FAMILIES[..at].iter().any(|other| other.name == name),
                "{name} is there twice"
            );
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted_by(|one, next| one < next), "{name}");
            }
        }
    }

    #[test]
    fn the_documents_have_the_same_rows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
        let page = std::fs::read_to_string(path).expect("docs/watching.md");
        let told: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| `tonemill_")).collect();
        let due: Vec<String> = FAMILIES.iter().map(Family::row).collect();
        assert_eq!(told, due, "the rows should be:\n{}", due.join("\n"));
    }
}
