//! Whatever the bytes, Symphonia's way from media to MP3 must never panic, hang, go over its
//! limits, blame itself or the machine for the input, or call an MP3 finished that is not.
#![no_main]

use std::panic;

use libfuzzer_sys::fuzz_target;
use tonemill_codec::DecoderKind;

fuzz_target!(
    init: contain_symphonia(),
    |media: &[u8]| tonemill_fuzz::media_to_mp3(media, DecoderKind::Symphonia)
);

/// libFuzzer ends at every panic. Those inside Symphonia are its own defects, and the codec catches
/// them: only if one gets through is it a finding.
fn contain_symphonia() {
    let end = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains("/symphonia-")) {
            end(panic);
        }
    }));
}
