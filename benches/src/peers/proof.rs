//! Proof of equal work: what was really written, in settings, length and size.

use std::fs;

use serde::Serialize;

use super::contenders::{BITRATE, Contender};
use super::place::Place;
use super::probe::{self, Audio, EncoderHeader};
use super::workloads::Workload;
use crate::error::{BenchError, file};

/// Samples of one MP3 frame: the most by which Tonemill may miss the length of its source.
pub const FRAME: i64 = 1152;

/// A source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Its path, seen from the run folder.
    pub path: String,
    /// What ffprobe says of it.
    pub audio: Audio,
    /// What ffmpeg decodes from it.
    pub samples: u64,
    /// How long the container says it is; an AAC decoder may give up to a frame more.
    pub declared_s: Option<f64>,
    /// Size.
    pub bytes: u64,
}

impl Source {
    /// Decodes every input of the workload.
    pub fn read(workload: &Workload, place: &Place) -> Result<Vec<Self>, BenchError> {
        let read = |path: &String| {
            let audio = probe::audio(path, &place.run)?;
            let samples = probe::decoded_samples(path, &audio, &place.run)?;
            let declared_s = probe::declared_seconds(path, &place.run)?;
            Ok(Self { path: path.clone(), audio, samples, declared_s, bytes: size(place, path)? })
        };
        workload.inputs.iter().map(|input| read(&input.media)).collect()
    }
}

/// An MP3.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Its path, seen from the run folder.
    pub path: String,
    /// What ffprobe says of it.
    pub audio: Audio,
    /// What mediainfo says of its header.
    pub header: EncoderHeader,
    /// Samples that ffmpeg decodes from it, minus those of the source at the same rate.
    pub longer_by_samples: i64,
    /// Size.
    pub bytes: u64,
}

/// What one contender wrote.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// Who.
    pub contender: Contender,
    /// One for every source, in their order.
    pub outputs: Vec<Output>,
}

impl Proof {
    /// Probes and decodes every output.
    pub fn read(
        contender: Contender,
        workload: &Workload,
        sources: &[Source],
        place: &Place,
    ) -> Result<Self, BenchError> {
        let folder = workload.folder(contender);
        let read = |(input, source): (&super::workloads::Input, &Source)| {
            let path = input.output(&folder);
            let audio = probe::audio(&path, &place.run)?;
            let samples = probe::decoded_samples(&path, &audio, &place.run)?;
            Ok::<_, BenchError>(Output {
                longer_by_samples: difference(samples, audio.sample_rate, source),
                header: probe::encoder_header(&path, &place.run)?,
                bytes: size(place, &path)?,
                path,
                audio,
            })
        };
        let outputs = workload.inputs.iter().zip(sources).map(read).collect::<Result<_, _>>()?;
        Ok(Self { contender, outputs })
    }

    /// What makes the work unequal; empty for a good proof.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.outputs.iter().flat_map(faults).collect()
    }

    /// The output whose length misses its source's by most.
    #[must_use]
    pub fn worst(&self) -> Option<&Output> {
        self.outputs.iter().max_by_key(|output| output.longer_by_samples.abs())
    }
}

fn faults(output: &Output) -> Vec<String> {
    let mut faults = Vec::new();
    if output.longer_by_samples.abs() > FRAME {
        faults.push(format!(
            "{}: {:+} samples against its source",
            output.path, output.longer_by_samples
        ));
    }
    // Some probes divide the size by the length, so a clip's header shows in the rate.
    let rate = output.audio.bits_per_second;
    if output.audio.codec != "mp3" || rate.abs_diff(BITRATE) > BITRATE / 50 {
        faults.push(format!("{}: {} at {rate} bit/s", output.path, output.audio.codec));
    }
    faults
}

/// How many samples more than the source's, counted at the output's rate.
fn difference(samples: u64, rate: u64, source: &Source) -> i64 {
    let expected = source.samples as f64 * rate as f64 / source.audio.sample_rate as f64;
    samples as i64 - expected.round() as i64
}

/// The size of a file that is seen from the run folder.
pub fn size(place: &Place, path: &str) -> Result<u64, BenchError> {
    let path = place.run.join(path);
    fs::metadata(&path).map(|metadata| metadata.len()).map_err(file("find", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(codec: &str, bits_per_second: u64) -> Audio {
        Audio { codec: codec.to_owned(), bits_per_second, sample_rate: 44_100, channels: 2 }
    }

    fn output(codec: &str, bits_per_second: u64, longer_by_samples: i64) -> Output {
        let header =
            EncoderHeader { mode: String::new(), library: String::new(), settings: String::new() };
        let audio = audio(codec, bits_per_second);
        Output { path: "out/a.mp3".to_owned(), audio, header, longer_by_samples, bytes: 1 }
    }

    #[test]
    fn one_frame_is_allowed_and_no_more() {
        assert!(faults(&output("mp3", 192_000, -FRAME)).is_empty());
        assert_eq!(faults(&output("mp3", 192_000, FRAME + 1)).len(), 1);
    }

    #[test]
    fn other_settings_are_a_fault() {
        assert!(faults(&output("mp3", 192_500, 0)).is_empty());
        assert_eq!(faults(&output("mp3", 128_000, 0)).len(), 1);
        assert_eq!(faults(&output("aac", 192_000, 0)).len(), 1);
    }

    #[test]
    fn lengths_are_compared_at_the_rate_of_the_output() {
        let (path, audio) = ("media/a.mkv".to_owned(), audio("opus", 0));
        let source = Source { path, audio, samples: 441_000, declared_s: None, bytes: 1 };
        assert_eq!(difference(480_000, 48_000, &source), 0);
        assert_eq!(difference(441_007, 44_100, &source), 7);
    }
}
