//! The tables of what jobs cost.

use std::fmt::Write as _;

use super::{Found, WAITING, jobs_of};
use crate::scaling::costs::Work;
use crate::service::Options;

impl Found {
    pub(super) fn section(&self, options: &Options) -> String {
        let mut text = introduction(options);
        self.push_jobs(&mut text);
        self.push_core(&mut text);
        self.push_calls(&mut text);
        self.push_idle(&mut text);
        text
    }

    fn push_jobs(&self, text: &mut String) {
        for (database, what, rate) in &self.rates {
            let Some(job) = self.costs.jobs.iter().find(|job| job.name == *what) else { continue };
            let sql = job.sql.get(*database).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "| {what} | {database} | {rate:.2} | {:.1} | {:.2} | {} | {:.2} | {} |",
                job.worker_cpu_ms,
                job.api_cpu_ms,
                calls(job.redis),
                job.s3.cpu_ms,
                calls(sql)
            );
        }
    }

    /// What follows for one core.
    fn push_core(&self, text: &mut String) {
        text.push_str(
            "\nA core of a worker, by its CPU time; and what a clip that is alone takes beside that, from\n\
             the answer to its upload to the event of its end.\n\n\
             | job | jobs/s | hours of sound in an hour | ms beside CPU time |\n|---|--:|--:|--:|\n",
        );
        for job in &self.costs.jobs {
            let rate = 1e3 / job.worker_cpu_ms;
            let hours = rate * job.audio_seconds;
            let latency =
                if job.latency_ms > 0.0 { format!("{:.1}", job.latency_ms) } else { String::new() };
            let _ = writeln!(text, "| {} | {rate:.2} | {hours:.0} | {latency} |", job.name);
        }
    }

    fn push_calls(&self, text: &mut String) {
        text.push_str(
            "\nWhat Redis is asked, commands within scripts included, and the store (by a proxy before it),\n\
             of API and workers together, for one job.\n\n\
             | job | Redis: commands | bytes in, out | the store: requests | bytes in, out |\n\
             |---|---|--:|---|--:|\n",
        );
        for ((job, asked), requests) in self.costs.jobs.iter().zip(&self.asked).zip(&self.requests)
        {
            let bytes = |work: Work| format!("{:.0}, {:.0}", work.in_bytes, work.out_bytes);
            let (redis, s3) = (bytes(job.redis), bytes(job.s3));
            let _ = writeln!(text, "| {} | {asked} | {redis} | {requests} | {s3} |", job.name);
        }
    }

    fn push_idle(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\nA second without jobs: of an API, and of one of {WAITING} workers that wait.\n\n\
             | who | CPU ms | Redis ms, commands (scripts) | SQL ms, statements (transactions) |\n\
             |---|--:|--:|---|"
        );
        let (api, worker) = (&self.costs.api, &self.costs.worker);
        let sql: Vec<String> =
            api.sql.iter().map(|(name, work)| format!("{name}: {}", calls(*work))).collect();
        for (who, idle, sql) in [("API", api, sql.join("; ")), ("worker", worker, String::new())] {
            let _ =
                writeln!(text, "| {who} | {:.2} | {} | {sql} |", idle.cpu_ms, calls(idle.redis));
        }
        text.push('\n');
    }
}

fn introduction(options: &Options) -> String {
    format!(
        "## Costs\n\nOne `tonemill api`, one `tonemill worker` (`--threads 2 --jobs 8`), Redis, s3s-fs, a\n\
         database that does not wait for its disk. A job is an upload over HTTP, its conversion, one\n\
         look at it and the download of its MP3. All MP3s of a kind are equal, and sound as what\n\
         `tonemill convert` makes: {} clips of each length, {} videos. What an idle API costs\n\
         meanwhile is not in it. CPU times are the kernel's counts, calls the servers' own. jobs/s is\n\
         what everything together does on this machine.\n\n\
         | job | database | jobs/s | worker ms | API ms | Redis ms, commands (scripts) | S3 ms \
         | SQL ms, statements (transactions) |\n|---|---|--:|--:|--:|--:|--:|--:|\n",
        options.cost_jobs,
        jobs_of(u32::MAX, options)
    )
}

fn calls(work: Work) -> String {
    format!("{:.2}, {:.1} ({:.1})", work.cpu_ms, work.calls, work.groups)
}
