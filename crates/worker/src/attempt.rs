//! One attempt at a job, from the store to the store: look the upload up, convert it while it comes
//! in and goes out, hold what was read against the store's checksum.
//!
//! It runs on a thread of its own, which may block. Nothing that it leaves behind counts before the
//! lease is settled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rayon::ThreadPool;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonemill_codec::{CodecError, Report, probe, transcode};
use tonemill_job::message::{Failure, FailureKind, Finished, Position, Progress};
use tonemill_job::objects::{ObjectInfo, ObjectStore, StoreErrorKind};
use tonemill_job::{JobMessage, ObjectKey};

use crate::config::WorkerConfig;
use crate::control::Control;
use crate::failure::AttemptError;
use crate::isolate::{self, IsolateError};
use crate::options::codec_options;
use crate::output::ObjectSink;
use crate::range_reader::{Input, RangeReader};
use crate::stages::tell_codec;

/// Most threads of an attempt alone: their stacks, of 2 MiB each, count as its address space.
const ALONE_THREADS: usize = 64;

/// All that an attempt needs.
pub(crate) struct Attempt {
    pub(crate) message: JobMessage,
    /// Where the output goes.
    pub(crate) output: ObjectKey,
    /// In a process of its own.
    pub(crate) alone: bool,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) control: Control,
    pub(crate) runtime: Handle,
    pub(crate) progress: watch::Sender<Option<Progress>>,
}

/// An attempt that gave no output.
pub(crate) struct Failed {
    pub(crate) error: AttemptError,
    pub(crate) failure: Failure,
}

impl Attempt {
    /// Runs it. On success the output is in the store.
    pub(crate) fn run(self) -> Result<Finished, Box<Failed>> {
        let seen = Mutex::new(None);
        self.convert(&seen).map_err(|error| {
            let input: Option<Arc<Input>> =
                seen.into_inner().unwrap_or_else(PoisonError::into_inner);
            let encoded_seconds = self.progress.borrow().map_or(0.0, |p| p.encoded_seconds);
            let input_offset = input.as_ref().map_or(0, |input| input.last_offset());
            let probe = input.and_then(|input| self.probe(&error, input));
            let failure = error.failure(Position { encoded_seconds, input_offset }, probe);
            Box::new(Failed { error, failure })
        })
    }

    fn convert(&self, seen: &Mutex<Option<Arc<Input>>>) -> Result<Finished, AttemptError> {
        let options = codec_options(&self.message.options, &self.config.limits)?;
        let info = self.runtime.block_on(self.head())?;
        let input = Input::new(
            Arc::clone(&self.store),
            self.message.input.clone(),
            &info,
            self.control.clone(),
            self.runtime.clone(),
        );
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&input));
        let source = RangeReader::new(Arc::clone(&input));
        let sink = ObjectSink::new(
            Arc::clone(&self.store),
            self.output.clone(),
            self.control.clone(),
            self.runtime.clone(),
        );
        let (began, storing) = ((SystemTime::now(), Instant::now()), sink.storing());
        let converted = if self.alone {
            self.convert_alone(source, sink)
        } else {
            let cancel = self.control.codec();
            transcode(source, sink, &options, &self.pool, cancel, self.teller()).map_err(Into::into)
        };
        let outcome = converted.and_then(|report| {
            self.verify(&input)?;
            Ok(report)
        });
        input.fetching().tell("fetch", outcome.is_ok());
        if let Ok(report) = &outcome {
            tell_codec(began, &report.timing, self.pool.current_num_threads());
            let longest = self.config.limits.decoded_seconds as f64;
            metrics::histogram!("tonemill_job_audio_seconds")
                .record(report.output.duration_seconds.clamp(0.0, longest));
        }
        storing.tell("store", outcome.is_ok());
        let (bytes, requests) = input.fetched();
        tracing::debug!(bytes, requests, object_bytes = info.bytes, "input read");
        match outcome {
            Ok(report) => Ok(finished(self.output.clone(), &report)),
            Err(error) => Err(self.blame(error, &input)),
        }
    }

    /// What the store says of the upload.
    async fn head(&self) -> Result<ObjectInfo, AttemptError> {
        let _waiting = self.control.waiting();
        let look = async {
            let outcome = self.store.head(&self.message.input).await;
            if outcome.as_ref().is_err_and(|error| error.kind == StoreErrorKind::NotFound) {
                // Of a bucket that is not there S3 says the same, and that is not the upload's
                // fault.
                self.store.check().await?;
            }
            outcome
        };
        tokio::select! {
            biased;
            () = self.control.stopped() => Err(CodecError::Cancelled.into()),
            info = look => info.map_err(AttemptError::Head),
        }
    }

    fn convert_alone(&self, source: RangeReader, sink: ObjectSink) -> Result<Report, AttemptError> {
        let started = Instant::now();
        let outcome = isolate::transcode(
            source,
            sink,
            &self.message.options,
            &self.config.limits,
            &self.config.sandbox,
            self.config.threads.min(ALONE_THREADS),
            self.control.codec(),
            self.teller(),
        );
        metrics::histogram!("tonemill_isolated_attempt_duration_seconds").record(started.elapsed());
        outcome.map_err(Into::into)
    }

    /// Takes the codec's word on how far it is.
    fn teller(&self) -> impl FnMut(tonemill_codec::Progress) + Send + use<> {
        let (progress, control) = (self.progress.clone(), self.control.clone());
        move |now| {
            control.alive();
            let tonemill_codec::Progress { encoded_seconds, declared_seconds } = now;
            progress.send_replace(Some(Progress { encoded_seconds, declared_seconds }));
        }
    }

    fn verify(&self, input: &Arc<Input>) -> Result<(), AttemptError> {
        match input.verify(self.config.verify_bytes) {
            Ok(Some(false)) => Err(AttemptError::Corrupt),
            Ok(_) => Ok(()),
            Err(error) => Err(AttemptError::Verify(error)),
        }
    }

    /// What an error comes down to. An upload is to blame only if what was decoded is what was
    /// uploaded.
    fn blame(&self, error: AttemptError, input: &Arc<Input>) -> AttemptError {
        let corrupt = match &error {
            AttemptError::Corrupt => {
                // It was finished before this was seen. Whoever sweeps finds it if this fails.
                let _ = self.runtime.block_on(self.store.delete(&self.output));
                return error;
            }
            // Passing failures blame nobody.
            error if matches!(error.kind(), FailureKind::Transient | FailureKind::Crash) => None,
            _ if self.control.why().is_some() => None,
            _ => self.verify(input).err(),
        };
        corrupt.unwrap_or(error)
    }

    /// What a bad input says about itself, if it was recognised at all.
    fn probe(&self, error: &AttemptError, input: Arc<Input>) -> Option<serde_json::Value> {
        match error {
            AttemptError::Isolated(IsolateError::Codec(error)) => error.probe.clone(),
            AttemptError::Codec(codec) if error.kind() == FailureKind::BadInput => {
                let options = codec_options(&self.message.options, &self.config.limits).ok()?;
                let source = RangeReader::new(input);
                let cancel = self.control.codec();
                tracing::debug!(%codec, "probing");
                let probe = probe(source, options.decoder, &options.limits, cancel).ok()?;
                serde_json::to_value(probe).ok()
            }
            _ => None,
        }
    }
}

fn finished(output: ObjectKey, report: &Report) -> Finished {
    Finished {
        output,
        bytes: report.output.bytes,
        duration_seconds: report.output.duration_seconds,
        audio_blake3: report.output.audio_blake3.clone(),
        truncated: report.truncated,
        warnings: report.warnings.clone(),
        report: serde_json::to_value(report).unwrap_or_default(),
    }
}
