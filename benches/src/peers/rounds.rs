//! The rounds of one workload: everyone once per round, in an order that moves on.

use std::fs::{self, File};
use std::io::{self, BufReader};

use serde::Serialize;
use serde_json::Value;

use super::contenders::Contender;
use super::measure::{self, Usage};
use super::place::Place;
use super::proof::{self, Proof, Source};
use super::workloads::Workload;
use crate::error::{BenchError, file};

/// One contender in one round.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// From 1.
    pub round: u32,
    /// Who.
    pub contender: Contender,
    /// What it used.
    pub usage: Usage,
    /// Size of all its outputs.
    pub bytes: u64,
    /// The lines of its own report; Tonemill only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_report: Vec<Value>,
}

/// All rounds of one workload, with the proof from the last of them.
#[derive(Debug, Serialize)]
pub struct CaseResult {
    /// The workload's name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Everyone who took part.
    pub contenders: Vec<Contender>,
    /// Full command lines, in the order of `contenders`.
    pub commands: Vec<Vec<String>>,
    /// One command line of each, shortened.
    pub abridged_commands: Vec<String>,
    /// What was converted.
    pub sources: Vec<Source>,
    /// In the order they were taken.
    pub measurements: Vec<Measurement>,
    /// In the order of `contenders`.
    pub proofs: Vec<Proof>,
}

impl CaseResult {
    /// A contender's measurements, one for each round.
    pub fn of(&self, contender: Contender) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |measured| measured.contender == contender)
    }
}

/// Runs all rounds of a workload.
pub fn compare(workload: &Workload, place: &Place) -> Result<CaseResult, BenchError> {
    warm_cache(workload, place)?;
    let mut measurements = Vec::new();
    for round in 0..workload.rounds {
        for contender in order(&workload.contenders, round) {
            let measured = measure_one(contender, round, workload, place)?;
            eprintln!(
                "{}, round {} of {}: {} {:.2} s",
                workload.name,
                measured.round,
                workload.rounds,
                contender.name(),
                measured.usage.wall_s
            );
            measurements.push(measured);
        }
    }
    finish(workload, measurements, place)
}

/// Everyone once; who begins moves on by one each round.
fn order(contenders: &[Contender], round: u32) -> Vec<Contender> {
    let mut order = contenders.to_vec();
    order.rotate_left(round as usize % contenders.len());
    order
}

/// Reads every input once, so that the first contender does not pay for the disk.
fn warm_cache(workload: &Workload, place: &Place) -> Result<(), BenchError> {
    let wavs = workload.contenders.contains(&Contender::Lame);
    for input in &workload.inputs {
        for path in [Some(&input.media), wavs.then_some(&input.wav)].into_iter().flatten() {
            let path = place.run.join(path);
            File::open(&path)
                .and_then(|mut input| io::copy(&mut input, &mut io::sink()))
                .map_err(file("read", &path))?;
        }
    }
    Ok(())
}

fn measure_one(
    contender: Contender,
    round: u32,
    workload: &Workload,
    place: &Place,
) -> Result<Measurement, BenchError> {
    let folder = workload.folder(contender);
    place.empty_output(&folder)?;
    let commands = contender.commands(&workload.inputs, &folder, place)?;
    let usage = measure::run(&commands, &place.run, &place.run.join(&folder))?;
    let sizes = workload.inputs.iter().map(|input| proof::size(place, &input.output(&folder)));
    let bytes = sizes.sum::<Result<u64, BenchError>>()?;
    let own_report = match contender {
        Contender::Tonemill => own_report(&folder, place)?,
        _ => Vec::new(),
    };
    Ok(Measurement { round: round + 1, contender, usage, bytes, own_report })
}

/// The JSON lines that Tonemill printed.
fn own_report(folder: &str, place: &Place) -> Result<Vec<Value>, BenchError> {
    let path = place.run.join(folder).join("stdout");
    let said = fs::read_to_string(&path).map_err(file("read", &path))?;
    let lines = place.without_machine_paths(&said);
    Ok(serde_json::Deserializer::from_reader(BufReader::new(lines.as_bytes()))
        .into_iter()
        .map_while(Result::ok)
        .collect())
}

fn finish(
    workload: &Workload,
    measurements: Vec<Measurement>,
    place: &Place,
) -> Result<CaseResult, BenchError> {
    eprintln!("{}: decoding sources and outputs for the proof", workload.name);
    let sources = Source::read(workload, place)?;
    let mut proofs = Vec::new();
    let (mut commands, mut abridged_commands) = (Vec::new(), Vec::new());
    for &contender in &workload.contenders {
        let folder = workload.folder(contender);
        let lines = contender.commands(&workload.inputs, &folder, place)?;
        abridged_commands.extend(lines.first().map(super::command::CommandLine::abridged));
        commands.push(lines.iter().map(ToString::to_string).collect());
        proofs.push(Proof::read(contender, workload, &sources, place)?);
        // A ten-hour output fills the disk for nothing.
        place.empty_output(&folder)?;
    }
    Ok(CaseResult {
        name: workload.name.clone(),
        about: workload.about.clone(),
        contenders: workload.contenders.clone(),
        commands,
        abridged_commands,
        sources,
        measurements,
        proofs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_begins_in_turn() {
        let all = [Contender::Tonemill, Contender::Ffmpeg, Contender::Lame];
        assert_eq!(order(&all, 0), all);
        assert_eq!(order(&all, 1), [Contender::Ffmpeg, Contender::Lame, Contender::Tonemill]);
        assert_eq!(order(&all, 5)[0], Contender::Lame);
    }
}
