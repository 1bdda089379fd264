//! What an upload is, by its first bytes: the containers that the workers open, and nothing else.
//!
//! This only saves everybody's time. A file that looks right here can still be anything: the
//! workers decide.

/// Bytes from the start that are enough to tell.
pub(crate) const HEAD_BYTES: usize = 4096;
/// Lengths of a packet of a transport stream: plain (ISO/IEC 13818-1), with a time stamp (M2TS),
/// with error correction.
const TS_PACKETS: [usize; 3] = [188, 192, 204];

/// Signatures at offset 0, with the container's name.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"#!AMR", "amr"),
    (b".snd", "au"),
    (b"caff", "caf"),
    (b"MAC ", "ape"),
    (b"wvpk", "wavpack"),
    (b"TTA1", "tta"),
    (b"tBaK", "tak"),
    (b"MPCK", "musepack"),
    (b"MP+", "musepack"),
    (b".RMF", "realmedia"),
    (b"\x06\x0e\x2b\x34", "mxf"),
    (b"nut/multimedia container\0", "nut"),
    (b"\x1f\x07\x00", "dv"),
    (b"Creative Voice File\x1a", "voc"),
    (b"ea3\x03", "oma"),
    (b"DSD ", "dsf"),
    (b"NSVf", "nsv"),
    (b"NSVs", "nsv"),
    (b"FWS", "swf"),
    (b"CWS", "swf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
    (b"\x0b\x77", "ac3"),
    (b"\x7f\xfe\x80\x01", "dts"),
    (b"\xfe\x7f\x01\x80", "dts"),
    (b"\x1f\xff\xe8\x00", "dts"),
    (b"\xff\x1f\x00\xe8", "dts"),
    (b"DTSHDHDR", "dts"),
    (b"\xb7\xd8\x00\x20\x37\x49\xda\x11", "wtv"),
    (b"\x00\x00\x00\x00\x01\xbc", "gxf"),
    (b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "wav"),
];

/// Types of the first box of an MP4 or QuickTime file.
const BOXES: [&[u8; 4]; 9] =
    [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof"];

/// The container that `head`, the first [`HEAD_BYTES`] of an upload or all of it, belongs to.
pub(crate) fn sniff(head: &[u8]) -> Option<&'static str> {
    let known = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature));
    if let Some((_, name)) = known {
        return Some(name);
    }
    let at = |offset: usize, text: &[u8]| head.get(offset..).is_some_and(|h| h.starts_with(text));
    if BOXES.iter().any(|kind| at(4, *kind)) {
        return Some("mp4");
    }
    if at(0, b"RIFF") || at(0, b"RF64") || at(0, b"BW64") {
        return if at(8, b"AVI ") { Some("avi") } else { at(8, b"WAVE").then_some("wav") };
    }
    if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
        return Some("aiff");
    }
    if at(4, b"\xf8\x72\x6f\xba") || at(4, b"\xf8\x72\x6f\xbb") {
        return Some("truehd");
    }
    if TS_PACKETS.iter().any(|length| is_transport_stream(head, *length)) {
        return Some("mpegts");
    }
    mpeg_audio(head)
}

/// Whether there are sync bytes in the right distance. A stream that was cut begins anywhere.
fn is_transport_stream(head: &[u8], length: usize) -> bool {
    (0..length.min(head.len())).any(|start| {
        let syncs = head[start..].iter().step_by(length);
        let count = syncs.clone().take(5).filter(|byte| **byte == 0x47).count();
        let is_one_packet = start == 0 && count == 1 && head.len() == length;
        count == syncs.take(5).count() && (count > 1 || is_one_packet)
    })
}

/// MPEG audio (ISO/IEC 11172-3, 13818-3), or AAC in ADTS or LOAS (ISO/IEC 13818-7, 14496-3),
/// perhaps behind padding.
fn mpeg_audio(head: &[u8]) -> Option<&'static str> {
    let start = head.iter().position(|byte| *byte != 0)?;
    let header = head.get(start..start + 4)?;
    let bits = u32::from_be_bytes(header.try_into().ok()?);
    if bits >> 21 == 0x2b7 {
        return Some("aac");
    }
    let (version, layer) = (bits >> 19 & 3, bits >> 17 & 3);
    if bits >> 21 != 0x7ff || version == 1 {
        return None;
    }
    if layer == 0 {
        let rate = bits >> 10 & 15;
        return (bits >> 20 == 0xfff && rate < 13).then_some("aac");
    }
    let (bitrate, rate) = (bits >> 12 & 15, bits >> 10 & 3);
    (bitrate != 15 && rate != 3).then_some("mp3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_first_bytes() {
        let mut ts = vec![0_u8; 600];
        for at in [10, 198, 386, 574] {
            ts[at] = 0x47;
        }
        let mut packet = [0xff; 188];
        packet[0] = 0x47;
        let known: [(&[u8], &str); 11] = [
            (b"\0\0\0\x20ftypisom", "mp4"),
            (b"\0\0\0\x08wide\0\0\0\0mdat", "mp4"),
            (b"\x1aE\xdf\xa3\x01", "matroska"),
            (b"RIFF....AVI LIST", "avi"),
            (b"RIFF....WAVEfmt ", "wav"),
            (b"FORM....AIFC", "aiff"),
            (&ts, "mpegts"),
            (&packet, "mpegts"),
            (b"\0\0\xff\xfb\x90\x64", "mp3"),
            (b"\xff\xf1\x50\x80", "aac"),
            (b"\x56\xe0\x00\x00", "aac"),
        ];
        for (head, name) in known {
            assert_eq!(sniff(head), Some(name));
        }
    }

    #[test]
    fn what_is_no_media_is_not_taken_for_it() {
        let zeros = [0; HEAD_BYTES];
        let mut packet = [0xff; 187];
        packet[0] = 0x47;
        let unknown: [&[u8]; 15] = [
            b"",
            b"G",
            &packet,
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"ffconcat version 1.0\nfile x\n",
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
            b"<?xml version=\"1.0\"?><MPD/>",
            b"<!doctype html>",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"PK\x03\x04",
            b"%PDF-1.7",
            b"\x7fELF",
            b"RIFF....WEBP",
            &zeros,
        ];
        for head in unknown {
            assert_eq!(sniff(head), None, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
