//! Whatever breaks in the middle of an upload, it goes on where the service says it is.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tonemill_testbed::fault_proxy::{Fault, FaultProxy};

use crate::home::{Home, noise};
use crate::service::Service;
use crate::support::fixtures;
use crate::support::process::Finished;
use crate::wire::Wire;
use crate::{PATIENCE, until};

const MIB: u64 = 1 << 20;
/// Of the file: six parts of the service's.
const BYTES: u64 = 44 * MIB;
/// A file takes a few seconds.
const PACE: u64 = 12 * MIB;

/// A user, a slow wire, and a large file.
struct Upload {
    service: Service,
    wire: Wire,
    home: Home,
    blake3: String,
}

impl Upload {
    fn new(arguments: &[&str]) -> Self {
        let service = Service::with(arguments);
        let wire = Wire::to(service.address);
        let home = Home::logged_in(&wire.url());
        let wav = noise(BYTES as usize);
        let blake3 = blake3::hash(&wav).to_hex().to_string();
        home.put("noise.wav", &wav);
        wire.pace(PACE);
        Self { service, wire, home, blake3 }
    }

    fn record(&self) -> PathBuf {
        let mut records = self.home.records("uploads");
        assert_eq!(records.len(), 1);
        records.remove(0)
    }

    fn wait_for(&self, bytes: u64) {
        until("some bytes on their way", || self.wire.up_bytes() > bytes);
    }

    /// Whether the job has the file as it is, and how it came there.
    fn check(&self, finished: Finished) -> Value {
        let line = finished.succeeded().json();
        assert_eq!(line["job"]["input_bytes"], BYTES);
        assert_eq!(line["job"]["input_blake3"], self.blake3);
        assert_eq!(self.home.jobs().len(), 1);
        line["upload"].clone()
    }
}

#[test]
fn a_killed_client_goes_on() {
    let upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav", "--json"]);
    upload.wait_for(24 * MIB);
    running.signal(Signal::KILL);
    assert_eq!(running.finish(PATIENCE).signal, Some(9));
    let record = std::fs::read_to_string(upload.record()).unwrap();
    upload.wire.pace(0);
    let sent = upload.check(upload.home.run(&["upload", "noise.wav", "--json"]));
    let resumed_at = sent["resumed_at"].as_u64().unwrap();
    assert!(resumed_at >= 8 * MIB, "{sent}");
    assert!(sent["sent_bytes"].as_u64().unwrap() <= BYTES - 8 * MIB, "{sent}");
    let job = upload.home.jobs()[0]["id"].as_str().unwrap().to_owned();
    assert!(record.contains(&job), "the upload became the job");
    assert!(upload.home.records("uploads").is_empty());
}

#[test]
fn an_interrupt_says_how_to_go_on() {
    let upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav"]);
    upload.wait_for(16 * MIB);
    running.signal(Signal::INT);
    let interrupted = running.finish(Duration::from_secs(10)).ended_with(130);
    let farewell = "tonemill: interrupted: say the same again to go on where it stopped\n";
    assert_eq!(interrupted.stderr, farewell);
    upload.wire.pace(0);
    // Another name for the same file.
    let path = upload.home.file("noise.wav");
    let sent = upload.check(upload.home.run(&["upload", path.to_str().unwrap(), "--json"]));
    assert!(sent["resumed_at"].as_u64().unwrap() > 0, "{sent}");
}

#[test]
fn a_file_that_was_changed_is_uploaded_anew() {
    let upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav"]);
    upload.wait_for(16 * MIB);
    running.signal(Signal::INT);
    running.finish(PATIENCE).ended_with(130);
    upload.wire.pace(0);
    upload.home.put("noise.wav", &noise(BYTES as usize));
    let sent = upload.check(upload.home.run(&["upload", "noise.wav", "--json"]));
    assert_eq!((&sent["resumed_at"], &sent["sent_bytes"]), (&0.into(), &BYTES.into()));
}

#[test]
fn a_file_that_changes_meanwhile_is_no_job() {
    let upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav"]);
    upload.wait_for(16 * MIB);
    let file = std::fs::File::options().write(true).open(upload.home.file("noise.wav")).unwrap();
    file.set_len(BYTES - 1).unwrap();
    let refused = running.finish(PATIENCE).ended_with(1);
    assert!(refused.stderr.starts_with("tonemill: noise.wav: "), "{}", refused.stderr);
    assert_eq!(upload.home.jobs().len(), 0);
}

#[test]
fn a_killed_service_is_waited_for() {
    let mut upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav", "--json"]);
    upload.wait_for(20 * MIB);
    upload.service.process.kill();
    until("a second try", || running.said().contains("trying again"));
    upload.service.restart();
    let before = upload.wire.up_bytes();
    upload.wire.lead_to(upload.service.address);
    let finished = running.finish(PATIENCE);
    assert!(finished.stderr.contains("the service answers again"), "{}", finished.stderr);
    upload.check(finished);
    // What was written down did not come again.
    let again = upload.wire.up_bytes() - before;
    assert!(again < BYTES - 7 * MIB, "{again}");
}

#[test]
fn a_service_that_stays_away_is_given_up_and_can_be_gone_on_with() {
    let mut upload = Upload::new(&[]);
    let running = upload.home.start(&["upload", "noise.wav", "--retry-for", "2"]);
    upload.wait_for(20 * MIB);
    upload.service.process.kill();
    let given_up = running.finish(PATIENCE).ended_with(3);
    assert!(given_up.stderr.contains("noise.wav: http://"), "{}", given_up.stderr);
    upload.service.restart();
    upload.wire.lead_to(upload.service.address);
    upload.wire.pace(0);
    let sent = upload.check(upload.home.run(&["upload", "noise.wav", "--json"]));
    assert!(sent["resumed_at"].as_u64().unwrap() >= 8 * MIB, "{sent}");
}

#[test]
fn tokens_that_expire_meanwhile_are_renewed() {
    let upload = Upload::new(&["--access-token", "1"]);
    let before = upload.home.credentials();
    let running = upload.home.start(&["upload", "noise.wav", "--json"]);
    upload.check(running.finish(PATIENCE));
    assert_ne!(upload.home.credentials(), before);
}

#[test]
fn an_interrupted_wait_finds_its_job_again() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    let quiet = ["-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo:d=900"];
    std::fs::copy(fixtures::made("quiet.flac", &quiet), home.file("quiet.flac")).unwrap();
    let upload = ["upload", "quiet.flac", "--wait", "--json", "--bitrate", "64"];
    let running = home.start(&upload);
    until("a job that runs", || home.jobs().first().is_some_and(|job| job["state"] == "running"));
    running.signal(Signal::INT);
    let interrupted = running.finish(Duration::from_secs(10)).ended_with(130);
    assert!(interrupted.stderr.contains("a job goes on"), "{}", interrupted.stderr);
    let line = home.run(&upload).succeeded().json();
    assert_eq!(line["upload"]["sent_bytes"], 0, "{line}");
    assert_eq!(home.jobs().len(), 1);
    // Other options, or the same once more, are another job.
    for bitrate in ["48", "64"] {
        let options = ["upload", "quiet.flac", "--force", "--json", "--bitrate", bitrate];
        let line = home.run(&options).succeeded().json();
        assert_ne!(line["upload"]["sent_bytes"], 0, "{line}");
    }
    assert_eq!(home.jobs().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_makes_no_second_job() {
    let service = Service::embedded();
    let proxy = FaultProxy::http(&format!("http://{}", service.address)).await;
    let mut lost = 0;
    proxy.plan(move |incoming| {
        if incoming.request.starts_with("POST /v1/jobs ") && lost < 2 {
            lost += 1;
            return Fault::LoseResponse;
        }
        // Everything breaks now and then.
        if incoming.number % 5 == 3 { Fault::Reset } else { Fault::None }
    });
    tokio::task::block_in_place(|| {
        let home = Home::logged_in(&service.url());
        let path = home.kept("credentials.json");
        let kept = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, kept.replace(&service.url(), &proxy.endpoint())).unwrap();
        home.put("a.wav", &noise(300_000));
        let line = home.run(&["upload", "a.wav", "--wait", "--json", "--retry-for", "30"]);
        assert_eq!(line.succeeded().json()["job"]["state"], "finished");
        proxy.set(Fault::None);
        assert_eq!(home.jobs().len(), 1);
    });
}
