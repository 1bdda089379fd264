//! From a file to its MP3 and back out of the service, as it should go.

use std::fs;

use serde_json::Value;

use crate::home::{Home, complaint, noise};
use crate::service::Service;
use crate::support::fixtures;
use crate::support::process::{convert, names_in};

#[test]
fn files_come_back_as_convert_makes_them() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    for name in ["aac.mp4", "s16.flac", "vorbis.webm"] {
        fs::copy(fixtures::path(name), home.file(name)).unwrap();
    }
    home.put("bad.mp4", b"this is no video at all");
    let options =
        ["--bitrate", "96", "--title", "T\u{e4}st", "--start", "0.5", "--channels", "mono"];
    let mut arguments = vec!["upload", "aac.mp4", "s16.flac", "bad.mp4", "vorbis.webm"];
    arguments.extend(["-d", "out", "--json", "--label", "mine"]);
    arguments.extend(options);
    let uploaded = home.run(&arguments).ended_with(1);
    let lines = uploaded.json_lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(uploaded.stderr.contains("bad.mp4: the upload is neither video nor audio"));
    for name in ["aac.mp4", "s16.flac", "vorbis.webm"] {
        let line = lines.iter().find(|line| line["input_path"] == name).unwrap();
        let bytes = fs::metadata(home.file(name)).unwrap().len();
        assert_eq!(line["upload"]["bytes"], bytes);
        assert_eq!(line["upload"]["sent_bytes"], bytes);
        assert_eq!(line["job"]["state"], "finished");
        assert_eq!(line["job"]["label"], "mine");
        assert_eq!(line["output"]["mode"]["cbr"], 96, "the report is where `submit` has it");
        let local = home.file("local.mp3");
        convert(&home.file(name), &local, &[&["--force"][..], &options].concat()).succeeded();
        let output = line["output_path"].as_str().unwrap();
        assert!(home.read(output) == fs::read(&local).unwrap(), "{name}");
    }
    assert_eq!(names_in(&home.file("out")), ["aac.mp3", "s16.mp3", "vorbis.mp3"]);
    assert!(home.records("uploads").is_empty(), "what is done is forgotten");
}

#[test]
fn without_wait_a_job_is_told_and_can_be_looked_after() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    fs::copy(fixtures::an_hour(), home.file("hour.flac")).unwrap();
    fs::copy(fixtures::path("lame.mp3"), home.file("lame.mp3")).unwrap();
    // The input's own name, which as an output would be refused.
    let line = home.run(&["upload", "lame.mp3", "--label", "short"]).succeeded();
    let line = String::from_utf8(line.stdout).unwrap();
    let (short, how) = line.strip_prefix("lame.mp3 -> job ").unwrap().split_once(' ').unwrap();
    assert_eq!(how, format!("(`tonemill download {short}` when it is done)\n"));
    let short = short.to_owned();
    let watched = home.run(&["watch", &short]).succeeded();
    let watched = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.starts_with(&format!("{short} finished lame.mp3 (0:02)")), "{watched}");

    let long = home.run(&["upload", "hour.flac", "--quality", "0", "--json"]).succeeded().json();
    let long = long["job"]["id"].as_str().unwrap().to_owned();
    let watching = home.start(&["watch", &long, &short, "--json"]);
    let cancelled = home.run(&["jobs", "cancel", &long]).succeeded();
    assert_eq!(cancelled.stdout, format!("{long} cancelled\n").as_bytes());
    let watched = watching.finish(crate::PATIENCE).ended_with(1);
    let states: Vec<Value> = watched.json_lines();
    let last = |id: &str| states.iter().rfind(|job| job["id"] == id).unwrap()["state"].clone();
    assert_eq!((last(&long), last(&short)), ("cancelled".into(), "finished".into()));

    home.run(&["jobs", "cancel", &long]).succeeded();
    let over = home.run(&["jobs", "cancel", &short]).ended_with(1);
    assert!(complaint(&over).ends_with("the job is finished"), "{}", over.stderr);
    let listed = home.run(&["jobs", "--state", "finished", "--label", "short"]).succeeded();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&short) && listed.contains("lame.mp3 (short)"), "{listed}");
    let shown = String::from_utf8(home.run(&["jobs", &long]).succeeded().stdout).unwrap();
    assert!(shown.contains("hour.flac") && shown.contains("cancelled"), "{shown}");
    home.run(&["jobs", "retry", &long]).succeeded();
    let early = home.run(&["download", &long]).ended_with(1);
    assert!(complaint(&early).contains("tonemill watch"), "{}", early.stderr);
    let not_over = home.run(&["jobs", "delete", &long]).ended_with(1);
    assert!(complaint(&not_over).contains("jobs cancel"));
    home.run(&["jobs", "cancel", &long]).succeeded();
    home.run(&["jobs", "delete", &long, &short]).succeeded();
    assert_eq!(home.jobs().len(), 0);
}

#[test]
fn a_webhooks_secret_is_told_once() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    for name in ["a.wav", "b.wav"] {
        home.put(name, &noise(10_000));
    }
    let url = "https://hooks.example.invalid/";
    let told = home.run(&["upload", "a.wav", "--webhook", url, "--json"]).succeeded();
    let job = told.json()["job"].clone();
    let (id, secret) = (&job["webhook"]["id"], job["webhook"]["secret"].as_str().unwrap());
    assert_eq!(job["webhook"]["url"], url);
    let line = format!("a.wav: webhook {} is signed with {secret} (this is", id.as_str().unwrap());
    assert!(secret.starts_with("whsec_") && complaint(&told).starts_with(&line), "{}", told.stderr);
    let shown = home.run(&["jobs", job["id"].as_str().unwrap(), "--json"]).succeeded().json();
    assert_eq!((&shown["webhook"]["id"], shown["webhook"].get("secret")), (id, None));
    let quiet = home.run(&["upload", "b.wav", "--webhook", url, "--quiet"]).succeeded();
    assert!(complaint(&quiet).contains(" is signed with whsec_"), "{}", quiet.stderr);
    let refused = home.run(&["upload", "a.wav", "--webhook", "hooks.example"]).ended_with(2);
    assert!(refused.stderr.contains("no http or https URL"), "{}", refused.stderr);
    assert_eq!(home.jobs().len(), 2);
}

#[test]
fn a_failed_job_says_why_and_what_to_do() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    // It begins as a video does.
    let mut broken = b"\0\0\0\x20ftypisom".to_vec();
    broken.resize(5000, 7);
    home.put("broken.mp4", &broken);
    let failed = home.run(&["upload", "broken.mp4", "--wait"]).ended_with(1);
    assert!(complaint(&failed).starts_with("broken.mp4: "), "{}", failed.stderr);
    assert!(complaint(&failed).matches(": ").count() >= 2, "with advice: {}", failed.stderr);
    let id = home.jobs()[0]["id"].as_str().unwrap().to_owned();
    home.run(&["watch", &id]).ended_with(1);
    let shown = String::from_utf8(home.run(&["jobs", &id]).succeeded().stdout).unwrap();
    assert!(shown.contains("\nfailure  ") && shown.contains("\nadvice  "), "{shown}");
    // It is another job the next time.
    home.run(&["upload", "broken.mp4", "--wait"]).ended_with(1);
    assert_eq!(home.jobs().len(), 2);
}

#[test]
fn clashes_are_refused_before_anything_is_uploaded() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    for name in ["a.wav", "b.wav"] {
        home.put(name, &noise(10_000));
    }
    home.put("a.mp3", b"mine");
    for (arguments, why) in [
        (&["upload", "a.wav", "a.wav", "--wait"][..], "the same output"),
        (&["upload", "a.mp3", "--wait"], "would overwrite itself"),
        (&["upload", "-", "--wait"], "standard input"),
        (&["upload", "a.wav", "-o", "-"], "standard output"),
        (&["upload", "a.wav", "--start", "5", "--end", "4"], "must come after"),
        (&["upload", "a.wav", "--wait"], "--force"),
        (&["upload", "a.wav", "-o", "there/is/none.mp3"], "no folder"),
    ] {
        let refused = home.run(arguments).ended_with(2);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(home.jobs().len(), 0);
    // One that clashes does not keep another.
    home.run(&["upload", "a.wav", "b.wav", "--wait"]).ended_with(2);
    assert_eq!(home.read("a.mp3"), b"mine");
    assert!(home.file("b.mp3").exists());
    home.run(&["upload", "a.wav", "--force"]).succeeded();
    assert_ne!(home.read("a.mp3"), b"mine");
}
