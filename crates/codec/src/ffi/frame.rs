//! Channel layouts of frames and streams, in the form that FFmpeg has had since 5.1.

use ffmpeg_next::codec::Parameters;
use ffmpeg_next::ffi::{AVChannelLayout, AVChannelOrder};
use ffmpeg_next::frame;

use crate::pcm::ChannelLayout;

/// Channels of a decoded frame.
pub(crate) fn layout(frame: &frame::Audio) -> ChannelLayout {
    // SAFETY: the frame is alive and owns its layout.
    read(unsafe { &(*frame.as_ptr()).ch_layout })
}

/// Channels that a container declares.
pub(crate) fn declared_layout(parameters: &Parameters) -> ChannelLayout {
    // SAFETY: the parameters are alive and own their layout.
    read(unsafe { &(*parameters.as_ptr()).ch_layout })
}

/// Samples per channel and packet, 0 where the codec has no fixed number.
pub(crate) fn samples_per_packet(parameters: &Parameters) -> u64 {
    // SAFETY: reads an integer field of live parameters.
    u64::try_from(unsafe { (*parameters.as_ptr()).frame_size }).unwrap_or(0)
}

/// The rate that a container declares, in Hz; 0 where it does not.
pub(crate) fn declared_rate_hz(parameters: &Parameters) -> u32 {
    // SAFETY: reads an integer field of live parameters.
    u32::try_from(unsafe { (*parameters.as_ptr()).sample_rate }).unwrap_or(0)
}

/// The four characters by which a container names a codec that FFmpeg does not know, or "unknown".
pub(crate) fn codec_tag(parameters: &Parameters) -> String {
    // SAFETY: reads an integer field of live parameters.
    let tag = unsafe { (*parameters.as_ptr()).codec_tag };
    let tag = tag.to_le_bytes();
    match std::str::from_utf8(&tag) {
        Ok(text) if tag.iter().all(u8::is_ascii_graphic) => text.to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn read(layout: &AVChannelLayout) -> ChannelLayout {
    let native = layout.order == AVChannelOrder::AV_CHANNEL_ORDER_NATIVE;
    // SAFETY: in native order the union holds the mask, an integer.
    let mask = if native { unsafe { layout.u.mask } } else { 0 };
    ChannelLayout { channels: u32::try_from(layout.nb_channels).unwrap_or(0), mask }
}
