//! Outputs that appear under their name only when complete.
//!
//! The MP3 is written to a file without a name (`O_TMPFILE`) in the folder of the output and linked
//! there at the end: whatever ends the process, nothing is left behind. File systems that cannot do
//! that get a named temporary file. Standard output and devices are fed from such a file at the
//! end, as the head of an MP3 is written last.

use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::{Builder, TempPath};

use crate::exit::CancelToken;
use crate::failure::{ErrorKind, Failure};
use crate::interruptible::interruptible;
use crate::target::Target;
use crate::text::shown;

/// An output under way. Dropped without [`finish`](Self::finish), it leaves nothing.
pub struct Output {
    pub file: File,
    pub place: Place,
}

/// What happens to the finished file.
pub enum Place {
    /// It is linked to a name.
    Link(PathBuf),
    /// It has a temporary name and is renamed.
    Rename(TempPath, PathBuf),
    /// Its contents are copied to standard output.
    Stdout,
    /// Its contents are copied to a pipe or a device, opened only then: that may wait for a reader.
    Stream(PathBuf),
}

impl Output {
    /// Starts the output for `target`. A file that exists is `AlreadyExists` unless `force`.
    pub fn create(target: &Target, force: bool) -> io::Result<Self> {
        let Target::File(path) = target else {
            return Ok(Self { file: temporary_file()?, place: Place::Stdout });
        };
        match path.metadata() {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                return Ok(Self { file: temporary_file()?, place: Place::Stream(path.clone()) });
            }
            Ok(_) if !force => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) => {}
            // A link that leads nowhere is there all the same.
            Err(_) if path.is_symlink() && !force => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let folder = folder_of(path);
        let readable_by_umask = Mode::from_raw_mode(0o666);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, readable_by_umask) {
            Ok(file) => Ok(Self { file: file.into(), place: Place::Link(path.clone()) }),
            // Without O_TMPFILE the kernel sees an attempt to write to a folder.
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL,
            ) => {
                let (file, temporary) = named(folder)?.into_parts();
                Ok(Self { file, place: Place::Rename(temporary, path.clone()) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the output in its place. With `force` an existing file is replaced, else it is kept and
    /// the outcome `AlreadyExists`. Waiting for a reader ends when cancelled.
    pub fn finish(self, force: bool, cancel: &CancelToken) -> io::Result<()> {
        match self.place {
            Place::Link(path) => link(&self.file, &path, force),
            Place::Rename(temporary, path) if force => Ok(temporary.persist(path)?),
            Place::Rename(temporary, path) => Ok(temporary.persist_noclobber(path)?),
            Place::Stdout => copy(self.file, cancel, || Ok(io::stdout())),
            Place::Stream(path) => {
                copy(self.file, cancel, move || File::options().write(true).open(path))
            }
        }
    }
}

/// Why an output cannot be created or put in its place, in words.
pub fn unwritable(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::Interrupted => {
            Failure::of_kind(ErrorKind::Cancelled, "cancelled", "start again when ready")
        }
        io::ErrorKind::BrokenPipe => {
            Failure::fault(format!("nobody reads {name} any more"), "start again when ready")
        }
        io::ErrorKind::AlreadyExists => Failure { kind: ErrorKind::Io, ..exists(name) },
        io::ErrorKind::IsADirectory => Failure { kind: ErrorKind::Io, ..is_folder(name) },
        _ => {
            let advice = "check the folder, its permissions and its free space";
            Failure::fault(format!("{name} cannot be written: {error}"), advice)
        }
    }
}

/// An output that would replace another.
pub fn exists(name: &str) -> Failure {
    Failure::usage(format!("{name} exists and was kept"), "use --force to replace it")
}

/// An output where a folder is.
pub fn is_folder(name: &str) -> Failure {
    Failure::usage(format!("{name} is a folder"), "use -d to name a folder")
}

/// Refuses, before any work, an output that could not be put in its place after it.
pub fn check(target: &Target, force: bool) -> Result<(), Failure> {
    let Target::File(path) = target else { return Ok(()) };
    if path.symlink_metadata().is_ok() && !force {
        return Err(exists(&shown(path)));
    }
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no folder {}", shown(folder)), "make it, or use -d"))
}

/// Makes the folder for outputs, if one was named.
pub fn make_folder(folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("the folder {} cannot be made: {error}", shown(folder));
        Failure::fault(message, "check its name and permissions")
    })
}

/// Copies `file` to what `open` gives.
fn copy<W: io::Write>(
    mut file: File,
    cancel: &CancelToken,
    open: impl FnOnce() -> io::Result<W> + Send + 'static,
) -> io::Result<()> {
    interruptible(cancel, Duration::MAX, move || {
        let mut writer = open()?;
        file.rewind()?;
        io::copy(&mut file, &mut writer)?;
        writer.flush()
    })
}

/// An unnamed file in the folder for such; the error names the folder.
pub fn temporary_file() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let folder = std::env::temp_dir();
        let text = format!("no temporary file can be made in {} (TMPDIR)", folder.display());
        io::Error::new(error.kind(), text)
    })
}

/// Gives the unnamed `file` a name.
fn link(file: &File, path: &Path, force: bool) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link_to =
        |name: &Path| rustix::fs::linkat(CWD, &unnamed, CWD, name, AtFlags::SYMLINK_FOLLOW);
    match link_to(path) {
        Err(rustix::io::Errno::EXIST) if force => {
            // A link never replaces a file; a rename does, at once.
            let temporary = named(folder_of(path))?.into_temp_path();
            std::fs::remove_file(&temporary)?;
            link_to(&temporary)?;
            Ok(temporary.persist(path)?)
        }
        outcome => Ok(outcome?),
    }
}

fn named(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    Builder::new()
        .prefix(".tonemill-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
        let mut output = Output::create(&Target::File(path.to_owned()), force)?;
        output.file.write_all(text.as_bytes())?;
        output.finish(force, &CancelToken::new())
    }

    #[test]
    fn a_file_appears_when_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp3");
        let entries = || std::fs::read_dir(folder.path()).unwrap().count();
        let output = Output::create(&Target::File(path.clone()), false).unwrap();
        assert_eq!(entries(), 0);
        drop(output);
        assert_eq!(entries(), 0);
        write(&path, "first", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp3");
        write(&path, "first", false).unwrap();
        let kept = write(&path, "second", false).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        // It appears while the conversion runs.
        let late = folder.path().join("late.mp3");
        let output = Output::create(&Target::File(late.clone()), false).unwrap();
        std::fs::write(&late, "theirs").unwrap();
        assert_eq!(
            output.finish(false, &CancelToken::new()).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read_to_string(&late).unwrap(), "theirs");
        write(&path, "second", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_named_temporary_does_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mp3");
        let (file, temporary) = named(folder.path()).unwrap().into_parts();
        let mut output = Output { file, place: Place::Rename(temporary, path.clone()) };
        output.file.write_all(b"x").unwrap();
        output.finish(false, &CancelToken::new()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
