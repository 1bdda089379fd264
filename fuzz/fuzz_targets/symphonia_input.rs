//! Whatever the bytes, Symphonia's way from media to MP3 must never panic, hang, go over its limits,
//! blame itself or the machine for the input, or call an MP3 finished that is not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tonemill_codec::DecoderKind;

fuzz_target!(|media: &[u8]| tonemill_fuzz::media_to_mp3(media, DecoderKind::Symphonia));
