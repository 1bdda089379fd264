//! What running processes tell Prometheus: by its conventions, and no more of it than was planned,
//! whatever clients send.

use std::collections::BTreeSet;

use hyper::Method;

use crate::client::Client;
use crate::exposition::{Page, admin_port};
use crate::jobs::clip;
use crate::separate::{NOWHERE, Separate};
use crate::service::{PASSWORD, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_follows_the_conventions() {
    let mut all = Separate::without_processes(None);
    all.add_api(&[]);
    all.add_worker(&[("TONEMILL_ADMIN", "127.0.0.1:0")]);
    let (api, worker) = (all.apis[0].1, admin_port(&all.workers[0]).await);
    // What has not happened yet has happened 0 times.
    let before = Page::of(worker).await;
    assert_eq!(before.count("tonemill_attempts_total", &[("outcome", "crash")]), 0);
    assert!(before.types.contains_key("tonemill_leases_lost_total"));
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let job = client.submit(&clip(), "lane=high").await;
    client.finished(&job).await;
    let bad = client.submit(&clip()[..4000], "").await;
    client.ended(&bad).await;

    let page = crate::until("the measures of the ledger", async || {
        let page = Page::of(api).await;
        let told = ["tonemill_users_waiting", "tonemill_redis_memory_used_bytes"];
        told.iter().all(|name| page.types.contains_key(*name)).then_some(page)
    })
    .await;
    page.assert_conventional();
    let ended = |state, failure, lane| {
        let labels = [("state", state), ("failure", failure), ("lane", lane)];
        page.count("tonemill_jobs_ended_total", &labels)
    };
    assert_eq!(ended("finished", "none", "high"), 1);
    assert_eq!(ended("failed", "bad_input", "normal"), 1);
    for (name, labels, due) in [
        ("tonemill_uploads_total", &[("way", "body"), ("outcome", "accepted")][..], 2),
        ("tonemill_upload_bytes_total", &[], (clip().len() + 4000) as u64),
        ("tonemill_jobs_accepted_total", &[("lane", "high")], 1),
        ("tonemill_jobs_dispatched_total", &[("lane", "high")], 1),
        ("tonemill_dispatch_wait_seconds_count", &[], 2),
        ("tonemill_job_duration_seconds_count", &[("lane", "normal")], 1),
        ("tonemill_recorder_events_total", &[("event", "finished")], 1),
        ("tonemill_recorder_lag_seconds_count", &[], 4),
        ("tonemill_logins_total", &[("outcome", "ok")], 1),
        ("tonemill_build_info", &[], 1),
    ] {
        assert_eq!(page.count(name, labels), due, "{name} {labels:?}");
    }
    assert!(page.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(page.sum("process_max_fds", &[]) > 0.0);

    let page = Page::of(worker).await;
    page.assert_conventional();
    assert_eq!(page.count("tonemill_attempts_total", &[("outcome", "finished")]), 1);
    assert_eq!(page.count("tonemill_stage_duration_seconds_count", &[("stage", "encode")]), 1);
    // Of what is bad some is read twice, to tell what it is.
    assert!(page.sum("tonemill_store_read_bytes_total", &[]) >= (clip().len() + 4000) as f64);
    for name in ["tonemill_job_cpu_seconds_sum", "tonemill_permits", "tonemill_encoder_threads"] {
        assert!(page.sum(name, &[]) > 0.0, "{name}");
    }
}

/// A notifier that cannot reach its mail server says so, and what it has tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_follows_the_conventions() {
    let (mut all, mails) = (Separate::start(None, 1, 0), tempfile::tempdir().unwrap());
    let nowhere = format!("smtp://{NOWHERE}?tls=none");
    let admin = ("TONEMILL_ADMIN", "127.0.0.1:0");
    let folder = ("TONEMILL_MAIL_FOLDER", mails.path().to_str().unwrap());
    for (mail, status) in [(folder, 200), (("TONEMILL_SMTP_URL", nowhere.as_str()), 503)] {
        let notifier = all.notifier(&[admin, mail]);
        let address = admin_port(&notifier).await;
        let health = Client::new(address).get("/healthz").send().await.expect(status).json();
        assert_eq!(health["ledger"]["status"], "ok", "{health}");
        let is_well = if status == 200 { "ok" } else { "unavailable" };
        assert_eq!(health["mail"]["status"], is_well, "{health}");
        let page = Page::of(address).await;
        page.assert_conventional();
        assert!(page.types.contains_key("tonemill_delivery_attempts_total"));
    }
}

/// Whatever is asked for, the number of series is that of routes, methods and statuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_make_no_new_series() {
    let service = Service::embedded();
    let client = service.admin().await;
    let odd = async |number: usize| {
        let method = Method::from_bytes(format!("ODD{number}").as_bytes()).unwrap();
        client.request(method, "/v1/jobs").send().await;
        client.get(format!("/nothing/at-{number}")).send().await;
        client.get(format!("/v1/jobs/name-{number}?label={number}")).send().await;
        client.get(format!("/docs/{number}")).send().await;
        let lane = format!("/v1/jobs?lane=odd{number}&label={number}");
        client.post(lane).header("traceparent", &number.to_string()).body(clip()).send().await;
        let name = format!("somebody-{number}");
        let wrong = serde_json::json!({"name": name, "password": "wrong"});
        service.nobody().post("/v1/login").json(&wrong).send().await;
    };
    odd(0).await;
    odd(1).await;
    // To ask is a request as well.
    Page::of(service.address).await;
    let before = Page::of(service.address).await;
    before.assert_conventional();
    for number in 2..30 {
        odd(number).await;
    }
    let after = Page::of(service.address).await;
    after.assert_conventional();
    let series = |page: &Page| -> BTreeSet<String> {
        let of_http = page.samples.iter().filter(|sample| sample.name.contains("_http_"));
        of_http.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    };
    // The log-ins become too many.
    let new: Vec<String> = series(&after).difference(&series(&before)).cloned().collect();
    assert!(new.len() <= 1, "{new:#?}");
    assert!(after.samples.len() < 1500, "{}", after.samples.len());
}
