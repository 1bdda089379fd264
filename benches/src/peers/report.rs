//! The report: Markdown for people, and the raw rounds beside it as JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::contenders::Contender;
use super::markdown;
use super::place::{Place, made};
use super::rounds::CaseResult;
use super::versions::Versions;
use crate::error::{BenchError, file};
use crate::machine::{self, Machine};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// LAME's quality when ffmpeg is given none (and so moviepy's); `None` when it equals no
    /// quality that can be given.
    pub ffmpeg_default_quality: Option<u8>,
    /// The peak of this program, below which it could not have seen another's.
    pub own_peak_bytes: u64,
    /// Case by case.
    pub results: Vec<CaseResult>,
}

impl Report {
    /// A report without results.
    #[must_use]
    pub fn new(machine: Machine, versions: Versions, ffmpeg_default_quality: Option<u8>) -> Self {
        Self { machine, versions, ffmpeg_default_quality, own_peak_bytes: 0, results: Vec::new() }
    }

    /// What was wrong with Tonemill's outputs.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let proofs = self.results.iter().flat_map(|result| &result.proofs);
        proofs
            .filter(|proof| proof.contender == Contender::Tonemill)
            .flat_map(super::proof::Proof::faults)
            .collect()
    }

    /// Writes `path` and, beside it, `path` with the extension `json`.
    pub fn write(&mut self, path: &Path, place: &Place) -> Result<(), BenchError> {
        self.own_peak_bytes = machine::own_peak_bytes()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            made(folder)?;
        }
        let text = place.without_machine_paths(&markdown::report(self));
        fs::write(path, text).map_err(file("write", path))?;
        let raw_path = path.with_extension("json");
        let raw = fs::File::create(&raw_path).map_err(file("create", &raw_path))?;
        serde_json::to_writer_pretty(std::io::BufWriter::new(raw), self)
            .map_err(|error| file("write", &raw_path)(error.into()))
    }
}
