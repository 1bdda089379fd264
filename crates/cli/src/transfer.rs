//! Files into the store and out of it.

use std::io::{Read, Write};
use std::path::Path;

use bytes::Bytes;
use tokio::task::block_in_place;
use tonemill_codec::CancelToken;
use tonemill_job::message::Finished;
use tonemill_job::objects::{ObjectStore, StoreError};
use tonemill_job::{ObjectKey, chain};

use crate::exit::Outcome;
use crate::output::Output;
use crate::request::Target;

/// Bytes at a time, up and down.
const CHUNK_BYTES: usize = 1 << 20;

/// How a command that could not go on is to end, and why.
type Failed = (Outcome, String);

fn store_failed(error: &StoreError) -> Failed {
    (Outcome::Fault, chain(error))
}

/// Puts a file into the store as `key`.
pub async fn upload_file(
    store: &dyn ObjectStore,
    input: &Path,
    key: &ObjectKey,
    cancel: &CancelToken,
) -> Result<(), Failed> {
    let unreadable = |error: std::io::Error| {
        (Outcome::BadInput, format!("cannot be read: {error}: check its name and permissions"))
    };
    let mut file = std::fs::File::open(input).map_err(unreadable)?;
    let mut upload = store
        .create(key, "application/octet-stream", 0)
        .await
        .map_err(|error| store_failed(&error))?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read =
            block_in_place(|| Read::take(&mut file, CHUNK_BYTES as u64).read_to_end(&mut chunk));
        if read.map_err(unreadable)? == 0 {
            break;
        }
        if cancel.is_cancelled() {
            let _ = upload.abort().await;
            return Err((Outcome::Cancelled, "interrupted".to_owned()));
        }
        upload.write(Bytes::from(chunk)).await.map_err(|error| store_failed(&error))?;
    }
    upload.finish(Bytes::new()).await.map_err(|error| store_failed(&error))
}

/// Gets an output from the store; it appears under its name when it is whole.
pub async fn download(
    store: &dyn ObjectStore,
    finished: &Finished,
    target: &Target,
    force: bool,
    cancel: &CancelToken,
) -> Result<(), Failed> {
    let unwritable = |error: std::io::Error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let outcome = if exists { Outcome::Usage } else { Outcome::Fault };
        (outcome, format!("the output cannot be written: {error}"))
    };
    let mut output = Output::create(target, force).map_err(unwritable)?;
    let mut at = 0;
    while at < finished.bytes {
        let end = finished.bytes.min(at + CHUNK_BYTES as u64 * 4);
        let bytes = store.get(&finished.output, at..end).await;
        let bytes = bytes.map_err(|error| store_failed(&error))?;
        block_in_place(|| output.file.write_all(&bytes)).map_err(unwritable)?;
        at = end;
    }
    block_in_place(|| output.finish(force, cancel)).map_err(unwritable)
}
