//! Results as text: tables for the report, lines for the terminal.

use std::fmt::Write as _;

use super::contenders::Contender;
use super::measure::Usage;
use super::proof::Proof;
use super::report::Report;
use super::rounds::{CaseResult, Measurement};
use crate::statistics::Spread;

const MEBIBYTE: f64 = 1_048_576.0;

/// A quantity that is compared.
type Quantity = fn(&Usage) -> f64;

const WALL: Quantity = |usage| usage.wall_s;
const CPU: Quantity = Usage::cpu_s;
const RSS: Quantity = |usage| usage.peak_rss_bytes as f64 / MEBIBYTE;

/// The whole report.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut text = head(report);
    for result in &report.results {
        let _ = write!(text, "\n## {}\n\n{}.\n\n", result.name, result.about);
        text.push_str(&usage_table(result));
        let _ = writeln!(text, "\n{}", remarks(result, report.machine.cores));
        text.push_str("\nEqual work:\n\n");
        text.push_str(&proof_table(result));
        text.push_str("\n```\n");
        for command in &result.abridged_commands {
            let _ = writeln!(text, "{command}");
        }
        text.push_str("```\n");
    }
    text.push_str(&memory_table(&report.results));
    let faults = report.faults();
    if !faults.is_empty() {
        let _ = write!(text, "\n## Not equal work\n\n- {}\n", faults.join("\n- "));
    }
    text
}

fn head(report: &Report) -> String {
    let (machine, versions) = (&report.machine, &report.versions);
    let quality = match report.ffmpeg_default_quality {
        Some(quality) => format!("{quality} (found by comparing bytes)"),
        None => "none of 0 to 9".to_owned(),
    };
    let optional = |line: &Option<String>| {
        line.as_ref().map_or(String::new(), |version| format!("- {version}\n"))
    };
    format!(
        "# Tonemill and its peers, {}\n\n\
         {}, {} cores, {:.0} GiB; {}, Linux {}\n\n\
         - {}\n- {}\n{}{}- {}\n\n\
         All are asked for MP3 at a constant 192 kbit/s, joint stereo, LAME quality 3. Only moviepy \
         is given no quality, as in the tutorial, and so has ffmpeg's default, which here is {}. \
         (The header that ffmpeg writes does not state the quality; lame's does.) lame reads WAV \
         that was made beforehand: its figures leave out reading the video.\n\n\
         Figures are medians over the rounds. A ratio is Tonemill's figure divided by the \
         other's in the same round: median (lowest–highest); below 1, Tonemill used less. \
         CPU is user and system time with that of child processes; memory is the peak resident \
         size, of all processes at one time where a program works in several. No peak \
         below {:.1} MiB could have been seen. The raw rounds are in the JSON file beside this one; \
         the method is in benches/README.md.\n",
        versions.day,
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / MEBIBYTE / 1024.0,
        machine.system,
        machine.kernel,
        versions.tonemill,
        versions.ffmpeg,
        optional(&versions.lame),
        optional(&versions.moviepy),
        versions.rustc,
        quality,
        report.own_peak_bytes as f64 / MEBIBYTE,
    )
}

fn usage_table(result: &CaseResult) -> String {
    let alone = result.contenders.len() == 1;
    let mut text = if alone {
        "| | wall s | CPU s | memory MiB |\n|---|--:|--:|--:|\n".to_owned()
    } else {
        "| | wall s | CPU s | memory MiB | wall ratio | faster | CPU ratio | memory ratio |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned()
    };
    for &contender in &result.contenders {
        let median = |quantity| spread(result, contender, quantity).map_or(0.0, |s| s.median);
        let (wall, cpu, rss) = (median(WALL), median(CPU), median(RSS));
        let _ = write!(text, "| {} | {wall:.2} | {cpu:.2} | {rss:.1} |", contender.name());
        let cell = |quantity| ratio(result, contender, quantity).map_or(String::new(), range);
        let faster = ratio(result, contender, WALL).map_or(0.0, |wall| 1.0 / wall.median);
        let _ = match contender {
            Contender::Tonemill if alone => writeln!(text),
            Contender::Tonemill => writeln!(text, " | | | |"),
            _ => {
                writeln!(text, " {} | {faster:.2}× | {} | {} |", cell(WALL), cell(CPU), cell(RSS))
            }
        };
    }
    text
}

/// The share of Tonemill's CPU time that its own report does not put down to encoding.
fn outside_encoder(result: &CaseResult) -> Option<Spread> {
    let share = |measured: &Measurement| {
        let encode_s = measured.own_report.iter().map(encode_cpu_s).sum::<Option<f64>>()?;
        (encode_s > 0.0).then(|| 1.0 - encode_s / measured.usage.cpu_s())
    };
    Spread::of(result.of(Contender::Tonemill).filter_map(share))
}

fn encode_cpu_s(own_report: &serde_json::Value) -> Option<f64> {
    own_report["timing"]["encode_cpu_seconds"].as_f64()
}

fn spread(result: &CaseResult, contender: Contender, quantity: Quantity) -> Option<Spread> {
    Spread::of(result.of(contender).map(|measured| quantity(&measured.usage)))
}

/// Tonemill's figure divided by the other's, round by round.
fn ratio(result: &CaseResult, other: Contender, quantity: Quantity) -> Option<Spread> {
    let same_round = |mine: &Measurement| {
        let other = result.of(other).find(|theirs| theirs.round == mine.round)?;
        Some(quantity(&mine.usage) / quantity(&other.usage))
    };
    Spread::of(result.of(Contender::Tonemill).filter_map(same_round))
}

fn range(spread: Spread) -> String {
    format!("{:.3} ({:.3}–{:.3})", spread.median, spread.low, spread.high)
}

/// How much the rest of the machine did during the worst measurement, and what LAME left over.
fn remarks(result: &CaseResult, cores: usize) -> String {
    let share = |measured: &&Measurement| measured.usage.others_share(cores);
    let worst = result.measurements.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    let rounds = result.of(Contender::Tonemill).count();
    let mut text = worst.map_or(String::new(), |worst| {
        format!(
            "Rounds: {rounds}. Other processes used at most {:.0} % of the machine during a \
             measurement ({}, round {}).",
            share(&worst) * 100.0,
            worst.contender.name(),
            worst.round
        )
    });
    if let Some(share) = outside_encoder(result) {
        let _ = write!(
            text,
            " Work outside the encoder took {:.1} % of Tonemill's CPU time ({:.1}–{:.1}).",
            share.median * 100.0,
            share.low * 100.0,
            share.high * 100.0
        );
    }
    text
}

fn proof_table(result: &CaseResult) -> String {
    let samples: u64 = result.sources.iter().map(|source| source.samples).sum();
    let rate = result.sources.first().map_or(1, |source| source.audio.sample_rate);
    let declared: Option<f64> = result.sources.iter().map(|source| source.declared_s).sum();
    let declared = declared.map_or("no length".to_owned(), |seconds| format!("{seconds:.3} s"));
    let mut text = format!(
        "Source: {samples} samples at {rate} Hz ({:.3} s), decoded by ffmpeg; the container \
         states {declared}.\n\n\
         | | settings read back | longer than its source by | bytes |\n|---|---|--:|--:|\n",
        samples as f64 / rate as f64
    );
    for proof in &result.proofs {
        let bytes: u64 = proof.outputs.iter().map(|output| output.bytes).sum();
        let longer = proof.worst().map_or(0, |worst| worst.longer_by_samples);
        let at_most = if proof.outputs.len() > 1 { "at most " } else { "" };
        let _ = writeln!(
            text,
            "| {} | {} | {at_most}{longer} samples | {bytes} |",
            proof.contender.name(),
            settings(proof)
        );
    }
    text
}

/// Those of the first output; says so when another differs.
fn settings(proof: &Proof) -> String {
    let Some(first) = proof.outputs.first() else { return String::new() };
    let (audio, header) = (&first.audio, &first.header);
    let alike = proof.outputs.iter().all(|output| {
        output.audio.sample_rate == audio.sample_rate
            && output.audio.channels == audio.channels
            && output.audio.bits_per_second.abs_diff(audio.bits_per_second) < 4_000
            && output.header.mode == header.mode
            && output.header.settings == header.settings
    });
    let words = [
        audio.codec.clone(),
        header.mode.clone(),
        format!("{:.0} kbit/s", audio.bits_per_second as f64 / 1000.0),
        format!("{} Hz", audio.sample_rate),
        format!("{} channels", audio.channels),
        header.library.clone(),
        header.settings.clone(),
        if alike { String::new() } else { "(others differ)".to_owned() },
    ];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Ten hours against ten minutes, for every kind of input that has both.
fn memory_table(results: &[CaseResult]) -> String {
    let peak = |result: &CaseResult| {
        spread(result, Contender::Tonemill, RSS).map_or(0.0, |spread| spread.high)
    };
    let mut text = String::new();
    for short in results {
        let Some(kind) = short.name.strip_suffix("-ten-minutes") else { continue };
        let Some(long) = results.iter().find(|long| long.name == format!("{kind}-ten-hours"))
        else {
            continue;
        };
        if text.is_empty() {
            text.push_str(
                "\n## Memory against length\n\nTonemill's highest peak of all rounds, in MiB.\n\n\
                 | | 10 minutes | 10 hours | ratio |\n|---|--:|--:|--:|\n",
            );
        }
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.3} |",
            short.about.trim_start_matches("ten minutes, "),
            peak(short),
            peak(long),
            peak(long) / peak(short)
        );
    }
    text
}

/// A case for the terminal.
#[must_use]
pub fn summary(result: &CaseResult) -> String {
    let own = |quantity| spread(result, Contender::Tonemill, quantity).map_or(0.0, |s| s.median);
    let mut text = format!(
        "{}: tonemill {:.2} s, {:.2} CPU s, {:.1} MiB\n",
        result.name,
        own(WALL),
        own(CPU),
        own(RSS)
    );
    for &contender in &result.contenders {
        let all = [WALL, CPU, RSS].map(|quantity| ratio(result, contender, quantity));
        let [Some(wall), Some(cpu), Some(rss)] = all else { continue };
        if contender != Contender::Tonemill {
            let _ = writeln!(
                text,
                "  against {:15} {:5.2}× faster; wall {}, CPU {}, memory {}",
                contender.name(),
                1.0 / wall.median,
                range(wall),
                range(cpu),
                range(rss)
            );
        }
    }
    for proof in &result.proofs {
        let longer = proof.worst().map_or(0, |worst| worst.longer_by_samples);
        let _ = writeln!(
            text,
            "  {:23} {longer:+} samples; {}",
            proof.contender.name(),
            settings(proof)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measurement(round: u32, contender: Contender, wall_s: f64, cpu_s: f64) -> Measurement {
        let usage = Usage { wall_s, user_s: cpu_s, peak_rss_bytes: 1 << 20, ..Usage::default() };
        let own_report = vec![json!({ "timing": { "encode_cpu_seconds": 9.0 } })];
        Measurement { round, contender, usage, bytes: 1, own_report }
    }

    fn two_rounds() -> CaseResult {
        CaseResult {
            name: "long".to_owned(),
            about: String::new(),
            contenders: vec![Contender::Tonemill, Contender::Ffmpeg],
            commands: Vec::new(),
            abridged_commands: Vec::new(),
            sources: Vec::new(),
            measurements: vec![
                measurement(1, Contender::Tonemill, 1.0, 10.0),
                measurement(1, Contender::Ffmpeg, 2.0, 10.0),
                // A slow minute: both take twice as long, which no ratio shows.
                measurement(2, Contender::Ffmpeg, 4.0, 20.0),
                measurement(2, Contender::Tonemill, 2.0, 20.0),
            ],
            proofs: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_one_round() {
        let wall = ratio(&two_rounds(), Contender::Ffmpeg, WALL).unwrap();
        assert_eq!(range(wall), "0.500 (0.500–0.500)");
        let row = "| ffmpeg | 3.00 | 15.00 | 1.0 | 0.500 (0.500–0.500) | 2.00× |";
        assert!(usage_table(&two_rounds()).contains(row));
    }

    #[test]
    fn what_the_encoder_left_over() {
        let share = outside_encoder(&two_rounds()).unwrap();
        assert!((share.low - 0.1).abs() < 1e-9 && (share.high - 0.55).abs() < 1e-9, "{share:?}");
    }
}
