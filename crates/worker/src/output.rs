//! Writes an MP3 into the object store while it is made, its head last.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tonemill_codec::OutputSink;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore, StoreError, Upload};

use crate::control::Control;
use crate::fault;
use crate::stages::Watch;

/// How long giving up an output may take; what stays is swept when it is old.
const ABORT: Duration = Duration::from_secs(3);
/// How long the last call for an output goes on after the attempt was stopped: only its answer says
/// whether there is an object.
const LAST_CALL: Duration = Duration::from_secs(5);

/// An object that is being written. Dropped before its end, it leaves nothing.
pub(crate) struct ObjectSink {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    control: Control,
    runtime: Handle,
    storing: Watch,
    upload: Option<Box<dyn Upload>>,
}

impl ObjectSink {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        control: Control,
        runtime: Handle,
    ) -> Self {
        Self { store, key, control, runtime, storing: Watch::default(), upload: None }
    }

    /// The storing of all of it.
    pub(crate) fn storing(&self) -> Watch {
        self.storing.clone()
    }
}

/// Does it, or ends with the attempt.
fn wait<T>(
    runtime: &Handle,
    control: &Control,
    call: impl Future<Output = Result<T, StoreError>>,
) -> io::Result<T> {
    let _waiting = control.waiting();
    runtime.block_on(async {
        tokio::select! {
            done = call => done.map_err(io::Error::other),
            () = control.stopped() => Err(io::Error::other("the attempt was stopped")),
        }
    })
}

fn not_begun() -> io::Error {
    io::Error::other("the output was not begun")
}

impl Drop for ObjectSink {
    /// Frees what was stored before the attempt is settled: afterwards the process may end.
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            let _ = self.runtime.block_on(timeout(ABORT, upload.abort()));
        }
    }
}

impl OutputSink for ObjectSink {
    fn begin(&mut self, head_bytes: usize) -> io::Result<()> {
        let began = Instant::now();
        let create = self.store.create(&self.key, "audio/mpeg", head_bytes);
        let created = wait(&self.runtime, &self.control, create);
        self.storing.worked(began, 0);
        self.upload = Some(created?);
        Ok(())
    }

    fn write_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        fault::point("store", &[])?;
        let upload = self.upload.as_mut().ok_or_else(not_begun)?;
        let began = Instant::now();
        let write = upload.write(Bytes::copy_from_slice(bytes));
        let written = wait(&self.runtime, &self.control, write);
        self.storing.worked(began, if written.is_ok() { bytes.len() as u64 } else { 0 });
        written?;
        metrics::counter!("tonemill_store_written_bytes_total").increment(bytes.len() as u64);
        self.control.alive();
        Ok(())
    }

    fn finish(&mut self, head: &[u8]) -> io::Result<()> {
        fault::point("store_finish", &[])?;
        let upload = self.upload.take().ok_or_else(not_begun)?;
        let _waiting = self.control.waiting();
        let began = Instant::now();
        let finished = self.runtime.block_on(async {
            let stopped = async {
                self.control.stopped().await;
                sleep(LAST_CALL).await;
            };
            tokio::select! {
                done = upload.finish(Bytes::copy_from_slice(head)) => {
                    done.map_err(io::Error::other)
                }
                () = stopped => {
                    let _ = timeout(ABORT, self.store.delete(&self.key)).await;
                    Err(io::Error::other("the attempt was stopped"))
                }
            }
        });
        self.storing.worked(began, head.len() as u64);
        finished
    }
}
