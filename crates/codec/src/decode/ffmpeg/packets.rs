//! The packets of one stream: all as FFmpeg's demuxer gives them, or of a plain MP4 track the first
//! ones, and the others by the track's sample table.
//!
//! FFmpeg's own index of an MP4 takes 24 bytes a packet, and twice that while it applies an edit
//! list: for ten hours of AAC more than all else together.

use std::sync::Arc;

use ffmpeg_next::format::context::Input;
use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::{Error, Packet};

use super::READ_BYTES;
use crate::error::{CodecError, Result};
use crate::isobmff::{Sample, SampleReader, SampleTable, read_up_to};
use crate::source::{GuardedSource, SourceState, Stop};

/// Demuxer errors in a row after which the rest is given up.
const MAX_ERRORS_IN_A_ROW: u32 = 256;
/// No codec's packet is larger.
const MAX_PACKET_BYTES: u32 = 4 << 20;

/// What reading on came to.
pub(super) enum Next {
    Packet(Packet),
    /// Something is missing here; there may be more.
    Damage,
    /// The file is over, or what can be read of it.
    End,
    /// Nothing that follows can be read.
    BrokenOff,
}

/// Reads one stream of an input.
pub(super) struct Packets {
    input: Input,
    stream: usize,
    errors_in_a_row: u32,
    input_is_over: bool,
    rest: Option<SampledPackets>,
    stop: Stop,
    state: Arc<SourceState>,
}

impl Packets {
    /// `rest` are those that follow when the demuxer has given all that it was shown of `source`.
    pub(super) fn new(
        input: Input,
        stream: usize,
        rest: Option<SampledPackets>,
        source: &GuardedSource,
    ) -> Self {
        let (stop, state) = (source.stop(), source.state());
        Self { input, stream, errors_in_a_row: 0, input_is_over: false, rest, stop, state }
    }

    pub(super) fn stream(&self) -> Option<Stream<'_>> {
        self.input.stream(self.stream)
    }

    pub(super) fn next(&mut self) -> Result<Next> {
        self.stop.check()?;
        if !self.input_is_over {
            let next = self.next_of_input()?;
            self.input_is_over = matches!(next, Next::End);
            if !self.input_is_over {
                return Ok(next);
            }
        }
        // The source is one: from here on FFmpeg no longer reads it.
        let next = self.rest.as_mut().map(SampledPackets::next);
        match next {
            Some(Err(error)) => Err(self.state.take_error().unwrap_or(CodecError::Source(error))),
            Some(Ok(next)) => Ok(next),
            None => Ok(Next::End),
        }
    }

    fn next_of_input(&mut self) -> Result<Next> {
        loop {
            self.stop.check()?;
            // A fresh one each time: reading over a packet would leak what it holds.
            let mut packet = Packet::empty();
            let outcome = packet.read(&mut self.input);
            // FFmpeg reports some failures of the source as the end of the file.
            if let (Err(_), Some(error)) = (&outcome, self.state.take_error()) {
                return Err(error);
            }
            return Ok(match outcome {
                Ok(()) if packet.stream() == self.stream => {
                    self.errors_in_a_row = 0;
                    if let Some(rest) = &mut self.rest {
                        rest.correct(&mut packet);
                    }
                    Next::Packet(packet)
                }
                Ok(()) => continue,
                Err(Error::Eof) => Next::End,
                Err(Error::InvalidData) if self.errors_in_a_row < MAX_ERRORS_IN_A_ROW => {
                    self.errors_in_a_row += 1;
                    Next::Damage
                }
                Err(_) => Next::BrokenOff,
            });
        }
    }
}

/// Reads the packets of an MP4 track by its sample table.
pub(super) struct SampledPackets {
    source: GuardedSource,
    samples: SampleReader,
    /// Samples to pass over: FFmpeg was shown them, the last of which is `last_shown`.
    skip: u32,
    last_shown: Sample,
    last_shown_was_given: bool,
    /// Start of the next sample, and where what is to be heard ends, in the media's time.
    time: u64,
    end: u64,
    /// Some lie beyond the end of the file.
    some_are_missing: bool,
    /// A part of the file, and where it starts.
    window: Vec<u8>,
    window_at: u64,
}

impl SampledPackets {
    /// Those that FFmpeg was not shown, up to `end` in units of the media's time scale. Reads
    /// nothing yet.
    pub(super) fn new(source: GuardedSource, table: &SampleTable, end: u64) -> Self {
        Self {
            source,
            samples: SampleReader::new(table),
            skip: table.shown_samples(),
            last_shown: table.last_shown(),
            last_shown_was_given: false,
            time: 0,
            end,
            some_are_missing: false,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// FFmpeg takes the last packet that it was shown for the track's last.
    fn correct(&mut self, packet: &mut Packet) {
        if u64::try_from(packet.position()) == Ok(self.last_shown.offset) {
            self.last_shown_was_given = true;
            packet.set_duration(self.last_shown.duration.into());
        }
    }

    fn next(&mut self) -> std::io::Result<Next> {
        while self.skip > 0 {
            self.next_sample()?;
            self.skip -= 1;
            // FFmpeg ends quietly at the first that lies beyond the end of the file.
            self.some_are_missing = !self.last_shown_was_given && self.time < self.end;
        }
        while self.time < self.end {
            let Some(sample) = self.next_sample()? else { break };
            if sample.bytes == 0 || sample.bytes > MAX_PACKET_BYTES {
                return Ok(Next::Damage);
            }
            let Some(bytes) = self.bytes(sample)? else {
                self.some_are_missing = true;
                continue;
            };
            let mut packet = Packet::copy(bytes);
            packet.set_duration(sample.duration.into());
            return Ok(Next::Packet(packet));
        }
        Ok(if self.some_are_missing { Next::BrokenOff } else { Next::End })
    }

    fn next_sample(&mut self) -> std::io::Result<Option<Sample>> {
        let sample = self.samples.next(&mut self.source)?;
        let duration = sample.map_or(0, |sample| u64::from(sample.duration));
        self.time = self.time.saturating_add(duration);
        Ok(sample)
    }

    /// What lies at the sample's place; `None` beyond the end of the file.
    fn bytes(&mut self, sample: Sample) -> std::io::Result<Option<&[u8]>> {
        let len = sample.bytes as usize;
        if sample.offset.saturating_add(sample.bytes.into()) > self.source.len() {
            return Ok(None);
        }
        let held = |at: u64, window: &[u8]| {
            let start = usize::try_from(sample.offset.checked_sub(at)?).ok()?;
            (start.checked_add(len)? <= window.len()).then_some(start)
        };
        if held(self.window_at, &self.window).is_none() {
            let wanted = len.max(READ_BYTES) as u64;
            self.window = read_up_to(&mut self.source, sample.offset, wanted)?;
            self.window_at = sample.offset;
        }
        let start = held(self.window_at, &self.window);
        Ok(start.map(|start| &self.window[start..start + len]))
    }
}
