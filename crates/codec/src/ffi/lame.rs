//! LAME: one encoder instance, from settings to MP3 frames.
//!
//! `mp3lame-encoder` owns the C object and its buffers; this file adds the calls it lacks: ABR,
//! bitrates outside its enum, counters.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::Once;

use mp3lame_encoder::ffi as sys;
use mp3lame_encoder::{Builder, DualPcm, Encoder, EncoderInput, FlushGap, FlushNoGap, MonoPcm};

use crate::mp3::settings::{BitrateMode, Mp3Format};

/// A call into LAME failed; all of these are defects, as the settings are checked beforehand.
#[derive(Debug, thiserror::Error)]
#[error("LAME refused {call}: {code}")]
pub(crate) struct LameError {
    call: &'static str,
    code: String,
}

#[allow(clippy::needless_pass_by_value, reason = "it ends `map_err` closures")]
fn refused(call: &'static str, code: impl ToString) -> LameError {
    LameError { call, code: code.to_string() }
}

/// An initialised encoder.
pub(crate) struct Lame {
    encoder: Encoder,
    /// The same object as in `encoder`, for the calls that `Encoder` does not offer.
    raw: NonNull<sys::lame_global_flags>,
}

// SAFETY: LAME 3.100 keeps all state of an encoder in its lame_global_flags object, which `Lame`
// alone owns; nothing in it is tied to a thread. Its global tables (`init_log_table`, and those of
// `iteration_init`) are filled by `new` below before a second thread can come; later instances
// store the same values again.
unsafe impl Send for Lame {}

impl Lame {
    /// A fresh encoder for planar floats in `format`. It writes no tags of its own.
    pub(crate) fn new(format: &Mp3Format) -> Result<Self, LameError> {
        // LAME fills global tables behind unsynchronised flags: the first instance of the process
        // has to be alone.
        static FIRST: Once = Once::new();
        FIRST.call_once(|| drop(Self::build(format)));
        Self::build(format)
    }

    fn build(format: &Mp3Format) -> Result<Self, LameError> {
        let mut builder = Builder::new().ok_or_else(|| refused("lame_init", "out of memory"))?;
        let rate = format.rate.hz();
        let rate_out = std::num::NonZeroU32::new(rate);
        builder.set_num_channels(format.channels).map_err(|e| refused("channels", e))?;
        builder.set_sample_rate(rate).map_err(|e| refused("input rate", e))?;
        builder.set_output_sample_rate(rate_out).map_err(|e| refused("output rate", e))?;
        builder.set_to_write_vbr_tag(false).map_err(|e| refused("no tag", e))?;
        // SAFETY: the pointer is used while `builder` or the `Encoder` made of it lives, neither
        // of which moves or frees the C object before it is dropped.
        let raw = unsafe { builder.as_ptr() };
        for (call, code) in configure(raw, format) {
            if code < 0 {
                return Err(refused(call, code));
            }
        }
        let encoder = builder.build().map_err(|e| refused("lame_init_params", e))?;
        let raw = NonNull::new(raw).ok_or_else(|| refused("lame_init", "null"))?;
        Ok(Self { encoder, raw })
    }

    /// Encodes samples, one slice for mono and two of equal length for stereo, and appends the
    /// frames that come out to `out`.
    pub(crate) fn encode(&mut self, planes: &[&[f32]], out: &mut Vec<u8>) -> Result<(), LameError> {
        match planes {
            [mono] => self.feed(MonoPcm(mono), mono.len(), out),
            [left, right] => self.feed(DualPcm { left, right }, left.len(), out),
            _ => Err(refused("encode", "neither mono nor stereo")),
        }
    }

    fn feed(
        &mut self,
        pcm: impl EncoderInput,
        samples: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), LameError> {
        out.reserve(mp3lame_encoder::max_required_buffer_size(samples));
        self.encoder.encode_to_vec(pcm, out).map(drop).map_err(|e| refused("lame_encode_buffer", e))
    }

    /// Completes the frames under way and empties the bit reservoir, so that the next frame refers
    /// to nothing before it. The filterbank keeps its history.
    pub(crate) fn flush_reservoir(&mut self, out: &mut Vec<u8>) -> Result<(), LameError> {
        out.reserve(mp3lame_encoder::max_required_buffer_size(0));
        let flushed = self.encoder.flush_to_vec::<FlushNoGap>(out);
        flushed.map(drop).map_err(|e| refused("lame_encode_flush_nogap", e))
    }

    /// Encodes what is left inside, padded with silence, and ends the stream.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), LameError> {
        out.reserve(mp3lame_encoder::max_required_buffer_size(0));
        let flushed = self.encoder.flush_to_vec::<FlushGap>(out);
        flushed.map(drop).map_err(|e| refused("lame_encode_flush", e))
    }

    /// Frames encoded so far.
    pub(crate) fn frames(&self) -> u64 {
        // SAFETY: `raw` is the object of `self.encoder`; the call reads a counter.
        u64::try_from(unsafe { sys::lame_get_frameNum(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// The lowpass that LAME chose, in Hz; 0 for none.
    pub(crate) fn lowpass_hz(&self) -> u32 {
        // SAFETY: as in `frames`.
        u32::try_from(unsafe { sys::lame_get_lowpassfreq(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Samples per channel in a frame.
    pub(crate) fn samples_per_frame(&self) -> usize {
        // SAFETY: as in `frames`.
        usize::try_from(unsafe { sys::lame_get_framesize(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Samples that LAME puts in front of the first one it is given.
    pub(crate) fn delay(&self) -> usize {
        // SAFETY: as in `frames`.
        usize::try_from(unsafe { sys::lame_get_encoder_delay(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// LAME's own tag frame, the oracle of ours.
    #[cfg(test)]
    pub(crate) fn reference(format: &Mp3Format, planes: &[&[f32]]) -> (Vec<u8>, Vec<u8>) {
        let mut builder = Builder::new().unwrap();
        builder.set_num_channels(format.channels).unwrap();
        builder.set_sample_rate(format.rate.hz()).unwrap();
        builder.set_output_sample_rate(std::num::NonZeroU32::new(format.rate.hz())).unwrap();
        builder.set_to_write_vbr_tag(true).unwrap();
        // SAFETY: as in `build`.
        let raw = unsafe { builder.as_ptr() };
        assert!(configure(raw, format).iter().all(|(_, code)| *code >= 0));
        let encoder = builder.build().unwrap();
        let mut lame = Self { encoder, raw: NonNull::new(raw).unwrap() };
        let mut body = Vec::new();
        lame.encode(planes, &mut body).unwrap();
        body.reserve(7200);
        lame.encoder.flush_to_vec::<FlushGap>(&mut body).unwrap();
        let mut tag = vec![0; 4096];
        // SAFETY: `tag` has the room that the call is told of.
        let len = unsafe { sys::lame_get_lametag_frame(raw, tag.as_mut_ptr(), tag.len()) };
        tag.truncate(len);
        (tag, body)
    }
}

/// Sets mode and quality through the raw object; returns each call's name and code.
fn configure(raw: *mut sys::lame_global_flags, format: &Mp3Format) -> Vec<(&'static str, c_int)> {
    let quality = c_int::from(format.quality.get());
    // SAFETY: `raw` is a live object before `lame_init_params`, when these setters are allowed;
    // they store integers.
    let mut calls = vec![("lame_set_quality", unsafe { sys::lame_set_quality(raw, quality) })];
    match format.mode {
        BitrateMode::Cbr(kbps) => {
            let kbps = c_int::from(kbps.get());
            // SAFETY: as above.
            calls.push(("lame_set_brate", unsafe { sys::lame_set_brate(raw, kbps) }));
        }
        BitrateMode::Abr(kbps) => {
            let kbps = c_int::from(kbps.get());
            // SAFETY: as above.
            calls.push(("lame_set_VBR", unsafe { sys::lame_set_VBR(raw, sys::vbr_mode::vbr_abr) }));
            // SAFETY: as above.
            let mean = unsafe { sys::lame_set_VBR_mean_bitrate_kbps(raw, kbps) };
            calls.push(("lame_set_VBR_mean_bitrate_kbps", mean));
        }
        BitrateMode::Vbr(level) => {
            let level = c_int::from(level.get());
            // SAFETY: as above.
            calls
                .push(("lame_set_VBR", unsafe { sys::lame_set_VBR(raw, sys::vbr_mode::vbr_mtrh) }));
            // SAFETY: as above.
            calls.push(("lame_set_VBR_q", unsafe { sys::lame_set_VBR_q(raw, level) }));
        }
    }
    calls
}
