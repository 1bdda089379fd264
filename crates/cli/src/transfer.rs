//! Files into the store and out of it.

use std::io::{Read, Write};
use std::path::Path;

use bytes::Bytes;
use tokio::task::block_in_place;
use tonemill_job::ObjectKey;
use tonemill_job::message::Finished;
use tonemill_job::objects::ObjectStore;

use crate::exit::{CancelToken, Outcome};
use crate::failure::Failure;
use crate::output::{Output, unwritable};
use crate::target::Target;

/// Bytes at a time, up and down.
const CHUNK_BYTES: usize = 1 << 20;

/// Puts a file into the store as `key`.
pub async fn upload_file(
    store: &dyn ObjectStore,
    input: &Path,
    key: &ObjectKey,
    cancel: &CancelToken,
) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::input(format!("cannot be read: {error}"), "check its name and permissions")
    };
    let mut file = std::fs::File::open(input).map_err(unreadable)?;
    let mut upload = store.create(key, "application/octet-stream", 0).await?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read =
            block_in_place(|| Read::take(&mut file, CHUNK_BYTES as u64).read_to_end(&mut chunk));
        if read.map_err(unreadable)? == 0 {
            break;
        }
        if cancel.is_cancelled() {
            let _ = upload.abort().await;
            return Err(Failure::new(Outcome::Cancelled, "interrupted", ""));
        }
        upload.write(Bytes::from(chunk)).await?;
    }
    Ok(upload.finish(Bytes::new()).await?)
}

/// Gets an output from the store; it appears under its name when it is whole.
pub async fn download(
    store: &dyn ObjectStore,
    finished: &Finished,
    target: &Target,
    force: bool,
    cancel: &CancelToken,
) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| unwritable(&target.name(), &error);
    let mut output = Output::create(target, force).map_err(unwritable)?;
    let mut at = 0;
    while at < finished.bytes {
        let end = finished.bytes.min(at + CHUNK_BYTES as u64 * 4);
        let bytes = store.get(&finished.output, at..end).await?;
        block_in_place(|| output.file.write_all(&bytes)).map_err(unwritable)?;
        at = end;
    }
    block_in_place(|| output.finish(force, cancel)).map_err(unwritable)
}
