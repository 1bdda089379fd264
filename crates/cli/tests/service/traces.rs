//! One trace of one job, from the request to the record, as a collector receives it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonemill_testbed::collector::{Collector, Span};
use tonemill_testbed::sink::Sink;

use crate::client::Client;
use crate::jobs::{clip, id_of};
use crate::separate::{NOWHERE, Separate};
use crate::service::{PASSWORD, Service};

/// What a client says that has a trace already.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const STAGES: [&str; 4] = ["fetch", "decode", "encode", "store"];

/// What has processes send their spans there, soon.
fn variables(endpoint: &str) -> Vec<(&'static str, String)> {
    let (endpoint, delay_ms) = (endpoint.to_owned(), "50".to_owned());
    vec![("TONEMILL_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", delay_ms)]
}

/// Submits a clip with these words about a trace.
async fn submit(client: &Client, traceparent: &str) -> String {
    let request = client.post("/v1/jobs").header("traceparent", traceparent).body(clip());
    id_of(&request.send().await.expect(201))
}

/// The spans of a trace, when it has one of each of these names.
async fn spans_of(
    collector: &Collector,
    is_of: impl Fn(&Span) -> bool,
    names: &[&str],
) -> Vec<Span> {
    crate::until(&format!("spans: {names:?}"), async || {
        let spans: Vec<Span> = collector.spans().into_iter().filter(|span| is_of(span)).collect();
        let all = names.iter().all(|name| spans.iter().any(|span| span.name == *name));
        let ended = |span: &Span| span.attributes.get("event").is_some_and(|e| e == "finished");
        (all && spans.iter().any(ended)).then_some(spans)
    })
    .await
}

/// The only span of this name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let span = named.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(named.next().is_none(), "{name} is there twice in {spans:#?}");
    span
}

/// Each part is part of what it should be, in the process that it should be in.
fn assert_is_whole(spans: &[Span], services: [&str; 2]) {
    let [service, worker] = services;
    let (request, dispatch) = (only(spans, "request"), only(spans, "dispatch"));
    let (attempt, settle) = (only(spans, "attempt"), only(spans, "settle"));
    assert_eq!((&dispatch.parent, &attempt.parent), (&request.id, &dispatch.id));
    assert_eq!(settle.parent, attempt.id);
    let records: BTreeMap<&str, &Span> = spans
        .iter()
        .filter(|span| span.name == "record")
        .map(|span| (span.attributes["event"].as_str(), span))
        .collect();
    assert_eq!(records.keys().collect::<Vec<_>>(), [&"finished", &"started"]);
    assert_eq!(
        (&records["finished"].parent, &records["started"].parent),
        (&settle.id, &attempt.id)
    );
    for stage in STAGES {
        let span = only(spans, stage);
        assert_eq!((&span.parent, span.service.as_str()), (&attempt.id, worker), "{stage}");
        // By the millisecond: they are put together from two clocks.
        let within = (attempt.start_ns - 1_000_000)..=(attempt.end_ns + 1_000_000);
        assert!(span.start_ns <= span.end_ns, "{span:?}");
        assert!(within.contains(&span.start_ns) && within.contains(&span.end_ns), "{span:?}");
        assert!(span.attributes["busy_seconds"].parse::<f64>().unwrap() > 0.0, "{span:?}");
    }
    assert_eq!(only(spans, "fetch").attributes["bytes"], clip().len().to_string());
    for span in [request, dispatch, records["finished"]] {
        assert_eq!(span.service, service, "{span:?}");
    }
    assert!(spans.iter().all(|span| span.trace == request.trace && !span.is_error));
    // OpenTelemetry's number of a server.
    assert_eq!(request.kind, 2);
    let said = |name: &str| request.attributes[name].as_str();
    assert_eq!(said("http.request.method"), "POST");
    assert_eq!(said("http.route"), "/v1/jobs");
    assert_eq!(said("http.response.status_code"), "201");
}

/// Every line about the job says which, and which trace.
fn assert_log_names(log: &str, job: &str, trace: &str) {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about: Vec<Value> = lines.filter(|line| line.to_string().contains(job)).collect();
    assert!(about.len() >= 2, "{log}");
    for line in about {
        let span = &line["span"];
        assert_eq!((&span["trace_id"], &span["job"]), (&trace.into(), &job.into()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_one_trace_through_api_worker_and_notifier() {
    let (collector, sink) = (Collector::start().await, Sink::start().await);
    let mut all = Separate::without_processes(None);
    all.variables.extend(variables(&collector.endpoint));
    all.add_api(&[]);
    all.add_worker(&[]);
    let mails = tempfile::tempdir().unwrap();
    let _notifier = all.notifier(&[
        ("TONEMILL_WEBHOOK_INTERNAL_HOSTS", "localhost"),
        ("TONEMILL_MAIL_FOLDER", mails.path().to_str().unwrap()),
    ]);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let hook = json!({"url": sink.url("/ok")});
    client.post("/v1/webhooks").json(&hook).send().await.expect(201);
    let job = submit(&client, &format!("00-{TRACE}-{PARENT}-01")).await;
    client.finished(&job).await;
    let parts = ["request", "dispatch", "attempt", "settle", "record", "notify"];
    let names = [&parts[..], &STAGES].concat();
    let spans = spans_of(&collector, |span| span.trace == TRACE, &names).await;
    assert_is_whole(&spans, ["tonemill-api", "tonemill-worker"]);
    let (request, notify) = (only(&spans, "request"), only(&spans, "notify"));
    assert_eq!(request.parent, PARENT);
    assert_eq!((&notify.parent, notify.service.as_str()), (&request.id, "tonemill-notifier"));
    // And whoever is told can go on with it.
    let told = &sink.calls("/ok")[0].headers["traceparent"];
    assert_eq!(*told, format!("00-{TRACE}-{}-01", notify.id));
    assert_log_names(&all.log(), &job, TRACE);
}

/// With everything in one process; a trace begins here if the client has none that makes sense.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_one_trace_within_a_process() {
    let collector = Collector::start().await;
    let service = Service::with_environment(&[], variables(&collector.endpoint));
    let client = service.admin().await;
    for wrong in ["00-none-of-it-01", &format!("00-{TRACE}-{}-01", "0".repeat(16))] {
        let job = submit(&client, wrong).await;
        client.finished(&job).await;
        let about = |span: &Span| span.attributes.get("job").is_some_and(|it| *it == job);
        let attempt = spans_of(&collector, about, &["attempt"]).await;
        let trace = only(&attempt, "attempt").trace.clone();
        assert_ne!(trace, TRACE);
        let names = [&["request", "settle"][..], &STAGES].concat();
        let spans = spans_of(&collector, |span| span.trace == trace, &names).await;
        assert_is_whole(&spans, ["tonemill", "tonemill"]);
        assert_eq!(only(&spans, "request").parent, "", "a new trace");
        assert_log_names(&service.process.log(), &job, &trace);
    }
}

/// Traces that are not exported have names all the same, and are carried on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_the_log_names_traces() {
    let service = Service::embedded();
    let client = service.admin().await;
    let job = submit(&client, &format!("00-{TRACE}-{PARENT}-00")).await;
    client.finished(&job).await;
    assert_log_names(&service.process.log(), &job, TRACE);
}

/// A client's wish not to be traced counts, and so does ours to trace few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_traced_is_not() {
    let collector = Collector::start().await;
    let service =
        Service::with_environment(&["--trace-ratio", "0"], variables(&collector.endpoint));
    let client = service.admin().await;
    for flag in ["00", "01"] {
        let job = submit(&client, &format!("00-{TRACE}-{PARENT}-{flag}")).await;
        client.finished(&job).await;
    }
    let spans = spans_of(&collector, |_| true, &["request", "attempt", "record"]).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let requests = spans.iter().filter(|span| span.name == "request").count();
    assert_eq!(requests, 1, "{spans:#?}");
}

/// After a crash an attempt runs in a process of its own, in the same trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_alone_is_part_of_the_trace() {
    let collector = Collector::start().await;
    let mut all = Separate::without_processes(None);
    all.variables.extend(variables(&collector.endpoint));
    all.add_api(&[]);
    all.add_worker(&[("TONEMILL_FAULTS", "fetch=segv")]);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let job = submit(&client, &format!("00-{TRACE}-{PARENT}-01")).await;
    all.workers[0].end(crate::PATIENCE).await;
    all.add_worker(&[]);
    client.finished(&job).await;
    let names = ["attempt", "fetch", "store", "settle"];
    let spans = spans_of(&collector, |span| span.trace == TRACE, &names).await;
    let attempt = only(&spans, "attempt");
    assert_eq!(attempt.attributes["attempt"], "2");
    for stage in ["fetch", "store"] {
        assert_eq!(only(&spans, stage).parent, attempt.id);
    }
}

/// A collector that says nothing, or is not there, holds up neither jobs nor the end of the
/// process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_up_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // How long it takes here and now.
    let without = drained_after_jobs(Vec::new()).await;
    for address in [&silent.local_addr().unwrap().to_string(), NOWHERE] {
        let mut variables = variables(&format!("http://{address}"));
        // More spans than are kept.
        variables.push(("OTEL_BSP_MAX_QUEUE_SIZE", "16".to_owned()));
        variables.push(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8".to_owned()));
        let took = drained_after_jobs(variables).await;
        // The silent one has been asked by now, and has 5 s to answer: the process waits for 2 at
        // most, and the machine may be busier than it was.
        assert!(took < without + Duration::from_secs(4), "{took:?}, {without:?} without any");
    }
}

/// How long a service takes to end that has done some jobs.
async fn drained_after_jobs(variables: Vec<(&'static str, String)>) -> Duration {
    let mut service = Service::with_environment(&[], variables);
    let client = service.admin().await;
    for _ in 0..10 {
        let job = submit(&client, "").await;
        client.finished(&job).await;
    }
    service.process.drain().await
}
