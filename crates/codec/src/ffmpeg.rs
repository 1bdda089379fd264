//! The FFmpeg that is linked: which one, and what it lacks.

use ffmpeg_next::decoder;

use crate::decode::ffmpeg::CODECS;

/// The version of libavcodec, such as `59.37.100`.
#[must_use]
pub fn version() -> String {
    let version = ffmpeg_next::codec::version();
    format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff)
}

/// Decoders that uploads may need and that are not built in, by FFmpeg's names.
#[must_use]
pub fn missing_decoders() -> Vec<&'static str> {
    CODECS.split(',').filter(|name| decoder::find_by_name(name).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_has_is_not_missing() {
        let missing = missing_decoders();
        for name in ["aac", "mp3float", "flac", "vorbis", "opus", "pcm_s16le"] {
            assert!(!missing.contains(&name), "{missing:?}");
        }
        assert_eq!(version().split('.').count(), 3);
    }
}
