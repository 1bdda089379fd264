//! Opening a demuxer that can reach nothing but the bytes it is given, and reading from it what
//! `ffmpeg-next` does not offer safely: tags that are not UTF-8, attached pictures.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::Once;

use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::media::Type;
use ffmpeg_next::{Chapter, Dictionary, Error};

/// The largest single allocation that FFmpeg may make, in bytes. Indexes are the largest, at 24
/// bytes a packet in one piece: 192 MiB is 8 million packets, 48 hours of AAC.
pub(crate) const MAX_ALLOCATION_BYTES: usize = 192 << 20;

/// Sets what is global in FFmpeg: nothing is logged to standard error, allocations are bounded.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `av_log_set_level` stores an integer; FFmpeg documents it as callable anytime.
        unsafe { ffi::av_log_set_level(ffi::AV_LOG_QUIET) };
        // SAFETY: `av_max_alloc` stores an atomic integer.
        unsafe { ffi::av_max_alloc(MAX_ALLOCATION_BYTES) };
    });
}

/// Opens `io` with the demuxer options in `options`, sets pictures and subtitles to be discarded
/// and reads ahead until the audio streams are described.
///
/// No name or URL is passed, and requests of the demuxer to open another resource are refused.
pub(crate) fn open(mut io: StreamIo, options: Dictionary<'_>) -> Result<Input, Error> {
    init();
    // SAFETY: takes no arguments; the result is checked below.
    let mut context = unsafe { ffi::avformat_alloc_context() };
    if context.is_null() {
        return Err(Error::Other { errno: ffi::ENOMEM });
    }
    // SAFETY: `context` was just allocated and nobody else holds it. `pb` stays valid as long as
    // the context: on success `Input` owns both, on failure FFmpeg frees the context (it leaves
    // custom I/O alone) before `io` is dropped at the end of this function.
    unsafe {
        (*context).pb = io.as_mut_ptr();
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
        (*context).io_open = Some(refuse_to_open);
    }
    // SAFETY: ownership of the dictionary passes to `raw`, and back two lines below.
    let mut raw = unsafe { options.disown() };
    // SAFETY: `context` is a valid context with I/O set; a null URL and a null format are allowed;
    // `raw` is a valid dictionary, which FFmpeg replaces by the one of unused options.
    let opened = unsafe {
        ffi::avformat_open_input(&raw mut context, ptr::null(), ptr::null_mut(), &raw mut raw)
    };
    // SAFETY: `raw` is a dictionary that this function owns.
    drop(unsafe { Dictionary::own(raw) });
    check(opened)?;

    // SAFETY: `avformat_open_input` succeeded, so `context` is an open input that nobody else
    // holds, whose `pb` is that of `io`.
    let mut input = unsafe { Input::wrap_with_custom_io(context, io) };
    // Some of MPEG-TS is known for audio only when its packets are looked at.
    discard_all_but(&mut input, |kind, _| !matches!(kind, Type::Video | Type::Subtitle));
    // SAFETY: `input` is open; null options are allowed.
    let found = unsafe { ffi::avformat_find_stream_info(input.as_mut_ptr(), ptr::null_mut()) };
    check(found)?;
    Ok(input)
}

/// Has the demuxer drop the packets of all streams that `keep` (media type, index) refuses.
pub(crate) fn discard_all_but(input: &mut Input, keep: impl Fn(Type, usize) -> bool) {
    let kept: Vec<bool> =
        input.streams().map(|s| keep(s.parameters().medium(), s.index())).collect();
    for (mut stream, kept) in input.streams_mut().zip(kept) {
        let discard =
            if kept { ffi::AVDiscard::AVDISCARD_DEFAULT } else { ffi::AVDiscard::AVDISCARD_ALL };
        // SAFETY: the stream belongs to `input`, which is borrowed mutably; `discard` is a field
        // that callers of libavformat own.
        unsafe { (*stream.as_mut_ptr()).discard = discard };
    }
}

/// The bytes of a stream's attached picture, if it is one.
pub(crate) fn attached_picture<'a>(stream: &'a Stream<'_>) -> Option<&'a [u8]> {
    // SAFETY: the pointer is to a stream that lives as long as `stream`; reading fields only.
    let packet = unsafe { &(*stream.as_ptr()).attached_pic };
    let len = usize::try_from(packet.size).ok()?;
    if packet.data.is_null() || len == 0 {
        return None;
    }
    // SAFETY: FFmpeg guarantees `size` readable bytes at `data` of a packet, and frees the packet
    // with the context only, which `stream` borrows.
    Some(unsafe { std::slice::from_raw_parts(packet.data, len) })
}

/// Where FFmpeg has an input's durations from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DurationFrom {
    /// The container states them.
    Header,
    /// The last timestamps of the file.
    Timestamps,
    /// A guess from the size and the bitrate.
    Bitrate,
}

/// Where the durations of `input` and its streams are from.
pub(crate) fn duration_from(input: &Input) -> DurationFrom {
    use ffi::AVDurationEstimationMethod as Method;
    // SAFETY: reads a field of a live context.
    match unsafe { (*input.as_ptr()).duration_estimation_method } {
        Method::AVFMT_DURATION_FROM_PTS => DurationFrom::Timestamps,
        Method::AVFMT_DURATION_FROM_STREAM => DurationFrom::Header,
        Method::AVFMT_DURATION_FROM_BITRATE => DurationFrom::Bitrate,
    }
}

/// The tags of the container.
pub(crate) fn container_tags(input: &Input) -> BTreeMap<String, String> {
    // SAFETY: reads a field of a live context.
    let metadata = unsafe { (*input.as_ptr()).metadata };
    // SAFETY: the dictionary belongs to `input`, which is borrowed for the call.
    unsafe { read_dictionary(metadata) }
}

/// The tags of one stream.
pub(crate) fn stream_tags(stream: &Stream<'_>) -> BTreeMap<String, String> {
    // SAFETY: reads a field of a live stream.
    let metadata = unsafe { (*stream.as_ptr()).metadata };
    // SAFETY: the dictionary belongs to the stream's context, which `stream` borrows.
    unsafe { read_dictionary(metadata) }
}

/// The tags of one chapter.
pub(crate) fn chapter_tags(chapter: &Chapter<'_>) -> BTreeMap<String, String> {
    // SAFETY: reads a field of a live chapter.
    let metadata = unsafe { (*chapter.as_ptr()).metadata };
    // SAFETY: the dictionary belongs to the chapter's context, which `chapter` borrows.
    unsafe { read_dictionary(metadata) }
}

/// Keys in lower case. Bytes that are not UTF-8 become U+FFFD (`ffmpeg-next` would take them for
/// valid).
///
/// # Safety
/// `dictionary` is null or valid for the length of the call.
unsafe fn read_dictionary(dictionary: *const ffi::AVDictionary) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut entry: *const ffi::AVDictionaryEntry = ptr::null();
    loop {
        // SAFETY: the dictionary is valid by contract, `entry` is null or an entry of it.
        entry = unsafe {
            ffi::av_dict_get(dictionary, c"".as_ptr(), entry, ffi::AV_DICT_IGNORE_SUFFIX as c_int)
        };
        if entry.is_null() {
            return tags;
        }
        // SAFETY: an entry's key and value are NUL-terminated strings that live with it.
        let (key, value) =
            unsafe { (CStr::from_ptr((*entry).key), CStr::from_ptr((*entry).value)) };
        tags.insert(
            key.to_string_lossy().to_ascii_lowercase(),
            value.to_string_lossy().into_owned(),
        );
    }
}

/// `AVFormatContext.io_open` of every context: no demuxer opens anything.
unsafe extern "C" fn refuse_to_open(
    _: *mut ffi::AVFormatContext,
    _: *mut *mut ffi::AVIOContext,
    _: *const c_char,
    _: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    ffi::AVERROR(ffi::EACCES)
}

fn check(code: c_int) -> Result<c_int, Error> {
    if code < 0 { Err(Error::from(code)) } else { Ok(code) }
}
