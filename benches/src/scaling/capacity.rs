//! The capacity of a fleet, computed from what jobs cost: how much it does, how busy it keeps
//! Redis, the database and the store, and which of them is full first.

use std::fmt::Write as _;

use super::costs::{Costs, JobCosts, Work};

/// Sizes of fleets.
const FLEETS: [u32; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
/// Cores of a worker, as in the manifests.
const WORKER_CORES: f64 = 2.0;
/// Redis runs commands on one core, and all keys are on one server.
const REDIS_CORES: f64 = 1.0;
/// Cores of the database's machine.
const SQL_CORES: f64 = 8.0;
/// What passes in a second in each direction of the store's network: 10 Gbit.
const STORE_BYTES: f64 = 1.25e9;
/// Beyond this share of a limit waits grow, and peaks have no room.
const FULL: f64 = 0.7;
/// An API is one core; there are two at least.
const APIS: f64 = 2.0;

/// What a fleet does with jobs of one kind when it is busy all the time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load {
    jobs_per_second: f64,
    /// Shares of the limits.
    redis: f64,
    sql: f64,
    store: f64,
    /// Requests in a second.
    requests: f64,
    api_cores: f64,
}

impl Load {
    fn of(costs: &Costs, job: &JobCosts, database: &str, workers: f64) -> Self {
        let jobs_per_second = workers * WORKER_CORES * 1e3 / job.worker_cpu_ms;
        let api_cores = jobs_per_second * job.api_cpu_ms / 1e3;
        let apis = api_cores.ceil().max(APIS);
        let of = |work: Option<&Work>| work.copied().unwrap_or_default();
        // Who is busy asks less than who waits, which is counted all the same.
        let redis = job.redis.times(jobs_per_second)
            + costs.worker.redis.times(workers)
            + costs.api.redis.times(apis);
        let sql = of(job.sql.get(database)).times(jobs_per_second)
            + of(costs.api.sql.get(database)).times(apis);
        let bytes = job.s3.in_bytes.max(job.s3.out_bytes) * jobs_per_second;
        Self {
            jobs_per_second,
            redis: redis.cpu_ms / 1e3 / REDIS_CORES,
            sql: sql.cpu_ms / 1e3 / SQL_CORES,
            store: bytes / STORE_BYTES,
            requests: job.s3.calls * jobs_per_second,
            api_cores,
        }
    }
}

/// The largest fleet for which something is not full; `None` beyond a million.
fn largest(mut share: impl FnMut(f64) -> f64) -> Option<u32> {
    let (mut fits, mut full) = (0_u32, 1_u32 << 20);
    if share(f64::from(full)) <= FULL {
        return None;
    }
    while full - fits > 1 {
        let middle = fits.midpoint(full);
        if share(f64::from(middle)) <= FULL { fits = middle } else { full = middle }
    }
    Some(fits)
}

/// Tables for each kind of job.
#[must_use]
pub fn tables(costs: &Costs) -> String {
    let mut text = format!(
        "Workers of {WORKER_CORES:.0} cores that are busy all the time. Redis has \
         {REDIS_CORES:.0} core, the database {SQL_CORES:.0},\n\
         the store a network of 10 Gbit/s; beyond {:.0} % (bold) they count as full. Of\n\
         databases, the CPU time is counted, and nothing else: it was measured without waiting\n\
         for a disk (no fsync). Where commits wait for one, they do so before these cores are\n\
         busy, and fewer workers fill the database. Costs of:\n\n{}\n",
        FULL * 100.0,
        costs.source()
    );
    let databases: Vec<&String> = costs.api.sql.keys().collect();
    for job in &costs.jobs {
        let _ = write!(
            text,
            "\n### {}\n\n| workers | jobs/s | hours of sound in an hour |",
            title(&job.name)
        );
        let _ = write!(text, " API cores | Redis % |");
        for name in &databases {
            let _ = write!(text, " {name} % |");
        }
        let _ = writeln!(text, " store: requests/s | network % |");
        let _ = writeln!(text, "|{}", "--:|".repeat(7 + databases.len()));
        for workers in FLEETS {
            push_row(&mut text, costs, job, &databases, workers);
        }
        push_limits(&mut text, costs, job, &databases);
    }
    text
}

fn push_row(text: &mut String, costs: &Costs, job: &JobCosts, databases: &[&String], workers: u32) {
    let load = |database: &str| Load::of(costs, job, database, f64::from(workers));
    let first = load("");
    let hours = first.jobs_per_second * job.audio_seconds;
    let _ = write!(
        text,
        "| {workers} | {} | {} | {:.1} | {} |",
        short(first.jobs_per_second),
        short(hours),
        first.api_cores,
        percent(first.redis)
    );
    for name in databases {
        let _ = write!(text, " {} |", percent(load(name).sql));
    }
    let _ = writeln!(text, " {} | {} |", short(first.requests), percent(first.store));
}

/// Who is full when, the first one first.
fn push_limits(text: &mut String, costs: &Costs, job: &JobCosts, databases: &[&String]) {
    let load = |database: &str, workers| Load::of(costs, job, database, workers);
    let mut limits = vec![
        ("Redis".to_owned(), largest(|workers| load("", workers).redis)),
        ("the store's network".to_owned(), largest(|workers| load("", workers).store)),
    ];
    for name in databases {
        limits.push(((*name).clone(), largest(|workers| load(name, workers).sql)));
    }
    limits.sort_by_key(|(_, workers)| workers.unwrap_or(u32::MAX));
    let limits: Vec<String> = limits
        .into_iter()
        .map(|(name, workers)| match workers {
            Some(workers) => format!("{name} with more than {workers} workers"),
            None => format!("{name} not with a million"),
        })
        .collect();
    let _ = writeln!(text, "\nFull: {}.", limits.join(", "));
}

fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Three digits, or all before the point if there are more.
fn short(number: f64) -> String {
    if number >= 99.95 {
        format!("{number:.0}")
    } else if number >= 9.995 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

fn percent(share: f64) -> String {
    let text =
        if share < 0.1 { format!("{:.1}", share * 1e2) } else { format!("{:.0}", share * 1e2) };
    if share > FULL { format!("**{text}**") } else { text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn costs() -> Costs {
        let sql = |cpu_ms| BTreeMap::from([("SQL".to_owned(), Work { cpu_ms, ..Work::default() })]);
        let job = JobCosts {
            name: "clip".to_owned(),
            audio_seconds: 5.0,
            worker_cpu_ms: 100.0,
            api_cpu_ms: 10.0,
            redis: Work { cpu_ms: 1.0, ..Work::default() },
            s3: Work { calls: 5.0, in_bytes: 1e6, out_bytes: 5e5, ..Work::default() },
            sql: sql(2.0),
            ..JobCosts::default()
        };
        let mut costs = Costs { jobs: vec![job], ..Costs::default() };
        costs.api.sql = sql(0.0);
        costs
    }

    #[test]
    fn loads_are_costs_times_rates() {
        let costs = costs();
        let load = Load::of(&costs, &costs.jobs[0], "SQL", 10.0);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{load:?}");
        close(load.jobs_per_second, 200.0);
        close(load.redis, 0.2);
        close(load.sql, 0.05);
        close(load.store, 0.16);
        close(load.api_cores, 2.0);
        close(load.requests, 1000.0);
    }

    #[test]
    fn the_first_that_is_full_is_named_first() {
        let text = tables(&costs());
        let due = "Full: Redis with more than 35 workers, the store's network with more than 43 \
                   workers, SQL with more than 140 workers.";
        assert!(text.contains(due), "{text}");
        assert!(
            text.contains("| 50 | 1000 | 5000 | 10.0 | **100** | 25 | 5000 | **80** |"),
            "{text}"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.123, 9.99, 9.996, 12.34, 99.94, 99.96, 1234.5];
        let due = ["0.12", "9.99", "10.0", "12.3", "99.9", "100", "1234"];
        assert_eq!(numbers.map(short), due);
    }

    #[test]
    fn what_a_million_does_not_fill_is_said() {
        let mut costs = costs();
        costs.jobs[0].redis = Work::default();
        assert!(tables(&costs).contains("Redis not with a million."));
        assert_eq!(largest(|_| FULL), None);
        assert_eq!(largest(|workers| workers * FULL / 7.0), Some(7));
        assert_eq!(largest(|_| 1.0), Some(0));
    }
}
