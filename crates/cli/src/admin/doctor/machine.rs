//! The machine: disks, descriptors.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::disks::{Disks, Room};
use crate::text::shown;

/// Connections, files and sockets of a busy process.
const DESCRIPTORS: u64 = 4096;
/// A disk of which less is free is short of room, or as good as full, in percent. The same as of
/// `DiskShort` and `DiskFull` in `deploy/prometheus/alerts.yaml`.
const SHORT: f64 = 15.0;
const FULL: f64 = 5.0;

pub(super) fn look(disks: &Disks) -> Vec<Finding> {
    let mut folders: Vec<&PathBuf> = disks.data.iter().chain(&disks.store).collect();
    folders.dedup();
    // Of a folder that is not there tells whoever wants something from it.
    let rooms = folders.into_iter().filter_map(|folder| Some((folder, Room::of(folder)?)));
    let mut findings: Vec<Finding> = rooms.map(|(folder, room)| of_room(folder, room)).collect();
    // Services and workers take all that they may.
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    findings.push(of_descriptors(most));
    findings
}

fn of_room(folder: &Path, room: Room) -> Finding {
    let Room { free_bytes, size_bytes } = room;
    let percent = 100.0 * free_bytes / size_bytes.max(1.0);
    let gigabytes = free_bytes / 1e9;
    let says = format!("{gigabytes:.1} GB of {} are free ({percent:.0} %)", shown(folder));
    if percent < FULL {
        Finding::bad("disk", says, "make room: nothing is accepted when it is full")
    } else if percent < SHORT {
        Finding::warning("disk", says, "make room soon")
    } else {
        Finding::ok("disk", says)
    }
}

fn of_descriptors(most: u64) -> Finding {
    let says = format!("a process may have {most} descriptors");
    if most < DESCRIPTORS {
        Finding::warning("limits", says, "raise `ulimit -n` to 4,096 or more")
    } else {
        Finding::ok("limits", says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    #[test]
    fn room_and_descriptors_are_judged_at_their_bounds() {
        let room = |free_bytes| of_room(Path::new("/data"), Room { free_bytes, size_bytes: 100.0 });
        for (free_bytes, due) in
            [(0.0, "bad"), (4.9, "bad"), (5.0, "warning"), (14.9, "warning"), (15.0, "ok")]
        {
            assert_eq!(verdicts_of(&[room(free_bytes)]), [due], "{free_bytes}");
        }
        let nothing = Room { free_bytes: 0.0, size_bytes: 0.0 };
        assert_eq!(verdicts_of(&[of_room(Path::new("/data"), nothing)]), ["bad"]);
        let descriptors = [4095, 4096, u64::MAX].map(of_descriptors);
        assert_eq!(verdicts_of(&descriptors), ["warning", "ok", "ok"]);
    }

    /// Whoever is not called by the alerts is not warned by us, and the other way round.
    #[test]
    fn disks_are_short_where_the_alerts_say_so() {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/alerts.yaml");
        let rules = std::fs::read_to_string(rules).expect("the rules");
        for (alert, percent) in [("DiskShort", SHORT), ("DiskFull", FULL)] {
            let rest = rules.split(&format!("- alert: {alert}\n")).nth(1).expect("a rule");
            let rule = rest.split("- alert:").next().expect("a rule");
            let share = format!("< {}", percent / 100.0);
            assert!(rule.contains(&share), "{share}: {rule}");
        }
    }
}
