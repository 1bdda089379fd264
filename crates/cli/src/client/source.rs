//! A file that is uploaded: its bytes, and whether it is still the one that it was.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;

use crate::failure::Failure;

/// Bytes that are read at a time.
const CHUNK_BYTES: u64 = 256 << 10;

/// A file, open.
pub struct Source {
    file: Arc<File>,
    /// Its name without links and dots, for those who compare.
    pub absolute: String,
    pub bytes: u64,
    /// When it was changed last, for those who compare.
    pub modified: String,
}

impl Source {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| {
            Failure::input(format!("cannot be read: {error}"), "check its name and permissions")
        };
        let metadata = path.metadata().map_err(unreadable)?;
        // Opening a pipe would wait for who writes to it.
        if !metadata.is_file() {
            return Err(Failure::input("it is no file", "name the files that are to be uploaded"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.len() == 0 {
            return Err(Failure::input("it is empty", "check how it was made"));
        }
        let absolute = path.canonicalize().map_err(unreadable)?;
        Ok(Self {
            file: Arc::new(file),
            absolute: absolute.to_string_lossy().into_owned(),
            bytes: metadata.len(),
            modified: modified(&metadata),
        })
    }

    /// Whether what was read is what it was when it was opened.
    pub fn is_unchanged(&self) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|now| now.len() == self.bytes && modified(&now) == self.modified)
    }

    /// `length` bytes from `from` on, as the body of a request. `pulse` tells how it goes.
    pub fn body(&self, from: u64, length: u64, pulse: &Arc<Pulse>) -> reqwest::Body {
        let (file, pulse) = (Arc::clone(&self.file), Arc::clone(pulse));
        let end = from + length;
        let chunks = unfold(from, move |at| {
            let (file, pulse) = (Arc::clone(&file), Arc::clone(&pulse));
            async move {
                if at == end {
                    return None;
                }
                let most = (end - at).min(CHUNK_BYTES);
                let reading = tokio::task::spawn_blocking(move || read(&file, at, most));
                let read = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
                match &read {
                    Ok(bytes) => pulse.beat(bytes.len() as u64),
                    Err(error) => pulse.fail(error.to_string()),
                }
                Some((read, at + most))
            }
        });
        reqwest::Body::wrap_stream(chunks)
    }
}

fn read(file: &File, at: u64, count: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; count as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

fn modified(metadata: &Metadata) -> String {
    format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())
}

/// Signs of life of a body on its way.
pub struct Pulse {
    sent_bytes: AtomicU64,
    state: Mutex<(Instant, Option<String>)>,
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { sent_bytes: AtomicU64::new(0), state: Mutex::new((Instant::now(), None)) })
    }

    /// Bytes that were handed to the network.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// How long nothing was.
    pub fn silence(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.elapsed()
    }

    /// Why the file could not be read.
    pub fn failure(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn beat(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now();
    }

    fn fail(&self, why: String) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(why);
    }
}
