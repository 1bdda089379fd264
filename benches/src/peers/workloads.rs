//! What is converted: the cases of the command line as lists of inputs and contenders.

use super::contenders::Contender;
use super::looped;
use super::media;
use super::options::{Case, Options, Peer};
use super::place::Place;
use crate::error::BenchError;

/// One thing to compare.
#[derive(Debug)]
pub struct Workload {
    /// As the report and the folders call it.
    pub name: String,
    /// What the inputs are.
    pub about: String,
    /// The files to convert.
    pub inputs: Vec<Input>,
    /// Tonemill, then the others.
    pub contenders: Vec<Contender>,
    /// How often.
    pub rounds: u32,
}

impl Workload {
    /// Whether anyone but Tonemill takes part.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.contenders.len() > 1
    }

    /// Where a contender writes, seen from the run folder.
    #[must_use]
    pub fn folder(&self, contender: Contender) -> String {
        format!("out/{}/{}", self.name, contender.name())
    }
}

/// A file to convert; paths are seen from the run folder.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name without folder and extension, and the output's name.
    pub stem: String,
    /// The video.
    pub media: String,
    /// Its audio as 16-bit WAV, made beforehand for lame.
    pub wav: String,
}

impl Input {
    /// A file in the media folder.
    #[must_use]
    pub fn in_media(path: &str) -> Self {
        Self::at(&format!("media/{path}"))
    }

    fn at(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        Self { media: path.to_owned(), wav: format!("media/wav/{stem}.wav"), stem }
    }

    /// Its MP3 in `folder`.
    #[must_use]
    pub fn output(&self, folder: &str) -> String {
        format!("{folder}/{}.mp3", self.stem)
    }
}

/// The chosen workloads, their media made.
pub fn chosen(options: &Options, place: &Place) -> Result<Vec<Workload>, BenchError> {
    let mut workloads = Vec::new();
    for case in options.all_cases() {
        for (name, about, inputs) in described(case, place)? {
            let contenders = contenders(case, &options.peers);
            if contenders.contains(&Contender::Lame) {
                media::wavs(place, &inputs)?;
            }
            let rounds = options.rounds_of(case);
            workloads.push(Workload { name, about, inputs, contenders, rounds });
        }
    }
    Ok(workloads)
}

/// Name, description and inputs of the workloads of a case; makes the inputs.
fn described(case: Case, place: &Place) -> Result<Vec<Described>, BenchError> {
    let one = |name: &str, about: &str, inputs| vec![(name.to_owned(), about.to_owned(), inputs)];
    Ok(match case {
        Case::Long => one("long", LONG, vec![Input::in_media(media::long(place)?)]),
        Case::FiveMinutes => {
            one("five-minutes", FIVE_MINUTES, vec![Input::in_media(media::five_minutes(place)?)])
        }
        Case::Clip => {
            let clips = media::clips(place)?;
            one("clip", CLIP, vec![Input::in_media(&clips[clips.len() / 2])])
        }
        Case::Batch => {
            let clips = media::clips(place)?;
            one("batch", BATCH, clips.iter().map(|clip| Input::in_media(clip)).collect())
        }
        Case::Memory => looped::inputs(place)?
            .into_iter()
            .map(|input| (input.name, input.about, vec![Input::in_media(&input.path)]))
            .collect(),
        Case::Video => place.video.iter().filter_map(|path| video(path)).collect(),
    })
}

type Described = (String, String, Vec<Input>);

const LONG: &str = "one video of 60 minutes: orchestral music, AAC 192 kbit/s stereo 44.1 kHz, \
                    with H.264 320×180, in MP4";
const FIVE_MINUTES: &str = "one video of 5 minutes, of other music, made the same way";
const CLIP: &str = "one video of 5 seconds, cut from the long one and encoded again";
const BATCH: &str = "50 videos of 5 seconds: one process for all of them for tonemill and for \
                     moviepy; one process for each for lame and ffmpeg, one after the other; \
                     ffmpeg-parallel: as many at a time as there are cores";

fn video(path: &str) -> Option<Described> {
    let mut input = Input::at(path);
    input.wav = format!("media/wav/video-{}.wav", input.stem);
    Some(("video".to_owned(), format!("the video `{}`", path.strip_prefix("video/")?), vec![input]))
}

fn contenders(case: Case, peers: &[Peer]) -> Vec<Contender> {
    let mut contenders = vec![Contender::Tonemill];
    if case == Case::Memory {
        return contenders;
    }
    for peer in peers {
        match peer {
            Peer::Ffmpeg if case == Case::Batch => {
                contenders.extend([Contender::Ffmpeg, Contender::FfmpegParallel]);
            }
            Peer::Ffmpeg => contenders.push(Contender::Ffmpeg),
            Peer::Lame => contenders.push(Contender::Lame),
            Peer::Moviepy => contenders.push(Contender::Moviepy),
        }
    }
    contenders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_has_ffmpeg_twice_and_memory_has_no_peers() {
        let all = [Peer::Ffmpeg, Peer::Lame, Peer::Moviepy];
        assert_eq!(contenders(Case::Long, &all).len(), 4);
        assert_eq!(contenders(Case::Batch, &all).len(), 5);
        assert_eq!(contenders(Case::Memory, &all), [Contender::Tonemill]);
    }

    #[test]
    fn names_follow_the_file() {
        let input = Input::in_media("clips/clip-07.mp4");
        assert_eq!(input.stem, "clip-07");
        assert_eq!(input.output("out/batch/lame"), "out/batch/lame/clip-07.mp3");
    }
}
