//! Files below a folder, by names with `/` in them. Folders come and go with what is in them.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// Visits the files below `root` whose names start with `prefix` and come after `after`, in the
/// order of their names, until `visit` says no. What vanishes meanwhile is left out.
pub fn walk(
    root: &Path,
    prefix: &str,
    after: &str,
    visit: &mut dyn FnMut(String, Metadata) -> io::Result<bool>,
) -> io::Result<()> {
    walk_folder(root, "", prefix, after, visit).map(drop)
}

/// Whether to go on.
fn walk_folder(
    root: &Path,
    folder: &str,
    prefix: &str,
    after: &str,
    visit: &mut dyn FnMut(String, Metadata) -> io::Result<bool>,
) -> io::Result<bool> {
    for name in names(root, folder)? {
        if let Some(inside) = name.strip_suffix('/') {
            // All names in it start with its own, slash included.
            let may_match = name.starts_with(prefix) || prefix.starts_with(&name);
            let may_follow = *name > *after || after.starts_with(&name);
            if may_match && may_follow && !walk_folder(root, inside, prefix, after, visit)? {
                return Ok(false);
            }
        } else if name.starts_with(prefix) && *name > *after {
            match fs::metadata(root.join(&name)) {
                Ok(metadata) => {
                    if !visit(name, metadata)? {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(true)
}

/// The names in `folder`, sorted as names of files below them are; those of folders end in `/`.
fn names(root: &Path, folder: &str) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What is no UTF-8 is no name.
        let Ok(name) = OsString::into_string(entry.file_name()) else { continue };
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        let above = if folder.is_empty() { "" } else { "/" };
        names.push(format!("{folder}{above}{name}{slash}"));
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the file `path` and the folders that it leaves empty, up to `root`, which stays. That it
/// is not there is no error.
pub fn remove(root: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
    for folder in folders {
        // One that is not empty, or that somebody else has removed, ends it.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

/// Calls `make`, which makes a file in `folder`, after making `folder` and what is above it; again
/// if a folder vanishes in between, because the last file in it is removed.
pub fn make_in<T>(folder: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let result = fs::create_dir_all(folder).and_then(|()| make());
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    Err(io::Error::other(format!("{} vanishes again and again", folder.display())))
}
