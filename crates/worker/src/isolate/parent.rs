//! The parent's side: serves one child until it is done, or ends it.
//!
//! The calling thread takes the output; one thread more answers for the source. Both keep the
//! deadlines (`watch`), so that the child is ended even while the source or the sink is slow.
//! Whatever happens, the child is reaped and both threads have ended when the attempt returns.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tonemill_codec::{CancelToken, Limits, MediaSource, OutputSink, Progress, Report, SeekSink};
use tonemill_job::JobOptions;

use super::diagnosis::Diagnosis;
use super::error::{Death, IsolateError, Misconduct};
use super::output::{Outcome, Output};
use super::process::{Ends, Process};
use super::sandbox::{Protections, SandboxLimits};
use super::watch::{Over, Verdict, Watch, read_exact};
use super::wire::{Conversion, MAX_READ, Order, Request};
use crate::options::codec_options;

/// How much longer than the codec's own limit a child may run, to say so.
const GRACE: Duration = Duration::from_secs(2);
/// How long a child may take to say hello, and no more.
const HELLO: Duration = Duration::from_secs(30);

/// Like [`tonemill_codec::transcode`], but in a process of its own that can reach nothing else.
///
/// `options` are checked first. The child has `threads` threads that encode, and limits of its own
/// in `sandbox`. `progress` is called on the calling thread, which is held until the child has gone
/// and a call of `source` or `sink` under way has returned. On an error, `sink` is never finished,
/// unless the error is that of its `finish`.
#[allow(clippy::too_many_arguments, reason = "those of the codec, and the walls around it")]
pub fn transcode(
    mut source: impl MediaSource,
    sink: impl OutputSink,
    options: &JobOptions,
    limits: &Limits,
    sandbox: &SandboxLimits,
    threads: usize,
    cancel: &CancelToken,
    progress: impl FnMut(Progress) + Send,
) -> Result<Report, IsolateError> {
    codec_options(options, limits)?;
    let source_bytes = source.seek(SeekFrom::End(0)).map_err(IsolateError::Source)?;
    let options = options.clone();
    let conversion = Some(Conversion { options, source_bytes, threads: threads.max(1) });
    let order = Order { sandbox: *sandbox, limits: limits.clone(), conversion };
    let attempt = attempt(source, sink, &order, cancel, progress)?;
    match (attempt.verdict, attempt.outcome) {
        (
            Some(verdict @ (Verdict::Cancelled | Verdict::Misconduct(Misconduct::Protocol(_)))),
            _,
        ) => Err(failure(Some(verdict), attempt.death)),
        // Known before anything else went wrong.
        (_, Outcome::Failed(error)) => Err(IsolateError::Codec(error)),
        (None, Outcome::Done { report, mut sink, head }) if attempt.death.is_success() => {
            sink.finish(&head).map_err(IsolateError::Sink)?;
            Ok(*report)
        }
        (verdict, _) => Err(failure(verdict, attempt.death)),
    }
}

/// Whether this program can be started as a child here, and which walls then hold around it.
pub fn protections(sandbox: &SandboxLimits) -> Result<Protections, IsolateError> {
    let limits = Limits { wall_clock: HELLO, ..Limits::default() };
    let order = Order { sandbox: *sandbox, limits, conversion: None };
    let sink = SeekSink(io::Cursor::new(Vec::new()));
    let attempt = attempt(io::empty(), sink, &order, &CancelToken::new(), |_| ())?;
    match (attempt.verdict, attempt.outcome) {
        (None, Outcome::Greeted(protections)) if attempt.death.is_success() => Ok(protections),
        (verdict, _) => Err(failure(verdict, attempt.death)),
    }
}

/// What came of one child.
struct Attempt<S> {
    outcome: Outcome<S>,
    /// Why it was ended, if it did not end by itself.
    verdict: Option<Verdict>,
    death: Death,
}

fn failure(verdict: Option<Verdict>, death: Death) -> IsolateError {
    let death = Box::new(death);
    match verdict {
        Some(Verdict::Cancelled) => IsolateError::Cancelled,
        Some(Verdict::Source(error)) => IsolateError::Source(error),
        Some(Verdict::Sink(error)) => IsolateError::Sink(error),
        Some(Verdict::Machine(error)) => IsolateError::Spawn(error),
        Some(Verdict::Misconduct(why)) => IsolateError::Killed { why, death },
        None => IsolateError::Crashed(death),
    }
}

fn attempt<S: OutputSink>(
    mut source: impl Read + Seek + Send,
    sink: S,
    order: &Order,
    cancel: &CancelToken,
    progress: impl FnMut(Progress),
) -> Result<Attempt<S>, IsolateError> {
    let bytes = order.encode().map_err(IsolateError::Spawn)?;
    let (process, ends) = Process::spawn().map_err(IsolateError::Spawn)?;
    let Ends { stdin, stdout, stderr } = ends;
    let mut diagnosis = Diagnosis::new(stderr.as_fd()).map_err(IsolateError::Spawn)?;
    let kill = || process.kill();
    let wall_clock = order.limits.wall_clock.saturating_add(GRACE);
    let watch = Watch::new(cancel, wall_clock, order.sandbox.stall, &kill);
    let mut output = Output::new(&watch, sink, &order.limits, progress);
    let source_bytes = order.conversion.as_ref().map_or(0, |c| c.source_bytes);
    let end = thread::scope(|scope| {
        // If the sink panics, the other thread must not wait for the child.
        let _killed_at_last = KilledOnDrop(&process);
        let answering = thread::Builder::new()
            .name("tonemill-source".to_owned())
            .spawn_scoped(scope, || answer(&watch, &stdin, &bytes, &mut source, source_bytes));
        if let Err(error) = answering {
            watch.end(Verdict::Machine(error));
        }
        // Whoever ended it has said why, or it ended by itself.
        let _ = output.receive(stdout.as_fd(), &mut diagnosis);
        process.reap(|| {
            diagnosis.drain();
            watch.check().is_ok()
        })
    });
    let outcome = output.into_outcome();
    let death =
        Death { status: end.status, stderr: diagnosis.into_text(), wall: end.wall, cpu: end.cpu };
    Ok(Attempt { outcome, verdict: watch.into_verdict(), death })
}

struct KilledOnDrop<'a>(&'a Process);

impl Drop for KilledOnDrop<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Sends the order, then answers for the source until the child asks no more.
pub(super) fn answer(
    watch: &Watch<'_>,
    socket: &UnixStream,
    order: &[u8],
    source: &mut (impl Read + Seek),
    source_bytes: u64,
) -> Result<(), Over> {
    watch.write_all(socket.as_fd(), order)?;
    let mut reader = Positioned { source, position: None };
    let mut buffer = vec![0; 4 + MAX_READ as usize];
    loop {
        let mut request = [0; Request::BYTES];
        let wait = || watch.wait([PollFd::new(socket, PollFlags::IN)]).map(drop);
        if !read_exact(socket.as_fd(), &mut request, wait)? {
            return Ok(());
        }
        watch.heard();
        let Request { offset, len } = Request::decode(request);
        if len > MAX_READ || offset > source_bytes {
            return Err(watch.misconduct("a request that the source cannot have"));
        }
        let (count, bytes) = buffer.split_at_mut(4);
        let read = watch
            .serve(|| reader.read_at(offset, &mut bytes[..len as usize]))
            .map_err(|error| watch.end(Verdict::Source(error)))?;
        count.copy_from_slice(&(read as u32).to_le_bytes());
        watch.write_all(socket.as_fd(), &buffer[..4 + read])?;
    }
}

/// Seeks only where it must: for some sources that is dear.
struct Positioned<'a, R> {
    source: &'a mut R,
    position: Option<u64>,
}

impl<R: Read + Seek> Positioned<'_, R> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position.take();
        let read = catch_unwind(AssertUnwindSafe(|| {
            if position != Some(offset) {
                self.source.seek(SeekFrom::Start(offset))?;
            }
            loop {
                match self.source.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            }
        }));
        let count = read.unwrap_or_else(|_| Err(io::Error::other("the media source panicked")))?;
        self.position = Some(offset + count as u64);
        Ok(count.min(buffer.len()))
    }
}
