//! The same short life with the parts as processes of their own, over each database.

use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;

use crate::client::Client;
use crate::events::Events;
use crate::jobs::{assert_same, clip, convert, id_of, long, padded};
use crate::ledger::Ledger;
use crate::separate::Separate;
use crate::service::PASSWORD;
use crate::size;

/// In at one API, watched and fetched at another.
async fn live(one: &Client, other: &Client) {
    let video = clip();
    let key = |client: &Client| {
        let request = client.post("/v1/jobs?label=x&bitrate_kbps=64");
        request.header("idempotency-key", "k").body(clip())
    };
    let job = id_of(&key(one).send().await.expect(201));
    let events = Events::of(other, &job, None).await.all().await;
    let last = events.last().expect("an end");
    assert_eq!(last.data["state"], "finished", "{last:?}");
    assert_same(&other.output(&job).await.body, &convert(&video, &["--bitrate", "64"]));
    assert_eq!(id_of(&key(other).send().await.expect(200)), job);

    // An upload goes on at another API than where it began.
    let video = padded(9 << 20);
    let length = video.len().to_string();
    let request = one.post("/v1/uploads").header("upload-length", &length);
    let path = request.send().await.expect(201).header("location").unwrap().to_owned();
    let half = 8_500_000;
    for (client, from, to) in [(one, 0, half), (other, half, video.len())] {
        let request = client.patch(&path).header("upload-offset", &from.to_string());
        let request = request.header("content-type", "application/offset+octet-stream");
        request.body(video[from..to].to_vec()).send().await.expect(204);
    }
    let upload = path.strip_prefix("/v1/uploads/").unwrap();
    let job = id_of(&one.submit_upload(upload).await.expect(201));
    assert_same(&other.mp3(&job).await, &convert(&clip(), &[]));
    assert_eq!(one.job(&job).await["input_blake3"], blake3::hash(&video).to_hex().as_str());

    let running = one.submit(&long(), "").await;
    other.in_state(&running, "running").await;
    let mut events = Events::of(one, &running, None).await;
    other.delete(format!("/v1/jobs/{running}")).send().await.expect(200);
    let mut last = events.next().await;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert_eq!(last.expect("an end").data["state"], "cancelled");
    one.delete(format!("/v1/jobs/{running}")).send().await.expect(204);
    other.get(format!("/v1/jobs/{running}")).send().await.problem(404);
    let bad = one.submit(&clip()[..4000], "").await;
    assert_eq!(other.ended(&bad).await["failure"]["kind"], "bad_input");
    for query in ["state=finished", "label=x&state=finished,failed", "state=failed"] {
        let due = if query == "state=finished" { 2 } else { 1 };
        let page = other.get(format!("/v1/jobs?{query}")).send().await.expect(200).json();
        assert_eq!(page["jobs"].as_array().unwrap().len(), due, "{page:#}");
    }
}

/// Lives, then ends everything in order.
async fn live_and_end(mut all: Separate) {
    let one = all.nobody(0).log_in("admin", PASSWORD).await;
    // A token of one API is good at all of them.
    let last = all.apis.len() - 1;
    let other = Client { address: all.apis[last].1, ..one.clone() };
    let at_other = all.nobody(last).log_in("admin", PASSWORD).await;
    Client { address: one.address, ..at_other }.get("/v1/me").send().await.expect(200);
    live(&one, &other).await;
    for (api, _) in &mut all.apis {
        api.drain().await;
    }
    for worker in &mut all.workers {
        worker.drain().await;
    }
    let log = all.log();
    let error = log.lines().find(|line| line.contains("\"ERROR\""));
    assert_eq!(error, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_over_sqlite() {
    live_and_end(Separate::start(None, 1, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_over_mariadb() {
    let database = MariaDb::start();
    live_and_end(Separate::start(Some(&database.url()), size(2, 1), size(3, 2))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_apis_and_three_workers_over_postgresql() {
    let database = Postgres::start();
    live_and_end(Separate::start(Some(&database.url()), 2, 3)).await;
}

/// A key that an API has not seen yet is looked for before a token is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_api_is_known_at_once() {
    let mut all = Separate::start(None, 1, 0);
    let mut ledger = Ledger::open(&all.database).await;
    assert_eq!(ledger.change("DELETE FROM signing_keys", &[]).await, 1);
    all.add_api(&[]);
    let client = all.nobody(1).log_in("admin", PASSWORD).await;
    Client { address: all.apis[0].1, ..client }.get("/v1/me").send().await.expect(200);
}
