//! Frames in order become a file: body first, then the head with the tag that counts it.

use crate::error::{CodecError, Result};
use crate::limits::Limits;
use crate::mp3::header::frame_sizes;
use crate::mp3::seek_table::SeekTable;
use crate::mp3::segment::FrameGrid;
use crate::mp3::settings::{BitrateMode, Mp3Format};
use crate::mp3::tag::{InfoTag, crc16};
use crate::sink::OutputSink;

/// Writes one MP3 to a sink.
pub(crate) struct Assembler<'a, S> {
    sink: S,
    format: &'a Mp3Format,
    limits: &'a Limits,
    id3_bytes: usize,
    seek_table: SeekTable,
    music_crc: u16,
    hasher: blake3::Hasher,
}

/// What came out.
pub(crate) struct Assembled {
    pub(crate) frames: u64,
    /// Bytes of the whole file.
    pub(crate) bytes: u64,
    /// BLAKE3 of the audio frames.
    pub(crate) hash: blake3::Hash,
}

impl<'a, S: OutputSink> Assembler<'a, S> {
    /// Reserves room for an ID3 tag of `id3_bytes` and the tag frame.
    pub(crate) fn begin(
        mut sink: S,
        format: &'a Mp3Format,
        limits: &'a Limits,
        id3_bytes: usize,
    ) -> Result<Self> {
        sink.begin(id3_bytes + InfoTag::frame_bytes(format)).map_err(CodecError::Sink)?;
        Ok(Self {
            sink,
            format,
            limits,
            id3_bytes,
            seek_table: SeekTable::new(),
            music_crc: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Appends the frames of one segment.
    pub(crate) fn push(&mut self, frames: &[u8]) -> Result<()> {
        for size in frame_sizes(frames).flatten() {
            self.seek_table.push(size);
        }
        self.limits.check_output(self.file_bytes())?;
        self.music_crc = crc16(self.music_crc, frames);
        self.hasher.update(frames);
        self.sink.write_body(frames).map_err(CodecError::Sink)
    }

    /// Writes the head: `id3`, as long as announced, and the tag for `samples` of audio whose
    /// lowpass was `lowpass_hz`.
    pub(crate) fn finish(mut self, id3: &[u8], samples: u64, lowpass_hz: u32) -> Result<Assembled> {
        let bug = |detail: String| CodecError::Bug { stage: "assemble", detail };
        if id3.len() != self.id3_bytes {
            return Err(bug(format!("an ID3 tag of {} became {}", self.id3_bytes, id3.len())));
        }
        let grid = FrameGrid::of(self.format)?;
        let frames = self.seek_table.frames();
        if frames != grid.total_frames(samples) {
            return Err(bug(format!("{samples} samples became {frames} frames")));
        }
        let tag_bytes = InfoTag::frame_bytes(self.format);
        let tag = InfoTag {
            constant_bitrate: matches!(self.format.mode, BitrateMode::Cbr(_)),
            frames: frames.try_into().unwrap_or(u32::MAX),
            bytes: (self.seek_table.bytes() + tag_bytes as u64).try_into().unwrap_or(u32::MAX),
            toc: self.seek_table.toc(tag_bytes),
            delay: grid.delay as u16,
            padding: grid.padding(samples) as u16,
            lowpass_hz,
            music_crc: self.music_crc,
        };
        let mut head = id3.to_vec();
        head.extend(tag.encode(self.format));
        self.sink.finish(&head).map_err(CodecError::Sink)?;
        Ok(Assembled { frames, bytes: self.file_bytes(), hash: self.hasher.finalize() })
    }

    /// Samples per channel in the frames so far, the encoder's delay included.
    pub(crate) fn samples(&self) -> u64 {
        self.seek_table.frames() * self.format.samples_per_frame() as u64
    }

    fn file_bytes(&self) -> u64 {
        (self.id3_bytes + InfoTag::frame_bytes(self.format)) as u64 + self.seek_table.bytes()
    }
}
