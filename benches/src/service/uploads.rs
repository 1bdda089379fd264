//! Large uploads: how fast, in how much memory, and that nothing of them is on the API's own disk.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use tokio::task::JoinSet;
use tonemill_job::JobId;
use tonemill_ledger::{Ledger, Owner};

use super::Options;
use super::deployment::{Deployment, Store};
use super::figures::Figures;
use super::http::{Connection, expect, text};
use super::open_files::OpenFiles;
use super::video::Video;
use crate::error::{BenchError, file};
use crate::place::Place;

const MB: u64 = 1_000_000;
/// What a large upload is compared with.
const SMALL_MB: u64 = 100;
/// Uploads at once, and how long each is.
const CROWD: (u64, u64) = (50, 20);
/// The ledger, its log and what is said at the end of a start is all that an API writes itself.
const OWN_MB: f64 = 16.0;

/// Uploads to an API without workers, into an S3 server and into a folder.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let mut text = format!(
        "## Uploads\n\n`tonemill api` with Redis and a ledger in SQLite, without workers, a new process\n\
         for each measurement; the body of `POST /v1/jobs`, from the first byte to the last 201;\n\
         {} rounds, medians and range. Every object was read back: its length and BLAKE3 are those of\n\
         what was sent and of the job. Peak memory is the kernel's count for the API; written is what\n\
         the API itself sent to a disk; the client makes the bytes on the same cores.\n\n\
         | store | uploads | MB/s | peak RSS MiB | before MiB | API's CPU s/GB | written by the API MB |\n\
         |---|---|--:|--:|--:|--:|--:|\n",
        options.rounds(3)
    );
    let sizes = [(1, SMALL_MB), (1, options.upload_mb), CROWD];
    let mut strange = BTreeSet::new();
    for store in [Store::S3, Store::Folder] {
        let mut peaks = Vec::new();
        for (count, mb) in sizes {
            let [speed, peak, before, cpu, written] =
                rounds(place, options, (store, count, mb), &mut strange).await?;
            let (low, median, high) = (speed.low(), speed.median(), speed.high());
            let [peak, before, cpu, written] = [peak, before, cpu, written].map(|f| f.median());
            let _ = writeln!(
                text,
                "| {} | {count} × {mb} MB | {median:.0} ({low:.0}–{high:.0}) | {peak:.0} | \
                 {before:.0} | {cpu:.2} | {written:.1} |",
                name(store)
            );
            peaks.push(peak);
        }
        let (more, mb) = (peaks[1] - peaks[0], options.upload_mb);
        let name = name(store);
        let _ = writeln!(text, "| {name} | {mb} MB against {SMALL_MB} MB | | {more:+.0} | | | |");
    }
    if strange.is_empty() {
        text.push_str(
            "\nTemporary files: none. The API had no file open but its ledger, its log and, with a\n\
             folder as store, objects in it; TMPDIR stayed empty (looked at every 20 ms).\n\n",
        );
    } else {
        let _ = writeln!(text, "\n**Files that should not be:** {strange:?}\n");
    }
    Ok(text)
}

async fn rounds(
    place: &Place,
    options: &Options,
    (store, count, mb): (Store, u64, u64),
    strange: &mut BTreeSet<PathBuf>,
) -> Result<[Figures; 5], BenchError> {
    let mut all: [Figures; 5] = Default::default();
    for _ in 0..options.rounds(3) {
        let measured = upload(place, store, count, mb).await?;
        let [.., written] = measured.figures;
        if store == Store::S3 && written > OWN_MB {
            return Err(BenchError::work(format!("the API wrote {written:.0} MB to a disk")));
        }
        all.iter_mut().zip(measured.figures).for_each(|(figures, value)| figures.push(value));
        strange.extend(measured.strange);
    }
    Ok(all)
}

fn name(store: Store) -> &'static str {
    match store {
        Store::S3 => "s3s-fs",
        Store::Folder => "folder",
    }
}

struct Measured {
    /// MB/s, peak and first resident MiB, CPU seconds for a GB, MB written.
    figures: [f64; 5],
    /// Files that should not be.
    strange: BTreeSet<PathBuf>,
}

/// `count` uploads at once, of `mb` MB each.
async fn upload(place: &Place, store: Store, count: u64, mb: u64) -> Result<Measured, BenchError> {
    let mut service = Deployment::api(place, store)?;
    let token = service.user("user").await?;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::with(service.address, &token).await?);
    }
    let mut expected = vec!["ledger.db", "api.log"];
    if store == Store::Folder {
        expected.extend(["objects/", "unfinished/"]);
    }
    let expected = expected.into_iter().map(|name| service.folder().join(name)).collect();
    let watch = OpenFiles::watch(service.api.pid(), expected, service.temporary());
    let (before, _) = service.api.resident_bytes();
    let (cpu, written) = (service.api.cpu_time(), service.api.written_bytes());
    let start = Instant::now();
    let mut sending = JoinSet::new();
    for (number, connection) in (0..).zip(connections) {
        sending.spawn(send(connection, Video { number, bytes: mb * MB }));
    }
    let mut jobs = Vec::new();
    while let Some(sent) = sending.join_next().await {
        jobs.push(sent??);
    }
    let took = start.elapsed();
    let used = service.api.cpu_time().saturating_sub(cpu);
    let written = service.api.written_bytes() - written;
    let (_, peak) = service.api.resident_bytes();
    service.api.check()?;
    let strange = watch.finish().await?;
    let ledger = service.ledger().await?;
    for (video, job) in jobs {
        verify(&service, &ledger, video, job).await?;
    }
    ledger.close().await;
    Ok(Measured { figures: figures(count * mb, took, [before, peak], used, written), strange })
}

fn figures(
    mb: u64,
    took: Duration,
    [before, peak]: [u64; 2],
    cpu: Duration,
    written: u64,
) -> [f64; 5] {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mb = mb as f64;
    [
        mb / took.as_secs_f64(),
        mib(peak),
        mib(before),
        cpu.as_secs_f64() / mb * 1e3,
        written as f64 / MB as f64,
    ]
}

/// Sends an upload; its job, with what the answer said of it checked.
async fn send(mut to: Connection, video: Video) -> Result<(Video, JobId), BenchError> {
    let headers = [
        (CONTENT_TYPE.as_str(), "video/mp4".to_owned()),
        (CONTENT_LENGTH.as_str(), video.bytes.to_string()),
    ];
    let answer = to.send(Method::POST, "/v1/jobs", &headers, video.body()).await?;
    let job = expect(answer, StatusCode::CREATED, "POST /v1/jobs").await?;
    let job: serde_json::Value = serde_json::from_slice(&job)?;
    if job["input_bytes"] != video.bytes {
        return Err(BenchError::work(format!("{} bytes were sent: {job}", video.bytes)));
    }
    let id = text(&job, "id").parse();
    Ok((video, id.map_err(|_| BenchError::work("a job without a name"))?))
}

/// Checks that what is in the store and what the ledger says of it is what was sent.
async fn verify(
    service: &Deployment,
    ledger: &Ledger,
    video: Video,
    id: JobId,
) -> Result<(), BenchError> {
    let job = ledger.job(Owner::Anyone, id).await?;
    let job = job.ok_or_else(|| BenchError::work("a job that the ledger does not know"))?;
    let key = job.input.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = service.object(&key);
    let failed = |error| file("read", &path)(error);
    let object = File::open(&path).map_err(failed)?;
    let bytes = object.metadata().map_err(failed)?.len();
    let mut hash = blake3::Hasher::new();
    hash.update_reader(object).map_err(failed)?;
    let stored = hash.finalize().to_hex().to_string();
    let sent = video.blake3();
    if bytes == video.bytes && stored == sent && job.input_blake3.as_ref() == Some(&sent) {
        return Ok(());
    }
    let said = job.input_blake3;
    Err(BenchError::work(format!("{bytes} of {} bytes; {sent}, {stored}, {said:?}", video.bytes)))
}
