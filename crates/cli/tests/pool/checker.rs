//! Proves, or refutes, after whatever was done to the workers: every job ended once; each that was
//! to succeed has one output, the bytes of an undisturbed conversion; and nothing is left in Redis
//! or in the bucket that does not belong there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use tonemill_job::{JobId, ObjectKey};

use crate::arena::{Arena, LEASE};
use crate::recorder::End;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub violations: Vec<String>,
    /// Outputs that nobody was told of, which a sweep would remove: the price of a killed worker.
    pub swept: usize,
    /// Attempts that were started beyond one per job.
    pub extra_attempts: u32,
}

impl Verdict {
    /// Panics with all that is wrong.
    #[track_caller]
    pub fn assert_sound(&self, arena: &Arena) {
        if self.violations.is_empty() {
            return;
        }
        let mut text = self.violations.join("\n");
        let _ = write!(text, "\n\nlogs:\n{}", arena.log());
        panic!("{text}");
    }
}

impl Arena {
    /// Checks everything. `alive` workers may be running, idle.
    pub async fn check(&self, alive: u64) -> Verdict {
        self.check_with(alive, &[]).await
    }

    /// As [`check`](Self::check), where the jobs in `lost` were to fail.
    pub async fn check_with(&self, alive: u64, lost: &[JobId]) -> Verdict {
        let mut verdict = Verdict::default();
        self.wait().await;
        self.check_redis(alive, &mut verdict).await;
        let outputs = self.bucket().outputs().await;
        for job in self.jobs.keys() {
            self.check_job(*job, lost.contains(job), &outputs, &mut verdict).await;
        }
        for job in outputs.keys().filter(|job| !self.jobs.contains_key(job)) {
            verdict.violations.push(format!("an output of {job}, which nobody submitted"));
        }
        for upload in self.bucket().unfinished().await {
            verdict.violations.push(format!("an unfinished upload: {upload}"));
        }
        verdict
    }

    async fn check_job(
        &self,
        job: JobId,
        is_lost: bool,
        outputs: &BTreeMap<JobId, Vec<ObjectKey>>,
        verdict: &mut Verdict,
    ) {
        let record = self.recorder.book().jobs.get(&job).cloned().unwrap_or_default();
        verdict.extra_attempts += (record.started_ms.len() as u32).saturating_sub(1);
        let [end] = &record.ends[..] else {
            verdict.violations.push(format!("{job} ended {} times: {record:?}", record.ends.len()));
            return;
        };
        let visible = outputs.get(&job).map_or(&[][..], Vec::as_slice);
        let clip = &self.jobs[&job];
        let attempts = record.attempts as usize;
        if visible.len() > attempts {
            verdict.violations.push(format!("{job} has {} outputs of {attempts}", visible.len()));
        }
        match end {
            End::Finished(_) if is_lost => {
                verdict.violations.push(format!("{job} ({}) was to fail", clip.name));
            }
            End::Finished(finished) => {
                verdict.swept += visible.iter().filter(|key| **key != finished.output).count();
                let bytes = self.bucket().read(&finished.output).await;
                if bytes.as_deref() != Some(&clip.reference[..]) {
                    let found =
                        bytes.map_or("missing".to_owned(), |b| format!("{} bytes", b.len()));
                    let name = clip.name;
                    verdict
                        .violations
                        .push(format!("the output of {job} ({name}) differs: {found}"));
                }
            }
            End::Failed(_) | End::Cancelled if is_lost => verdict.swept += visible.len(),
            other => verdict.violations.push(format!("{job} did not succeed: {other:?}")),
        }
    }

    /// Nothing waits, nothing runs, nobody is there who is dead. The dead are swept within a few
    /// leases, by the living.
    async fn check_redis(&self, alive: u64, verdict: &mut Verdict) {
        let end = Instant::now() + LEASE * 8;
        loop {
            let depth = self.queue.depth().await.expect("a depth");
            let lanes = depth.lanes.iter().map(|lane| lane.waiting + lane.running).sum::<u64>();
            let left = lanes + depth.delayed + depth.events;
            if left == 0 && (depth.workers <= alive) {
                return;
            }
            if Instant::now() > end {
                verdict.violations.push(format!("left in Redis: {depth:?}"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
