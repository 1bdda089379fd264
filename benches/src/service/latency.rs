//! What a job takes beside its conversion: from the first byte of the request to the event that it
//! is finished.

use std::fmt::Write as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use tonemill_job::JobId;
use tonemill_ledger::{Ledger, Owner};

use super::Options;
use super::deployment::Deployment;
use super::figures::Figures;
use super::follow::{Followed, follow};
use super::http::{Connection, text};
use crate::error::BenchError;
use crate::place::Place;

/// What of a job is not its conversion may take this long, in ms.
const TARGET_MS: f64 = 50.0;
const ROWS: [&str; 12] = [
    "**whole: first byte to event**",
    "conversion, with its reads and writes (of the job's report)",
    "**on top of the conversion**",
    "— first byte to `accepted` in the ledger",
    "— `accepted` to `dispatched`",
    "— `dispatched` to `ended`, without the conversion",
    "— `ended` to the event",
    "`dispatched` to `started`, recorded while the conversion runs",
    "first byte to the answer 201",
    "CPU of the codec in the job",
    "`tonemill convert`: its report",
    "`tonemill convert`: the process, from start to end",
];

/// Clips one at a time, by the service and by `tonemill convert`, in turns.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let rounds = options.rounds(50);
    let path = place.video(5)?;
    let clip = place.video_bytes(5)?;
    let service = Deployment::embedded(place, &[])?;
    let ledger = service.ledger().await?;
    let mut connection = Connection::with(service.address, &service.user("user").await?).await?;
    // The first wakes what sleeps.
    let first = follow(&mut connection, &clip).await?;
    let mut figures: [Figures; ROWS.len()] = Default::default();
    for round in 0..rounds {
        // Who begins changes from round to round.
        let (job, (convert, seconds)) = if round % 2 == 0 {
            (by_service(&ledger, &mut connection, &clip).await?, by_convert(place, &path)?)
        } else {
            let convert = by_convert(place, &path)?;
            (by_service(&ledger, &mut connection, &clip).await?, convert)
        };
        let same = [&job.audio_blake3, &text(&convert["output"], "audio_blake3")];
        if same.iter().any(|audio| **audio != first.audio_blake3) || first.audio_blake3.is_empty() {
            return Err(BenchError::work("service and convert made different audio"));
        }
        let convert = [wall_ms(&convert), seconds.as_secs_f64() * 1e3];
        for (figures, value) in figures.iter_mut().zip(job.ms.into_iter().chain(convert)) {
            figures.push(value);
        }
    }
    Ok(section(&figures, clip.len(), &first.audio_blake3))
}

/// One job: the first rows, in ms.
struct Measured {
    audio_blake3: String,
    ms: [f64; 10],
}

async fn by_service(
    ledger: &Ledger,
    connection: &mut Connection,
    clip: &Bytes,
) -> Result<Measured, BenchError> {
    let Followed { id, sent, accepted, whole, audio_blake3 } = follow(connection, clip).await?;
    let id: JobId = id.parse().map_err(|_| BenchError::work("a job without a name"))?;
    let job = ledger.job(Owner::Anyone, id).await?;
    let job = job.ok_or_else(|| BenchError::work("a job that the ledger does not know"))?;
    let detail = ledger.job_detail(Owner::Anyone, id).await?;
    let report = detail.and_then(|detail| detail.report).unwrap_or_default();
    let times = [Some(job.created_ms), job.dispatched_ms, job.started_ms, job.ended_ms];
    let [created, dispatched, started, ended] = times.map(|ms| ms.map_or(f64::NAN, |ms| ms as f64));
    // All by the same clock: SQLite has none of its own.
    let sent = sent.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3;
    let whole = whole.as_secs_f64() * 1e3;
    let conversion = wall_ms(&report);
    let ms = [
        whole,
        conversion,
        whole - conversion,
        created - sent,
        dispatched - created,
        ended - dispatched - conversion,
        sent + whole - ended,
        started - dispatched,
        accepted.as_secs_f64() * 1e3,
        codec_cpu_ms(&report),
    ];
    if ms.iter().any(|ms| ms.is_nan()) || conversion <= 0.0 {
        return Err(BenchError::work(format!("a job without its times: {job:?}")));
    }
    Ok(Measured { audio_blake3, ms })
}

fn by_convert(place: &Place, path: &std::path::Path) -> Result<(Value, Duration), BenchError> {
    let start = Instant::now();
    let report = place.convert(path)?;
    Ok((report, start.elapsed()))
}

fn wall_ms(report: &Value) -> f64 {
    report["timing"]["wall_seconds"].as_f64().unwrap_or(0.0) * 1e3
}

fn codec_cpu_ms(report: &Value) -> f64 {
    let stages = ["decode", "convert", "encode", "write"];
    let seconds = stages.map(|stage| report["timing"][format!("{stage}_cpu_seconds")].as_f64());
    seconds.into_iter().flatten().sum::<f64>() * 1e3
}

fn section(figures: &[Figures], bytes: usize, audio: &str) -> String {
    let mut text = format!(
        "## Latency\n\n`tonemill serve`, everything embedded; a video of five seconds ({bytes} bytes),\n\
         one at a time over an open connection, {} rounds in turns with `tonemill convert`. All\n\
         outputs have the same audio (BLAKE3 {}…). In ms; times of the ledger are whole ones, written\n\
         down when its recorder hears of them.\n\n\
         | | median | p95 | range |\n|---|--:|--:|--:|\n",
        figures[0].len(),
        &audio[..16.min(audio.len())],
    );
    for (name, figures) in ROWS.iter().zip(figures) {
        let (median, p95) = (figures.median(), figures.percentile(95.0));
        let (low, high) = (figures.low(), figures.high());
        let _ = writeln!(text, "| {name} | {median:.1} | {p95:.1} | {low:.1}–{high:.1} |");
    }
    let on_top = figures[2].median();
    let verdict = if on_top <= TARGET_MS { "met" } else { "**missed**" };
    let _ = writeln!(
        text,
        "\nOn top of the conversion: **{on_top:.1} ms** in the median, of at most {TARGET_MS:.0}: \
         {verdict}.\n"
    );
    text
}
