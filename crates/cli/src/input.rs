//! Opening inputs. Demuxers seek, so what cannot seek (standard input, pipes) is first copied to an
//! unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Opens `path`, or standard input for "-".
pub fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == "-" {
        return spool(&mut io::stdin().lock());
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() { Ok(file) } else { spool(&mut file) }
}

fn spool(from: &mut impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
}
