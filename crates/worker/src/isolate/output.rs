//! The child's frames, one after the other, into the parent's sink.
//!
//! The child may have been taken over by its input. What it sends is taken in one order only and
//! within the limits, and nothing of it is an output before all of it has come and the child has
//! ended well.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags};
use tonemill_codec::metadata::TAGS;
use tonemill_codec::{Limits, OutputSink, Progress, Report};

use super::diagnosis::Diagnosis;
use super::error::RemoteError;
use super::sandbox::Protections;
use super::watch::{Over, Verdict, Watch, read_exact};
use super::wire::{Header, Tag, decode_progress, json};

/// Takes one child's output.
pub(super) struct Output<'a, S, P> {
    watch: &'a Watch<'a>,
    sink: S,
    progress: P,
    limits: &'a Limits,
    state: State,
    head_bytes: usize,
    head: Vec<u8>,
    body_bytes: u64,
}

/// How far the child is.
#[derive(Debug)]
enum State {
    Started,
    Greeted(Protections),
    /// Body and progress, or the head.
    Writing,
    /// No body any more.
    Ending,
    Done(Box<Report>),
    Failed(RemoteError),
}

/// What the child came to.
#[derive(Debug)]
pub(super) enum Outcome<S> {
    /// It converts nothing but has said hello.
    Greeted(Protections),
    /// Everything has come; the sink is to be finished with the head.
    Done { report: Box<Report>, sink: S, head: Vec<u8> },
    /// The codec's error.
    Failed(RemoteError),
    /// It broke off.
    Unfinished,
}

impl<'a, S: OutputSink, P: FnMut(Progress)> Output<'a, S, P> {
    pub(super) fn new(watch: &'a Watch<'a>, sink: S, limits: &'a Limits, progress: P) -> Self {
        let (state, head) = (State::Started, Vec::new());
        Self { watch, sink, progress, limits, state, head_bytes: 0, head, body_bytes: 0 }
    }

    /// Takes frames from `stdout` until the child closes it, and what it says on standard error.
    pub(super) fn receive(
        &mut self,
        stdout: BorrowedFd<'_>,
        diagnosis: &mut Diagnosis<'_>,
    ) -> Result<(), Over> {
        let watch = self.watch;
        let mut wait = || {
            loop {
                let stderr = diagnosis.stderr();
                let fds = [stdout, stderr.unwrap_or(stdout)];
                let ready =
                    watch.wait(fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))?;
                if stderr.is_some() && !ready[1].is_empty() {
                    diagnosis.drain();
                }
                if !ready[0].is_empty() {
                    return Ok(());
                }
            }
        };
        let mut payload = Vec::new();
        loop {
            let mut header = [0; Header::BYTES];
            if !read_exact(stdout, &mut header, &mut wait)? {
                return Ok(());
            }
            let Some(header) = Header::decode(header) else {
                return Err(watch.misconduct("a frame of an unknown kind or of too many bytes"));
            };
            payload.resize(header.len as usize, 0);
            if !read_exact(stdout, &mut payload, &mut wait)? {
                return Ok(());
            }
            watch.heard();
            self.take(header.tag, &payload)?;
        }
    }

    /// What came of it. An error that the codec found stays one, however the child ended
    /// afterwards.
    pub(super) fn into_outcome(self) -> Outcome<S> {
        match self.state {
            State::Greeted(protections) => Outcome::Greeted(protections),
            State::Done(report) => Outcome::Done { report, sink: self.sink, head: self.head },
            State::Failed(error) => Outcome::Failed(error),
            State::Started | State::Writing | State::Ending => Outcome::Unfinished,
        }
    }

    fn take(&mut self, tag: Tag, payload: &[u8]) -> Result<(), Over> {
        let watch = self.watch;
        match (&mut self.state, tag) {
            (State::Started, Tag::Hello) => {
                let protections =
                    json(payload).ok_or_else(|| watch.misconduct("no protections"))?;
                tracing::debug!(?protections, "a converting process is shut in");
                self.state = State::Greeted(protections);
                Ok(())
            }
            (State::Greeted(_), Tag::Begin) => self.begin(payload),
            (State::Writing, Tag::Body) => self.body(payload),
            (State::Writing, Tag::Progress) => {
                let progress =
                    decode_progress(payload).ok_or_else(|| watch.misconduct("no progress"))?;
                watch.serve(|| (self.progress)(progress));
                Ok(())
            }
            (State::Writing | State::Ending, Tag::Head) => self.head(payload),
            (State::Writing | State::Ending, Tag::Done) => self.done(payload),
            (State::Greeted(_) | State::Writing | State::Ending, Tag::Failed) => {
                let error: RemoteError =
                    json(payload).ok_or_else(|| watch.misconduct("no error"))?;
                self.state = State::Failed(error.sanitized());
                Ok(())
            }
            (State::Failed(error), Tag::Probe) if error.probe.is_none() => {
                error.probe = json(payload);
                Ok(())
            }
            _ => Err(watch.misconduct("a frame out of order")),
        }
    }

    fn begin(&mut self, payload: &[u8]) -> Result<(), Over> {
        let bytes = payload.try_into().map(u64::from_le_bytes).ok();
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|bytes| *bytes <= max_head_bytes(self.limits)) else {
            return Err(self.watch.misconduct("too long a head"));
        };
        self.head_bytes = bytes;
        self.state = State::Writing;
        self.hand_over(|sink| sink.begin(bytes))
    }

    fn body(&mut self, payload: &[u8]) -> Result<(), Over> {
        self.body_bytes += payload.len() as u64;
        if self.bytes() > self.limits.output_bytes {
            return Err(self.watch.misconduct("more output than is allowed"));
        }
        self.hand_over(|sink| sink.write_body(payload))
    }

    fn head(&mut self, payload: &[u8]) -> Result<(), Over> {
        if self.head.len() + payload.len() > self.head_bytes {
            return Err(self.watch.misconduct("more head than was announced"));
        }
        self.head.extend_from_slice(payload);
        self.state = State::Ending;
        Ok(())
    }

    fn done(&mut self, payload: &[u8]) -> Result<(), Over> {
        let report: Option<Box<Report>> = json(payload);
        let report = report.ok_or_else(|| self.watch.misconduct("no report"))?;
        if self.head.len() != self.head_bytes || report.output.bytes != self.bytes() {
            return Err(self.watch.misconduct("another number of bytes than was announced"));
        }
        self.state = State::Done(report);
        Ok(())
    }

    /// Bytes of the output so far, with all of its head.
    fn bytes(&self) -> u64 {
        self.head_bytes as u64 + self.body_bytes
    }

    fn hand_over(&mut self, call: impl FnOnce(&mut S) -> std::io::Result<()>) -> Result<(), Over> {
        let sink = &mut self.sink;
        self.watch.serve(|| call(sink)).map_err(|error| self.watch.end(Verdict::Sink(error)))
    }
}

/// No head is longer: a cover, tags and chapters as long as they may be, and what surrounds them.
fn max_head_bytes(limits: &Limits) -> usize {
    let texts = TAGS.len() + limits.chapters + 1;
    let surroundings = 64 << 10;
    texts
        .saturating_mul(limits.tag_bytes.saturating_add(256))
        .saturating_add(limits.picture_bytes)
        .saturating_add(surroundings)
}
