//! The parent's side against children that do what no sound child does. They are threads that hold
//! the other end of a socket.

use std::io::{self, Cursor, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use tonemill_codec::metadata::TAGS;
use tonemill_codec::{CancelToken, ErrorKind, Limits, OutputSink};

use super::diagnosis::Diagnosis;
use super::error::{Misconduct, RemoteError};
use super::output::{Outcome, Output};
use super::parent::answer;
use super::sandbox::Protections;
use super::watch::{Verdict, Watch};
use super::wire::{Header, MAX_CHUNK, MAX_READ, Request, Tag, send, send_json};

const STALL: Duration = Duration::from_millis(300);

/// Takes anything but may never be finished.
#[derive(Debug)]
struct Unfinished;

impl OutputSink for Unfinished {
    fn begin(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_body(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &[u8]) -> io::Result<()> {
        panic!("only the caller finishes")
    }
}

/// What the parent makes of a child that writes to its standard output as `child` does.
fn heard(
    child: impl FnOnce(&mut UnixStream) + Send + 'static,
) -> (Outcome<Unfinished>, Option<Verdict>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (stderr, _silent) = UnixStream::pair().unwrap();
    let child = thread::spawn(move || child(&mut theirs));
    let cancel = CancelToken::new();
    let limits = Limits { output_bytes: 1 << 20, ..Limits::default() };
    let kill = || drop(ours.shutdown(Shutdown::Both));
    let watch = Watch::new(&cancel, Duration::from_mins(1), STALL, &kill);
    let mut output = Output::new(&watch, Unfinished, &limits, |_| ());
    let mut diagnosis = Diagnosis::new(stderr.as_fd()).unwrap();
    let _ = output.receive(ours.as_fd(), &mut diagnosis);
    let outcome = output.into_outcome();
    child.join().unwrap();
    (outcome, watch.into_verdict())
}

/// What the parent makes of a child that sends these bytes.
fn sent(bytes: Vec<u8>) -> (Outcome<Unfinished>, Option<Verdict>) {
    // Fails when the parent has had enough.
    heard(move |socket| drop(socket.write_all(&bytes)))
}

/// The protocol's rule that a child with these bytes breaks.
fn broken_rule(bytes: Vec<u8>) -> &'static str {
    match sent(bytes) {
        (_, Some(Verdict::Misconduct(Misconduct::Protocol(rule)))) => rule,
        (outcome, verdict) => panic!("{outcome:?} {verdict:?}"),
    }
}

fn frame(tag: Tag, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, tag, payload).unwrap();
    bytes
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    let protections = Protections { landlock_abi: 1, landlock_complete: false };
    send_json(&mut bytes, Tag::Hello, &protections).unwrap();
    bytes
}

fn begin(head_bytes: u64) -> Vec<u8> {
    frame(Tag::Begin, &head_bytes.to_le_bytes())
}

fn failed() -> Vec<u8> {
    let (message, advice) = ("no".to_owned(), "go".to_owned());
    let kind = ErrorKind::BadInput;
    let mut bytes = Vec::new();
    let error = RemoteError { kind, message, advice, cause: None, probe: None };
    send_json(&mut bytes, Tag::Failed, &error).unwrap();
    bytes
}

/// A report on an output of so many bytes.
fn done(bytes: u64) -> Vec<u8> {
    let report = serde_json::json!({
        "source": {
            "container": "wav", "bytes": 9, "bytes_read": 9, "sample_rate_hz": 8000,
            "channels": 1, "samples_decoded": 1, "decoded_seconds": 0.1, "declared_seconds": null,
            "damaged_packets": 0,
            "track": {
                "index": 0, "codec": "pcm", "decodable": true, "sample_rate_hz": 8000,
                "channels": 1, "duration_seconds": null, "start_seconds": 0.0, "language": null,
                "title": null, "default": true,
            },
        },
        "output": {
            "sample_rate_hz": 8000, "channels": 1, "mode": {"cbr": 64}, "quality": 3,
            "samples": 1, "duration_seconds": 0.1, "frames": 1, "bytes": bytes,
            "audio_blake3": "",
        },
        "truncated": false, "warnings": [],
        "timing": {
            "wall_seconds": 0.0, "decode_cpu_seconds": 0.0, "convert_cpu_seconds": 0.0,
            "encode_cpu_seconds": 0.0, "write_cpu_seconds": 0.0,
        },
    });
    let mut bytes = Vec::new();
    send_json(&mut bytes, Tag::Done, &report).unwrap();
    bytes
}

#[test]
fn a_sound_child_is_understood() {
    let body = frame(Tag::Body, b"body");
    let head = [frame(Tag::Head, b"he"), frame(Tag::Head, b"ad")].concat();
    let (outcome, verdict) = sent([hello(), begin(4), body, head, done(8)].concat());
    assert!(verdict.is_none());
    let Outcome::Done { report, head, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((report.output.bytes, head.as_slice()), (8, b"head".as_slice()));

    let (outcome, _) = sent([hello(), failed(), frame(Tag::Probe, b"{\"x\":1}")].concat());
    let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.to_string(), error.probe.unwrap()["x"].as_u64()), ("no".to_owned(), Some(1)));

    assert!(matches!(sent(hello()), (Outcome::Greeted(_), None)));
}

#[test]
fn garbage_is_refused() {
    assert!(broken_rule(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).contains("unknown kind"));
    assert!(broken_rule(vec![0xff; 1 << 16]).contains("unknown kind"));
    for tag in [Tag::Hello, Tag::Begin] {
        broken_rule([hello(), frame(tag, b"{")].concat());
    }
    let started = [hello(), begin(4)].concat();
    for payload in [&b"{}"[..], b"null", &[0xff; 99], b"[[[[["] {
        assert_eq!(broken_rule([started.clone(), frame(Tag::Done, payload)].concat()), "no report");
        assert_eq!(
            broken_rule([started.clone(), frame(Tag::Failed, payload)].concat()),
            "no error"
        );
    }
    broken_rule([started, frame(Tag::Progress, &[0xff; 16])].concat());
}

#[test]
fn a_bad_rate_in_a_report_is_no_report() {
    let text = String::from_utf8(done(4)[Header::BYTES..].to_vec()).unwrap();
    let report = text.replace("\"sample_rate_hz\":8000", "\"sample_rate_hz\":0");
    let bytes = [hello(), begin(4), frame(Tag::Head, b"head")].concat();
    let rule = broken_rule([bytes, frame(Tag::Done, report.as_bytes())].concat());
    assert_eq!(rule, "no report");
}

#[test]
fn an_overlong_frame_is_refused_before_it_comes() {
    for len in [MAX_CHUNK + 1, u32::MAX] {
        let mut header = frame(Tag::Body, b"");
        header[1..].copy_from_slice(&len.to_le_bytes());
        assert!(broken_rule([hello(), begin(4), header].concat()).contains("too many bytes"));
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let (body, head) = (|| frame(Tag::Body, b"b"), || frame(Tag::Head, b"head"));
    for sequence in [
        vec![begin(4)],
        vec![failed()],
        vec![done(4)],
        vec![hello(), hello()],
        vec![hello(), body()],
        vec![hello(), head()],
        vec![hello(), done(0)],
        vec![hello(), frame(Tag::Probe, b"{}")],
        vec![hello(), begin(4), begin(4)],
        vec![hello(), begin(4), hello()],
        vec![hello(), begin(4), head(), body()],
        vec![hello(), begin(4), head(), done(4), body()],
        vec![hello(), begin(4), head(), done(4), done(4)],
        vec![hello(), begin(4), head(), done(4), failed()],
        vec![hello(), failed(), failed()],
        vec![hello(), failed(), begin(4)],
        vec![hello(), failed(), frame(Tag::Probe, b"{}"), frame(Tag::Probe, b"{}")],
    ] {
        assert_eq!(broken_rule(sequence.concat()), "a frame out of order");
    }
}

#[test]
fn numbers_are_held_against_what_came() {
    let limits = Limits::default();
    let most = (TAGS.len() + limits.chapters + 1) * (limits.tag_bytes + 256)
        + limits.picture_bytes
        + (64 << 10);
    let rule = "too long a head";
    assert_eq!(broken_rule([hello(), begin(most as u64 + 1)].concat()), rule);
    assert_eq!(broken_rule([hello(), begin(u64::MAX)].concat()), rule);
    assert!(sent([hello(), begin(most as u64)].concat()).1.is_none());

    let head = |bytes: &[u8]| [hello(), begin(4), frame(Tag::Head, bytes)].concat();
    assert_eq!(broken_rule(head(b"heads")), "more head than was announced");
    let wrong = "another number of bytes than was announced";
    assert_eq!(broken_rule([head(b"hea"), done(4)].concat()), wrong);
    assert_eq!(broken_rule([head(b"head"), done(5)].concat()), wrong);
    assert!(sent([head(b"head"), done(4)].concat()).1.is_none());
}

#[test]
fn no_more_output_is_taken_than_is_allowed() {
    let chunk = frame(Tag::Body, &vec![0; MAX_CHUNK as usize]);
    let filled = [hello(), begin(0), chunk.repeat(4)].concat();
    assert!(sent(filled.clone()).1.is_none());
    let rule = broken_rule([filled, frame(Tag::Body, b"x")].concat());
    assert_eq!(rule, "more output than is allowed");
}

#[test]
fn what_breaks_off_is_unfinished() {
    let whole = [hello(), begin(4), frame(Tag::Head, b"head"), done(4)].concat();
    for len in 0..whole.len() {
        let (outcome, verdict) = sent(whole[..len].to_vec());
        assert!(!matches!(outcome, Outcome::Done { .. }) && verdict.is_none(), "{len}");
    }
}

fn assert_stalls(child: impl FnOnce(&mut UnixStream) + Send + 'static) {
    let started = Instant::now();
    let (_, verdict) = heard(child);
    assert!(matches!(verdict, Some(Verdict::Misconduct(Misconduct::Stalled))), "{verdict:?}");
    assert!(started.elapsed() < STALL * 10);
}

#[test]
fn silence_ends_in_time() {
    assert_stalls(|socket| drop(io::copy(socket, &mut io::sink())));
}

#[test]
fn a_frame_that_dribbles_is_silence() {
    assert_stalls(|socket| {
        for byte in frame(Tag::Hello, &[b' '; 4096]) {
            thread::sleep(Duration::from_millis(10));
            if socket.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
}

#[test]
fn noise_never_panics_nor_passes() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = hello();
        for _ in 0..random.usize(1..8) {
            let payload: Vec<u8> = (0..random.usize(..24)).map(|_| random.u8(..)).collect();
            bytes.push(random.u8(..9));
            bytes.extend((payload.len() as u32).to_le_bytes());
            bytes.extend(payload);
        }
        let (outcome, _) = sent(bytes);
        assert!(!matches!(outcome, Outcome::Done { .. }), "{seed}");
    }
}

/// What becomes of requests for a source of 100 bytes.
fn asked(requests: &[u8], answers: usize) -> (Option<Verdict>, Vec<u8>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let cancel = CancelToken::new();
    let kill = || drop(ours.shutdown(Shutdown::Both));
    let watch = Watch::new(&cancel, Duration::from_mins(1), STALL, &kill);
    let mut source = Cursor::new((0..100).collect::<Vec<u8>>());
    let mut answered = vec![0; answers];
    thread::scope(|scope| {
        scope.spawn(|| drop(answer(&watch, &ours, b"order", &mut source, 100)));
        let _ = theirs.write_all(requests);
        let _ = io::Read::read_exact(&mut theirs, &mut answered);
        if answers > 0 {
            let _ = theirs.shutdown(Shutdown::Write);
        }
    });
    (watch.into_verdict(), answered)
}

fn request(offset: u64, len: u32) -> Vec<u8> {
    Request { offset, len }.encode().to_vec()
}

#[test]
fn the_source_is_read_as_asked() {
    let requests = [request(10, 3), request(98, 9), request(100, 1), request(0, 1)].concat();
    let (verdict, bytes) = asked(&requests, 5 + 7 + 6 + 4 + 5);
    assert!(verdict.is_none());
    let mut expected = b"order".to_vec();
    expected.extend([3, 0, 0, 0, 10, 11, 12]);
    expected.extend([2, 0, 0, 0, 98, 99]);
    expected.extend([0, 0, 0, 0]);
    expected.extend([1, 0, 0, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn impossible_requests_are_refused() {
    for wrong in [request(0, MAX_READ + 1), request(101, 1), request(u64::MAX, u32::MAX)] {
        let (verdict, _) = asked(&wrong, 5);
        assert!(matches!(verdict, Some(Verdict::Misconduct(Misconduct::Protocol(_)))), "{wrong:?}");
    }
}

#[test]
fn half_a_request_and_answers_that_nobody_reads_end_in_time() {
    // More than the socket holds, asked for by a child that reads nothing.
    for requests in [vec![0; 7], request(0, 100).repeat(4_000)] {
        let started = Instant::now();
        let (verdict, _) = asked(&requests, 0);
        assert!(matches!(verdict, Some(Verdict::Misconduct(Misconduct::Stalled))), "{verdict:?}");
        assert!(started.elapsed() < STALL * 10);
    }
}
