//! The file: what is in it, compressed, and then its seal.
//!
//! Both are members of gzip, so that `zcat` and others read the whole. The seal holds nothing but a
//! comment: BLAKE3 of all bytes before it. So every bit of the file counts, which the sums inside
//! gzip do not say of its own header, and what was cut off anywhere has none.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, Take, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::BackupError;

/// Longest line, in bytes: a row with four texts as long as the databases take them, escaped.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// Hexadecimal digits of a hash.
const HEX: usize = 2 * blake3::OUT_LEN;
const NAME: &[u8; 7] = b"blake3:";
const SEAL_BYTES: usize = 10 + NAME.len() + HEX + 1 + 2 + 8;

/// An empty member of gzip (RFC 1952) with the hash as its comment. Made by hand: its bytes must
/// stay the same whatever library compresses.
fn seal(hash: &blake3::Hash) -> [u8; SEAL_BYTES] {
    // With a comment, without a time, of an unknown system.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff];
    // The end of the comment, an empty last block, and the sum and the length of nothing.
    const TAIL: [u8; 11] = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut seal = [0; SEAL_BYTES];
    let hex = hash.to_hex();
    let bytes = HEAD.iter().chain(NAME).chain(hex.as_bytes()).chain(&TAIL);
    seal.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    seal
}

/// Compresses what is written to it, and seals it.
pub(super) struct Writer<W: Write>(GzEncoder<Hashed<W>>);

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        let hashed = Hashed { out, hasher: blake3::Hasher::new() };
        Self(GzBuilder::new().write(hashed, Compression::new(3)))
    }

    /// Without it, what was written is no backup.
    pub(super) fn finish(self) -> io::Result<()> {
        let Hashed { mut out, hasher } = self.0.finish()?;
        out.write_all(&seal(&hasher.finalize()))?;
        out.flush()
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Knows the hash of what was written.
struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The lines in a file.
#[derive(Debug)]
pub(super) struct Reader<R> {
    lines: BufReader<GzDecoder<Take<R>>>,
    line: Vec<u8>,
}

/// The lines of a file whose seal fits.
pub(super) fn open(mut file: File) -> Result<Reader<BufReader<File>>, BackupError> {
    let length = file.metadata().map_err(BackupError::Read)?.len();
    let mut start = [0; 2];
    if file.read_exact(&mut start).is_err() || start != [0x1f, 0x8b] {
        return Err(BackupError::NotOne);
    }
    let sealed = length.checked_sub(SEAL_BYTES as u64).ok_or(BackupError::Broken)?;
    file.rewind().map_err(BackupError::Read)?;
    let mut file = BufReader::new(file);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(sealed)).map_err(BackupError::Read)?;
    let mut found = [0; SEAL_BYTES];
    file.read_exact(&mut found).map_err(BackupError::Read)?;
    if found != seal(&hasher.finalize()) {
        return Err(BackupError::Broken);
    }
    file.rewind().map_err(BackupError::Read)?;
    Ok(Reader { lines: BufReader::new(GzDecoder::new(file.take(sealed))), line: Vec::new() })
}

impl<R: BufRead> Reader<R> {
    /// The next line; `None` after the last.
    pub(super) fn line(&mut self) -> Result<Option<&str>, BackupError> {
        self.line.clear();
        let mut lines = (&mut self.lines).take(MAX_LINE_BYTES);
        let bytes = lines.read_until(b'\n', &mut self.line).map_err(BackupError::Read)?;
        if bytes == 0 {
            return Ok(None);
        }
        let line = std::str::from_utf8(&self.line).ok().and_then(|line| line.strip_suffix('\n'));
        line.map(Some).ok_or_else(|| BackupError::Damaged("a line is no line of text".to_owned()))
    }
}
