//! What the simulation is told of the real thing: what jobs take, and what workers get of their
//! cores, while both workers are busy. Jobs take more CPU time then than one that is alone.

use std::time::{Duration, Instant};

use tonemill_job::{JobId, JobMessage};

use super::{LENGTHS, WORKERS, start};
use crate::error::BenchError;
use crate::place::Place;
use crate::pool::servers::Servers;
use crate::process::Process;
use crate::scaling::simulation::arrivals::Work;

/// Jobs of each length, half of them for each worker.
const JOBS: [usize; 2] = [100, 4];

/// What a worker and its jobs are.
pub(super) struct Learned {
    pub(super) work: Work,
    /// What a film gets of its core, which Redis, the store and measuring use as well.
    pub(super) cores: f64,
}

/// Of workers that have one job at a time.
pub(super) async fn learn(
    servers: &Servers,
    place: &Place,
    inputs: &[JobMessage],
) -> Result<Learned, BenchError> {
    let mut workers = Vec::new();
    for core in 0..WORKERS {
        workers.push(start(servers, place, core, 1, &format!("learn-{core}")).await?);
    }
    // The first jobs make connections.
    batch(servers, &workers, &inputs[0], WORKERS).await?;
    let [clip, clip_lasts] = batch(servers, &workers, &inputs[0], JOBS[0]).await?;
    let [film, film_lasts] = batch(servers, &workers, &inputs[1], JOBS[1]).await?;
    let [short, long] = LENGTHS.map(|(seconds, _)| f64::from(seconds));
    let (second, cores) = ((film - clip) / (long - short), film / film_lasts);
    let latency = (clip_lasts - clip / cores).max(0.0);
    Ok(Learned { work: Work { each: (clip - second * short).max(0.0), second, latency }, cores })
}

/// CPU time of a job, and how long it has a worker to itself, in s.
async fn batch(
    servers: &Servers,
    workers: &[Process],
    input: &JobMessage,
    jobs: usize,
) -> Result<[f64; 2], BenchError> {
    let cpu = || workers.iter().map(Process::cpu_time).sum::<Duration>();
    let (before, started) = (cpu(), Instant::now());
    let job = || JobMessage::new(JobId::new(), input.input.clone());
    servers.queue.enqueue(&(0..jobs).map(|_| job()).collect::<Vec<_>>()).await?;
    servers.ends(jobs).await?;
    let lasts = started.elapsed().as_secs_f64() * workers.len() as f64;
    Ok([cpu().saturating_sub(before).as_secs_f64(), lasts].map(|all| all / jobs as f64))
}
