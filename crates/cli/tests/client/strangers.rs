//! Servers that are none of ours, or no longer themselves: nothing hangs, nothing leaks, nothing is
//! written where it should not be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::PATIENCE;
use crate::fake::{Answer, Asked, Fake};
use crate::home::{Home, complaint, noise};
use crate::service::PASSWORD;
use crate::support::process::{Finished, names_in, start};

const JOB: &str = "01890000-0000-7000-8000-000000000001";
const KEY: &str = "tm_very-secret-key";

/// Runs the program with an API key for this server.
fn run(home: &Home, fake: &Fake, arguments: &[&str]) -> Finished {
    let mut command = home.command(arguments);
    command.env("TONEMILL_URL", fake.url()).env("TONEMILL_TOKEN", KEY);
    let finished = start(&mut command).finish(PATIENCE);
    assert!(!finished.stderr.contains("panic"), "{}", finished.stderr);
    assert!(!finished.stderr.contains(KEY), "{}", finished.stderr);
    assert!(finished.took < Duration::from_secs(30), "{:?}", finished.took);
    assert!(finished.peak_bytes < 200 << 20, "{} bytes", finished.peak_bytes);
    finished
}

fn finished_job(file_name: &str, bytes: u64) -> serde_json::Value {
    json!({
        "id": JOB, "state": "finished", "version": 3,
        "output": { "file_name": file_name, "bytes": bytes },
    })
}

#[test]
fn a_page_is_no_service() {
    let home = Home::new();
    let page = Fake::new(|_| Answer::of("200 OK", "text/html", "<html>hello\x1b[2J</html>"));
    for arguments in [&["jobs"][..], &["jobs", JOB], &["watch", JOB], &["download", JOB]] {
        let refused = run(&home, &page, arguments).ended_with(2);
        assert!(
            complaint(&refused).contains("does not behave like Tonemill"),
            "{}",
            refused.stderr
        );
    }
    let refused = home.log_in(&page.url(), PASSWORD).ended_with(2);
    assert!(complaint(&refused).contains("check the address"), "{}", refused.stderr);
    let lost = Fake::new(|_| Answer::of("404 Not Found", "text/html", "<html></html>"));
    let refused = home.log_in(&lost.url(), PASSWORD).ended_with(2);
    assert!(complaint(&refused).contains("not as Tonemill does"), "{}", refused.stderr);
    let trick = r#"{"detail":"a\u001b[2J\nb"}"#;
    let trick = Fake::new(|_| Answer::of("403 Forbidden", "application/problem+json", trick));
    let refused = run(&home, &trick, &["jobs"]).ended_with(2);
    assert_eq!(complaint(&refused), "a\\u{1b}[2J\\u{a}b");
}

#[test]
fn a_redirection_gets_no_token() {
    let home = Home::new();
    let thief = Fake::new(|_| Answer::of("200 OK", "application/json", "{\"jobs\":[]}"));
    let to = thief.url();
    let redirecting = Fake::new(move |asked| Answer::redirect(&format!("{to}{}", path(asked))));
    let refused = run(&home, &redirecting, &["jobs"]).ended_with(2);
    assert!(complaint(&refused).contains("redirects to"), "{}", refused.stderr);
    home.log_in(&redirecting.url(), PASSWORD).ended_with(2);
    home.put("a.wav", &noise(10_000));
    run(&home, &redirecting, &["upload", "a.wav"]).ended_with(2);
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());

    // A download may lead to a store, which is not told who asks.
    let store = Fake::new(|_| Answer::of("200 OK", "audio/mpeg", "0123456789"));
    let to = format!("{}/object?signature=1", store.url());
    let service = Fake::new(move |asked| match path(asked) {
        path if path.ends_with("/output") => Answer::redirect(&to),
        _ => Answer::json(&finished_job("a.mp3", 10)),
    });
    run(&home, &service, &["download", JOB]).succeeded();
    assert_eq!(home.read("a.mp3"), b"0123456789");
    let [asked] = &store.asked()[..] else { panic!("{:?}", store.asked()) };
    assert_eq!(asked.header("authorization"), None);
    assert!(service.asked().iter().all(|asked| asked.header("authorization").is_some()));

    let away = Fake::new(move |asked| match path(asked) {
        path if path.ends_with("/output") => Answer::redirect("http://127.0.0.1:1/x?signature=1"),
        _ => Answer::json(&finished_job("b.mp3", 10)),
    });
    let refused = run(&home, &away, &["download", JOB, "--retry-for", "0"]).ended_with(3);
    let told = complaint(&refused);
    assert!(told.contains("http://127.0.0.1:1 cannot be reached"), "{told}");
    assert!(!told.contains("signature"), "{told}");
}

#[test]
fn what_has_no_end_is_not_read_to_it() {
    let home = Home::new();
    let endless = Fake::new(|_| Answer::endless("application/json", "[[[[[[[[[[[[[[[[[[[[[[[["));
    let refused = run(&home, &endless, &["jobs"]).ended_with(2);
    assert!(complaint(&refused).contains("no end"), "{}", refused.stderr);
    let endless = Fake::new(|_| Answer::endless("text/event-stream", "data: xxxxxxxxxxxxxxxx"));
    let refused = run(&home, &endless, &["watch", JOB]).ended_with(2);
    assert!(complaint(&refused).contains("no end"), "{}", refused.stderr);
    let longer = Fake::new(|asked| match path(asked) {
        path if path.ends_with("/output") => Answer::endless("audio/mpeg", "0123456789"),
        _ => Answer::json(&finished_job("a.mp3", 1000)),
    });
    let refused = run(&home, &longer, &["download", JOB]).ended_with(2);
    assert!(complaint(&refused).contains("longer than it said"), "{}", refused.stderr);
    assert!(!home.file("a.mp3").exists());
}

#[test]
fn a_name_stays_in_its_folder() {
    let home = Home::new();
    for (name, kept) in [
        ("../../evil.mp3", "evil.mp3"),
        ("/tmp/../x\\y.mp3", "y.mp3"),
        (".profile", "profile"),
        ("a\u{1b}]0;b\n.mp3", "a]0;b.mp3"),
        ("..", "output.mp3"),
    ] {
        let service = Fake::new(move |asked| match path(asked) {
            path if path.ends_with("/output") => Answer::of("200 OK", "audio/mpeg", "12345"),
            _ => Answer::json(&finished_job(name, 5)),
        });
        let told = run(&home, &service, &["download", JOB, "-d", "here"]).succeeded();
        assert!(!told.stdout.contains(&0x1b));
        assert_eq!(names_in(&home.file("here")), [kept], "{name:?}");
        std::fs::remove_file(home.file("here").join(kept)).unwrap();
    }
}

#[test]
fn nonsense_is_refused() {
    let home = Home::new();
    home.put("a.wav", &noise(10_000));
    let other = Fake::new(|_| {
        let mut job = finished_job("a.mp3", 5);
        job["id"] = "01890000-0000-7000-8000-000000000002".into();
        Answer::json(&job)
    });
    let refused = run(&home, &other, &["download", JOB]).ended_with(2);
    assert!(complaint(&refused).contains("another job"), "{}", refused.stderr);
    // Uploads that go nowhere, or backwards.
    let nowhere = Fake::new(|_| Answer::of("201 Created", "text/plain", ""));
    let refused = run(&home, &nowhere, &["upload", "a.wav"]).ended_with(2);
    assert!(complaint(&refused).contains("where the upload goes"), "{}", refused.stderr);
    let backwards = Fake::new(|asked| {
        let head = match asked.line.split(' ').next() {
            Some("POST") => format!("201 Created\r\nlocation: /v1/uploads/{JOB}"),
            _ => "204 No Content\r\nupload-offset: 0".to_owned(),
        };
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        Answer { head, body: Vec::new(), is_endless: false }
    });
    let refused = run(&home, &backwards, &["upload", "a.wav"]).ended_with(2);
    assert!(complaint(&refused).contains("how far it is"), "{}", refused.stderr);
    for (pause, told) in [(86_400, "24:00:00"), (u64::MAX, ":15")] {
        let busy = Fake::new(move |_| {
            let head = format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {pause}\r\ncontent-length: 0\r\n\
                    connection: close\r\n\r\n"
            );
            Answer { head, body: Vec::new(), is_endless: false }
        });
        let refused = run(&home, &busy, &["jobs"]).ended_with(3);
        assert!(complaint(&refused).contains("try again in "), "{}", refused.stderr);
        assert!(complaint(&refused).ends_with(told), "{}", refused.stderr);
    }
}

#[test]
fn a_quota_that_waiting_does_not_help_is_told_at_once() {
    let home = Home::new();
    home.put("a.wav", &noise(10_000));
    let why = r#"{"detail":"you may have 5 bytes stored: delete jobs that are done"}"#;
    let full =
        Fake::new(move |_| Answer::of("429 Too Many Requests", "application/problem+json", why));
    for arguments in [&["upload", "a.wav"][..], &["jobs"]] {
        let refused = run(&home, &full, arguments).ended_with(1);
        assert!(complaint(&refused).ends_with("delete jobs that are done"), "{}", refused.stderr);
    }
    assert_eq!(full.asked().len(), 2);
}

#[test]
fn a_wait_is_no_outage() {
    let home = Home::new();
    for (status, told) in [("429 Too Many Requests", 1), ("503 Service Unavailable", 2)] {
        let asked = AtomicUsize::new(0);
        let busy = Fake::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let head = format!(
                    "HTTP/1.1 {status}\r\nretry-after: 2\r\ncontent-length: 0\r\n\
                     connection: close\r\n\r\n"
                );
                Answer { head, body: Vec::new(), is_endless: false }
            }
            _ => Answer::json(&json!({ "jobs": [] })),
        });
        let listed = run(&home, &busy, &["jobs", "--json"]).succeeded();
        assert_eq!(listed.stderr.lines().count(), told, "{}", listed.stderr);
    }
}

#[test]
fn jobs_have_ids_and_commands() {
    let home = Home::new();
    let none = Fake::new(|_| Answer::json(&json!({ "jobs": [] })));
    run(&home, &none, &["jobs", "list", "--limit", "3", "--json"]).succeeded();
    assert!(none.asked()[0].line.contains("limit=3"), "{:?}", none.asked());
    let refused = run(&home, &none, &["jobs", "rety", JOB]).ended_with(2);
    let told =
        "'rety' is neither a job's id (such as 01a201f0-8e11-7…) nor one of cancel, retry, delete";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    let refused = run(&home, &none, &["jobs", "cancel", "all"]).ended_with(2);
    let told = "'all' is no job's id (such as 01a201f0-8e11-7…)";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    run(&home, &none, &["jobs", JOB, "--limit", "3"]).ended_with(2);
}

fn path(asked: &Asked) -> &str {
    asked.line.split(' ').nth(1).unwrap_or_default()
}
