//! One life after the other, with everything in one process: in, watched, out; bad files; jobs that
//! nobody wants any more; lists.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::client::{Client, file, text};
use crate::events::Events;
use crate::jobs::{assert_same, clip, convert, id_of, long, saved};
use crate::service::{PASSWORD, Service};
use crate::support::daemon::Daemon;
use crate::support::process::program;
use crate::support::sound::{ffprobe, tag};

#[test]
fn keys_and_videos_are_their_owners_alone() {
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let mut service = Service::embedded();
    let data = service.data();
    assert_eq!(mode(&data), 0o700);
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    // As those who packaged it may have made it; and as somebody may want it for a backup.
    for (made, kept) in [(0o755, 0o700), (0o770, 0o700), (0o750, 0o750)] {
        set_permissions(&data, Permissions::from_mode(made)).unwrap();
        service.restart();
        assert_eq!(mode(&data), kept, "{made:o}");
    }
}

/// For a ledger that names nothing, everything in the store is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ledger_takes_nothing_away() {
    let mut service = Service::embedded();
    let client = service.admin().await;
    let job = client.submit(&clip(), "").await;
    client.finished(&job).await;
    service.process.kill();
    let ledger = format!("sqlite://{}?mode=rwc", service.scratch("other.db").display());
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["admin", "reconcile"]] {
        let mut program = program();
        program.args(command).arg("--database-url").arg(&ledger).arg("--data").arg(service.data());
        let mut refused = Daemon::start(&mut program, service.scratch("other.log"));
        assert_eq!(refused.end(PATIENCE).await.code(), Some(3), "{}", refused.log());
        assert!(refused.log().contains("belongs to another ledger"), "{}", refused.log());
    }
    service.restart();
    service.admin().await.output(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_ways_in_and_the_same_mp3_out() {
    let service = Service::embedded();
    let client = service.admin().await;
    let reply =
        service.nobody().post("/v1/login").basic("admin", PASSWORD).send().await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let by_basic = client.with(reply.json()["access_token"].as_str().unwrap());

    let video = clip();
    let query =
        "bitrate_kbps=96&channels=mono&start_seconds=0.5&end_seconds=1.75&tag.title=F%C3%BC%C3%9Fe";
    let options = json!({"bitrate_kbps": 96, "channels": "mono", "start_seconds": 0.5,
        "end_seconds": 1.75, "tags": {"title": "Füße"}});
    let as_body = client.submit(&video, query).await;
    let [rate, channels] = [text("bitrate_kbps", "96"), text("channels", "mono")];
    let [start, end] = [text("start_seconds", "0.5"), text("end_seconds", "1.75")];
    let form = [rate, channels, file("a.mp4", &video), start, end, text("tag.title", "Füße")];
    let as_form = id_of(&by_basic.post("/v1/jobs").form(&form).send().await.expect(201));
    let options_text = options.to_string();
    let form = [file("a.mp4", &video), text("options", &options_text)];
    let as_form_of_json = id_of(&client.post("/v1/jobs").form(&form).send().await.expect(201));
    let upload = client.upload(&video).await;
    let mut request = options.clone();
    request["upload"] = json!(upload);
    let as_upload = id_of(&client.post("/v1/jobs").json(&request).send().await.expect(201));
    assert_eq!(as_upload, upload, "the job has the upload's name");

    let arguments = ["--bitrate", "96", "--channels", "mono", "--start", "0.5", "--end", "1.75"];
    let due = convert(&video, &[&arguments[..], &["--title", "Füße"]].concat());
    for job in [&as_body, &as_form, &as_form_of_json, &as_upload] {
        assert_same(&client.mp3(job).await, &due);
        let job = client.job(job).await;
        assert_eq!(job["output"]["bytes"], due.len(), "{job:#}");
        assert_eq!(job["input_blake3"], blake3::hash(&video).to_hex().as_str());
        assert_eq!((&job["media"], &job["attempts"]), (&json!("mp4"), &json!(1)));
    }
    let path = service.scratch("out.mp3");
    saved(&due, &path);
    let probe = ffprobe(&path);
    let stream = &probe["streams"][0];
    assert_eq!((&stream["channels"], &stream["bit_rate"]), (&json!(1), &json!("96000")));
    assert_eq!(tag(&probe, "title"), Some("Füße"));
    let seconds: f64 = probe["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((seconds - 1.25).abs() < 0.05, "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_watched_to_its_end() {
    let service = Service::embedded();
    let client = service.admin().await;
    let job = client.submit(&clip(), "label=watched").await;
    let events = Events::of(&client, &job, None).await.all().await;
    let states: Vec<_> = events.iter().filter(|event| event.name == "state").collect();
    let versions: Vec<u64> = states.iter().map(|event| version(&event.data)).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    for event in &states {
        assert_eq!(event.id.as_deref(), Some(event.data["version"].to_string().as_str()));
        assert_eq!((&event.data["id"], &event.data["label"]), (&json!(job), &json!("watched")));
    }
    let last = states.last().unwrap();
    assert_eq!(last.data["state"], "finished");
    assert!(last.data["output"]["duration_seconds"].as_f64().unwrap() > 2.0);

    // Who comes back is told what it does not know yet, or not to come again.
    let again = Events::of(&client, &job, Some("1")).await.all().await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id, last.id);
    let request = client.get(format!("/v1/jobs/{job}/events"));
    let request = request.header("last-event-id", last.id.as_deref().unwrap());
    assert!(request.send().await.expect(204).body.is_empty());
    // A browser's EventSource sends no headers of ours.
    let token = client.token.as_deref().unwrap();
    let path = format!("/v1/jobs/{job}/events?access_token={token}");
    assert!(service.nobody().get(path).send().await.expect(200).text().contains("finished"));
}

fn version(job: &Value) -> u64 {
    job["version"].as_u64().expect("a version")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_and_waiting_jobs_are_cancelled() {
    let service = Service::with(&["--jobs", "1"]);
    let client = service.admin().await;
    let running = client.submit(&long(), "").await;
    let waiting = client.submit(&clip(), "").await;
    let mut events = Events::of(&client, &running, None).await;
    let progress = loop {
        let event = events.next().await.expect("progress before the end");
        if event.name == "progress" && event.data["encoded_seconds"].as_f64() > Some(0.0) {
            assert_eq!(event.id, None, "only states are gone back to");
            break event.data;
        }
    };
    assert_eq!(progress["declared_seconds"], 3600.0, "{progress}");
    assert!(progress["percent"].as_f64().is_some_and(|percent| percent < 100.0), "{progress}");
    let before = client.job(&waiting).await;
    assert!(before["state"] == "waiting" || before["state"] == "queued", "{before:#}");

    let asked = Instant::now();
    for job in [&waiting, &running] {
        let reply = client.delete(format!("/v1/jobs/{job}")).send().await.expect(200);
        assert_eq!(reply.json()["state"], "cancelled");
    }
    service.process.calm().await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "it went on for {took:?}");
    let last = events.all().await.pop().expect("an end");
    assert_eq!(last.data["state"], "cancelled");
    for job in [&waiting, &running] {
        assert_eq!(client.job(job).await["state"], "cancelled");
        client.get(format!("/v1/jobs/{job}/output")).send().await.problem(409);
    }
    // It was the wish that ended them: they can be wished back.
    client.post(format!("/v1/jobs/{waiting}/retry")).send().await.expect(202);
    assert_same(&client.mp3(&waiting).await, &convert(&clip(), &[]));
    assert!(service.files("objects/outputs").len() == 1, "{:?}", service.files("objects"));
    assert!(service.files("unfinished").is_empty(), "{:?}", service.files("unfinished"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_fails_with_a_diagnosis_and_goes_for_good() {
    let service = Service::embedded();
    let client = service.admin().await;
    let cut = &clip()[..4000];
    let job = client.submit(cut, "file_name=talk.mp4").await;
    let failed = client.ended(&job).await;
    assert_eq!(
        (&failed["state"], &failed["failure"]["kind"]),
        (&json!("failed"), &json!("bad_input"))
    );
    for text in ["stage", "message", "advice"] {
        assert!(!failed["failure"][text].as_str().unwrap().is_empty(), "{failed:#}");
    }
    assert!(!failed["diagnosis"]["chain"].as_array().unwrap().is_empty(), "{failed:#}");
    assert_eq!(failed["attempt_log"][0]["outcome"], "failed");
    client.get(format!("/v1/jobs/{job}/output")).send().await.problem(409);

    let again = client.post(format!("/v1/jobs/{job}/retry")).send().await.expect(202).json();
    assert!(version(&again) > version(&failed), "{again:#}");
    let failed = client.ended(&job).await;
    assert_eq!((&failed["state"], &failed["attempts"]), (&json!("failed"), &json!(2)));
    assert_eq!(failed["attempt_log"].as_array().unwrap().len(), 2, "{failed:#}");

    client.delete(format!("/v1/jobs/{job}")).send().await.expect(204);
    client.get(format!("/v1/jobs/{job}")).send().await.problem(404);
    client.delete(format!("/v1/jobs/{job}")).send().await.problem(404);
    client.post(format!("/v1/jobs/{job}/retry")).send().await.problem(404);
    let done = client.submit(&clip(), "").await;
    client.finished(&done).await;
    client.post(format!("/v1/jobs/{done}/retry")).send().await.problem(409);
    client.delete(format!("/v1/jobs/{done}")).send().await.expect(204);
    // What was stored of both goes with the next look.
    crate::until("an empty store", async || service.files("objects").is_empty().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_turned_page_by_page() {
    let service = Service::embedded();
    let client = service.admin().await;
    let mut jobs = Vec::new();
    for n in 0..5 {
        let label = if n % 2 == 0 { "even" } else { "odd" };
        let video = if n == 3 { clip()[..4000].to_vec() } else { clip() };
        jobs.push(client.submit(&video, &format!("label={label}")).await);
        client.ended(&jobs[n]).await;
    }
    let newest_first: Vec<String> = jobs.iter().rev().cloned().collect();
    assert_eq!(listed(&client, "").await, newest_first);
    assert_eq!(listed(&client, "label=odd").await, [jobs[3].clone(), jobs[1].clone()]);
    assert_eq!(listed(&client, "state=failed").await, [jobs[3].clone()]);
    assert_eq!(listed(&client, "state=finished,failed").await, newest_first);
    assert_eq!(listed(&client, "state=finished&label=odd").await, [jobs[1].clone()]);
    assert!(listed(&client, "state=waiting,queued,running,cancelled").await.is_empty());
    let third = client.job(&jobs[2]).await["created_at"].as_str().unwrap().to_owned();
    assert_eq!(listed(&client, &format!("created_from={third}")).await, newest_first[..3]);
    assert_eq!(listed(&client, &format!("created_before={third}")).await, newest_first[3..]);

    let (mut pages, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = client.get(format!("/v1/jobs?{query}")).send().await.expect(200).json();
        pages.push(page["jobs"].as_array().unwrap().iter().map(name).collect::<Vec<_>>());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), newest_first);

    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("state=done", "state"),
        ("state=deleted", "state"),
        ("cursor=5", "cursor"),
        ("created_from=yesterday", "created_from"),
        ("created_before=2026-02-30T00:00:00Z", "created_before"),
        ("label=%00", "label"),
        ("labl=x", "labl"),
    ] {
        let refused = client.get(format!("/v1/jobs?{query}")).send().await;
        assert_eq!(refused.problem(422).as_deref(), Some(field), "{query}");
    }
    let refused = client.get("/v1/users?nope=1").send().await;
    assert_eq!(refused.problem(422).as_deref(), Some("nope"));
}

async fn listed(client: &Client, query: &str) -> Vec<String> {
    let page = client.get(format!("/v1/jobs?{query}")).send().await.expect(200).json();
    page["jobs"].as_array().expect("jobs").iter().map(name).collect()
}

fn name(job: &Value) -> String {
    job["id"].as_str().expect("a name").to_owned()
}

/// The requests of the tutorial, as its own text has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_the_tutorial_work_as_they_are() {
    let service = Service::embedded();
    let nobody = service.nobody();
    nobody.post("/login").send().await.problem(401);
    nobody.post("/login").basic("admin", "wrong password").send().await.problem(401);
    let reply = nobody.post("/login").basic("admin", PASSWORD).send().await.expect(200);
    let client = nobody.with(reply.text());
    assert_eq!(reply.text().split('.').count(), 3, "a bare token");

    let video = clip();
    let reply = client.post("/upload").form(&[file("video.mp4", &video)]).send().await.expect(200);
    assert_eq!(reply.text(), "success!");
    let job = reply.header("x-job-id").expect("the job").to_owned();
    let early = client.get(format!("/download?fid={job}")).send().await;
    assert!(early.status == 409 || early.status == 200, "{early:?}");
    client.finished(&job).await;
    let mp3 = client.get(format!("/download?fid={job}")).send().await.expect(200);
    assert_eq!(mp3.header("content-type"), Some("audio/mpeg"));
    assert_same(&mp3.body, &convert(&video, &[]));

    client.get("/download").send().await.problem(400);
    client.get("/download?fid=5").send().await.problem(404);
    client.post("/upload").form(&[text("name", "value")]).send().await.problem(422);
    nobody.post("/upload").form(&[file("video.mp4", &video)]).send().await.problem(401);
    let two = [file("a.mp4", &video), file("b.mp4", &video)];
    client.post("/upload").form(&two).send().await.problem(400);
}
