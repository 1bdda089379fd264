//! Downloads: whole under their names, or in part under hidden ones and gone on with.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use tonemill_testbed::s3::S3Server;

use crate::home::{Home, complaint, noise};
use crate::service::Service;
use crate::support::process::names_in;
use crate::wire::Wire;
use crate::{PATIENCE, until};

/// Of the MP3: 40 s at 320 kbit/s.
const BYTES: u64 = 1_600_000;

struct Finished {
    _service: Service,
    wire: Wire,
    home: Home,
    job: String,
    mp3: Vec<u8>,
}

impl Finished {
    fn new() -> Self {
        let service = Service::embedded();
        let wire = Wire::to(service.address);
        let home = Home::logged_in(&wire.url());
        home.put("long.wav", &noise(192_000 * 40));
        let options = ["--bitrate", "320", "--quality", "9"];
        let line =
            home.run(&[&["upload", "long.wav", "-d", "out", "--json"], &options[..]].concat());
        let job = line.succeeded().json()["job"]["id"].as_str().unwrap().to_owned();
        let mp3 = home.read("out/long.mp3");
        assert!(mp3.len() as u64 >= BYTES, "{}", mp3.len());
        Self { _service: service, wire, home, job, mp3 }
    }

    fn parts(&self) -> Vec<PathBuf> {
        let paths = names_in(&self.home.files()).into_iter().map(|name| self.home.file(&name));
        paths.filter(|path| path.extension() == Some("part".as_ref())).collect()
    }

    /// Begins a download and kills it in its middle.
    fn break_off(&self) {
        self.wire.pace(400_000);
        let before = self.wire.down_bytes();
        let running = self.home.start(&["download", &self.job]);
        until("half of it", || self.wire.down_bytes() > before + BYTES / 2);
        running.signal(Signal::KILL);
        running.finish(PATIENCE);
        self.wire.pace(0);
        let [part] = &self.parts()[..] else { panic!("{:?}", names_in(&self.home.files())) };
        let name = part.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name, format!(".long.mp3.{}.part", self.job));
        assert!(!self.home.file("long.mp3").exists());
    }

    /// Downloads it; how much was there before.
    fn download(&self) -> u64 {
        let line = self.home.run(&["download", &self.job, "--json"]).succeeded().json();
        assert!(self.home.read("long.mp3") == self.mp3);
        assert!(self.parts().is_empty());
        assert!(self.home.records("downloads").is_empty());
        line["resumed_at"].as_u64().unwrap()
    }
}

#[test]
fn a_killed_download_goes_on() {
    let finished = Finished::new();
    finished.break_off();
    let before = finished.wire.down_bytes();
    let resumed_at = finished.download();
    assert!(resumed_at > BYTES / 4, "{resumed_at}");
    let came = finished.wire.down_bytes() - before;
    assert!(came < finished.mp3.len() as u64 - resumed_at + 20_000, "{came}");
}

#[test]
fn a_part_of_something_else_is_not_gone_on_with() {
    let finished = Finished::new();
    finished.break_off();
    let record = finished.home.records("downloads").remove(0);
    fs::write(&record, r#"{"tag":"\"another\""}"#).unwrap();
    assert_eq!(finished.download(), 0);

    // A part of which nothing is known, and one that is too long.
    fs::remove_file(finished.home.file("long.mp3")).unwrap();
    let part = finished.home.file(&format!(".long.mp3.{}.part", finished.job));
    fs::write(&part, "something else").unwrap();
    assert_eq!(finished.download(), 0);
}

#[test]
fn a_cut_connection_is_mended_by_the_same_client() {
    let finished = Finished::new();
    for after in [100, 300_000, BYTES - 1000] {
        finished.wire.cut_after(after);
        assert_eq!(finished.download(), 0);
        fs::remove_file(finished.home.file("long.mp3")).unwrap();
    }
}

#[test]
fn nothing_is_overwritten_unless_that_is_said() {
    let finished = Finished::new();
    let Finished { home, job, mp3, .. } = &finished;
    home.put("long.mp3", b"mine");
    let refused = home.run(&["download", job]).ended_with(2);
    assert!(complaint(&refused).contains("--force"));
    std::os::unix::fs::symlink("nowhere", home.file("link.mp3")).unwrap();
    home.run(&["download", job, "-o", "link.mp3"]).ended_with(2);
    assert_eq!(home.read("long.mp3"), b"mine");
    let twice = home.run(&["download", job, job, "-d", "two"]).ended_with(2);
    assert!(complaint(&twice).contains("the same output"));
    home.run(&["download", job, "--force", "--quiet"]).succeeded();
    assert!(home.read("long.mp3") == *mp3);
    let piped = home.run(&["download", job, "-o", "-"]).succeeded();
    assert!(piped.stdout == *mp3);
    home.run(&["download", job, "-o", "/dev/null"]).succeeded();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    home.run(&["download", job, "-o", "new/x.mp3"]).ended_with(2);
    let unknown = home.run(&["download", "01890000-0000-7000-8000-000000000000"]).ended_with(1);
    assert!(complaint(&unknown).ends_with("there is no such job"), "{}", unknown.stderr);
    assert!(finished.parts().is_empty());
}

#[test]
fn a_store_that_is_asked_directly_gets_no_token() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_environment(&["--presign", "60"], s3.variables().to_vec());
    let home = Home::logged_in(&service.url());
    home.put("a.wav", &noise(400_000));
    // S3 refuses a signed address that comes with a header of another kind of authorization.
    let line = home.run(&["upload", "a.wav", "--wait", "--json"]).succeeded().json();
    let mp3 = home.read("a.mp3");
    let job = line["job"]["id"].as_str().unwrap();
    home.run(&["download", job, "-o", "b.mp3"]).succeeded();
    assert!(home.read("b.mp3") == mp3);
}
