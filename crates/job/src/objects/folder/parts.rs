//! Objects in parts that others go on with: an unfinished file that has the parts at their places.
//!
//! Locks on the file see to what S3 does by itself: no part comes into an object that is finished,
//! even if its writer has slept in between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::super::{PART_BYTES, PartsId};
use super::place::Place;

pub fn begin(place: &Place) -> io::Result<PartsId> {
    place.make()?;
    PartsId::try_from(place.name.clone()).map_err(io::Error::other)
}

pub fn put(place: Option<Place>, number: u32, bytes: &[u8]) -> io::Result<()> {
    let place = place.ok_or(io::ErrorKind::NotFound)?;
    let file = place.open()?;
    file.try_lock_shared()?;
    if !place.is_there() || place.object()?.is_some() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is finished or given up"));
    }
    file.write_all_at(bytes, u64::from(number - 1) * PART_BYTES as u64)?;
    // The caller writes down that the part is here: a loss of power must not make a hole of it.
    file.sync_data()
}

pub fn finish(place: Option<Place>, total_bytes: u64) -> io::Result<()> {
    let place = place.ok_or(io::ErrorKind::NotFound)?;
    match place.open() {
        Ok(file) => {
            file.try_lock()?;
            publish(&place, &file, total_bytes)?;
            place.remove()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_object(&place, total_bytes),
        Err(error) => Err(error),
    }
}

fn publish(place: &Place, file: &File, total_bytes: u64) -> io::Result<()> {
    // If there is an object, it may be this very file, whose publisher died before it was done.
    if !place.is_there() || place.object()?.is_some() {
        return check_object(place, total_bytes);
    }
    let bytes = file.metadata()?.len();
    if bytes < total_bytes {
        let why = format!("{bytes} bytes of {total_bytes} are there");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // What is longer was stored again, and shorter, or is not wanted.
    file.set_len(total_bytes)?;
    match place.publish(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_object(place, total_bytes)
        }
        published => published,
    }
}

/// Whether the object is there already, and stays.
fn check_object(place: &Place, total_bytes: u64) -> io::Result<()> {
    match place.object()? {
        Some(bytes) if bytes == total_bytes => place.sync_names(),
        Some(bytes) => {
            let why = format!("there is an object of {bytes} bytes instead of {total_bytes}");
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        None => Err(io::Error::new(io::ErrorKind::NotFound, "it was given up, or never begun")),
    }
}
