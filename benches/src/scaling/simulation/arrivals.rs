//! Users: when they come, and with what.

use fastrand::Rng;

use crate::scaling::costs::Costs;

/// A job that comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// When, in s.
    pub at: f64,
    /// Whose it is.
    pub user: u32,
    /// What it takes of a core, in s.
    pub work: f64,
    /// Parts that are encoded each by itself: it can use as many cores at a time.
    pub segments: f64,
    /// What it takes beside its work, in s.
    pub latency: f64,
}

/// What jobs take, by the length of their sound.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Of every job, in s of a core.
    pub each: f64,
    /// Of a second of sound, in s of a core.
    pub second: f64,
    /// Beside that, in s.
    pub latency: f64,
}

/// Sound that is encoded at once, in s: 512 frames at 44.1 kHz.
const SEGMENT_SECONDS: f64 = 512.0 * 1152.0 / 44100.0;

impl Work {
    /// As it was measured.
    #[must_use]
    pub fn measured(costs: &Costs) -> Self {
        let (each, second) = costs.line();
        let latency = costs.jobs.iter().map(|job| job.latency_ms).find(|ms| *ms > 0.0);
        Self { each: each / 1e3, second: second / 1e3, latency: latency.unwrap_or(0.0) / 1e3 }
    }

    /// A job with so many seconds of sound.
    #[must_use]
    pub fn job(&self, at: f64, user: u32, sound: f64) -> Arrival {
        let segments = (sound / SEGMENT_SECONDS).ceil().max(1.0);
        let work = self.each + self.second * sound;
        Arrival { at, user, work, segments, latency: self.latency }
    }
}

const DAY: f64 = 86_400.0;
/// Three jobs in four are clips, of half a minute on average; the others have half an hour in the
/// middle, and some have hours.
const CLIPS: f64 = 0.75;
const CLIP_SECONDS: f64 = 30.0;
const FILM_SECONDS: f64 = 1800.0;
const FILM_SPREAD: f64 = 0.7;
const LONGEST: f64 = 4.0 * 3600.0;

/// A day's pattern: a Poisson process with its most at two in the afternoon, a fifth of the mean at
/// its least, and now and then somebody who brings many at once.
#[derive(Debug, Clone)]
pub struct Pattern {
    work: Work,
    /// Jobs in a second, over a day.
    mean: f64,
    users: u32,
    /// Jobs that come at once, and how often in a day.
    crowd: u32,
    crowds_a_day: f64,
    /// When it is over, in s.
    end: f64,
    at: f64,
    left: u32,
    random: Rng,
}

impl Pattern {
    /// What keeps so many cores busy on average, from `start` to `end` in s after midnight. One
    /// job in twenty comes in a crowd.
    #[must_use]
    pub fn new(work: Work, cores: f64, start: f64, end: f64, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let sample: f64 = (0..100_000).map(|_| work.job(0.0, 0, sound(&mut random)).work).sum();
        let mean = cores / (sample / 1e5);
        // As much as everybody brings in half a minute.
        let crowd = (mean * 30.0).ceil().max(5.0);
        let crowds_a_day = mean * DAY * 0.05 / crowd;
        Self {
            work,
            mean: mean * 0.95,
            users: 200,
            crowd: crowd as u32,
            crowds_a_day,
            end,
            at: start,
            left: 0,
            random,
        }
    }

    fn rate(&self, at: f64) -> f64 {
        let noon = ((at / DAY - 14.0 / 24.0) * std::f64::consts::TAU).cos();
        self.mean * (1.0 + 0.8 * noon)
    }
}

impl Iterator for Pattern {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.left > 0 {
            self.left -= 1;
            let sound = sound(&mut self.random);
            return Some(self.work.job(self.at, self.users, sound));
        }
        let crowds = self.crowds_a_day / DAY;
        let most = self.mean * 1.8 + crowds;
        loop {
            self.at += exponential(&mut self.random) / most;
            if self.at >= self.end {
                return None;
            }
            let drawn = self.random.f64() * most;
            if drawn < crowds {
                self.left = self.crowd;
                return self.next();
            }
            if drawn < crowds + self.rate(self.at) {
                let (user, sound) = (self.random.u32(0..self.users), sound(&mut self.random));
                return Some(self.work.job(self.at, user, sound));
            }
        }
    }
}

/// One user's jobs, all at once, and others who come one after the other for an hour: user 0 and
/// the rest.
#[must_use]
pub fn burst(work: Work, jobs: u32, others: u32, seed: u64) -> Vec<Arrival> {
    let mut random = Rng::with_seed(seed);
    let mut all: Vec<Arrival> = (0..jobs).map(|_| work.job(0.0, 0, sound(&mut random))).collect();
    for other in 0..others {
        let at = 3600.0 * f64::from(other) / f64::from(others);
        all.push(work.job(at, 1 + other, CLIP_SECONDS));
    }
    all
}

/// Seconds of sound of somebody's job.
fn sound(random: &mut Rng) -> f64 {
    let seconds = if random.f64() < CLIPS {
        1.0 + exponential(random) * (CLIP_SECONDS - 1.0)
    } else {
        FILM_SECONDS * (FILM_SPREAD * normal(random)).exp()
    };
    seconds.min(LONGEST)
}

/// With a mean of 1.
fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

/// By Box and Muller.
fn normal(random: &mut Rng) -> f64 {
    let turn = random.f64() * std::f64::consts::TAU;
    (2.0 * exponential(random)).sqrt() * turn.cos()
}
