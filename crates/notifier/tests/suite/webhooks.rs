//! Webhooks that answer as they like (fault test 23), and addresses that are nobody's business.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use standardwebhooks::Webhook as Verifier;
use tokio::net::TcpListener;
use tonemill_job::JobId;
use tonemill_ledger::deliveries::{Delivery, DeliveryState};
use tonemill_ledger::users::User;
use tonemill_ledger::webhooks::{NewWebhook, WebhookChange};
use tonemill_ledger::{Acceptance, NewJob, Quotas};
use tonemill_notifier::webhook::Lookup;
use tonemill_testbed::sink::{Call, Sink};
use uuid::Uuid;

use crate::bed::{Bed, finished, new_job};
use crate::courier::{Working, config, delivery, finished_job, over, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW_SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl02WXBYk1";

async fn hook(bed: &Bed, user: &User, url: String) -> Uuid {
    let (id, secret) = (Uuid::now_v7(), SECRET.to_owned());
    let new = NewWebhook { id, url, secret, events: vec!["job.finished".to_owned()] };
    bed.ledger.add_webhook(user.id, &new).await.unwrap().unwrap().id
}

/// A finished job of a new user whose webhook is there.
async fn told(bed: &Bed, url: String) -> (User, Uuid, JobId) {
    let user = bed.user(&Uuid::now_v7().to_string()).await;
    let webhook = hook(bed, &user, url).await;
    let job = finished_job(bed, &user, "a.mp4").await;
    (user, webhook, job)
}

fn verify(call: &Call, secret: &str) -> bool {
    let headers = call.headers.iter().filter(|(name, _)| name.starts_with("webhook-"));
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Verifier::new(secret).unwrap().verify(call.body.as_bytes(), &headers.collect()).is_ok()
}

fn config_of_webhooks() -> tonemill_notifier::NotifierConfig {
    config(std::env::temp_dir().join(PathBuf::from("tonemill-no-mails")))
}

#[tokio::test]
async fn another_reading_of_the_specification_agrees() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let (user, webhook, job) = told(&bed, sink.url("/ok")).await;
    let _courier = Working::start(&bed, config_of_webhooks()).await;
    let first = over(&bed, job).await;
    assert_eq!((first.state, first.answer.as_deref()), (DeliveryState::Delivered, Some("200 OK")));
    let call = &sink.calls("/ok")[0];
    assert!(verify(call, SECRET) && !verify(call, NEW_SECRET));
    assert_eq!(call.headers["webhook-id"], first.event_id.to_string());
    let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(body["type"], "job.finished");
    assert_eq!(body["data"]["job"]["id"], job.to_string());
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");

    // For a while after a rotation, both secrets do.
    let change = WebhookChange { secret: Some(NEW_SECRET.to_owned()), ..WebhookChange::default() };
    assert!(bed.ledger.change_webhook(user.id, webhook, &change).await.unwrap());
    over(&bed, finished_job(&bed, &user, "b.mp4").await).await;
    let call = &sink.calls("/ok")[1];
    assert!(verify(call, SECRET) && verify(call, NEW_SECRET));
}

#[tokio::test]
async fn what_fails_is_told_again_under_the_same_id() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let mut told_at = Vec::new();
    for (path, attempts) in [("/thrice", 4), ("/later", 2), ("/drop", 2), ("/reset", 1)] {
        told_at.push((path, attempts, told(&bed, sink.url(path)).await.2));
    }
    let _courier = Working::start(&bed, config_of_webhooks()).await;
    for (path, attempts, job) in told_at {
        let delivery = over(&bed, job).await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, attempts));
        let calls = sink.calls(path);
        assert_eq!(calls.len() as u64, attempts, "{path}");
        for call in &calls {
            assert_eq!(call.headers["webhook-id"], delivery.event_id.to_string());
            assert!(verify(call, SECRET), "{path}");
        }
        if path == "/later" {
            // It asked for two seconds.
            assert!(calls[1].at - calls[0].at > Duration::from_millis(1_500));
        }
    }
}

#[tokio::test]
async fn who_is_gone_is_told_nothing_more() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let (user, webhook, job) = told(&bed, sink.url("/gone")).await;
    let mut config = config_of_webhooks();
    config.per_webhook = 1;
    let others =
        [finished_job(&bed, &user, "b.mp4").await, finished_job(&bed, &user, "c.mp4").await];
    let _courier = Working::start(&bed, config).await;
    for job in [job, others[0], others[1]] {
        assert_eq!(over(&bed, job).await.state, DeliveryState::Dead);
    }
    assert!(bed.ledger.webhook(user.id, webhook).await.unwrap().unwrap().disabled_ms.is_some());
    let later = finished_job(&bed, &user, "d.mp4").await;
    assert_eq!(bed.owed(later).await, []);
    assert_eq!(sink.calls("/gone").len(), 1);
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let mut jobs = Vec::new();
    for path in ["/elsewhere", "/loop"] {
        jobs.push(told(&bed, sink.url(path)).await.2);
    }
    let _courier = Working::start(&bed, config_of_webhooks()).await;
    for job in jobs {
        let tried = delivery(&bed, job, |delivery| delivery.attempts >= 2).await;
        assert_eq!(tried.state, DeliveryState::Owed);
        assert!(tried.answer.unwrap().contains("not called elsewhere"));
    }
    assert_eq!(sink.calls("/ok").len(), 0);
}

#[tokio::test]
async fn who_hangs_holds_up_no_other() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let slow = bed.user("slow").await;
    hook(&bed, &slow, sink.url("/hang")).await;
    let mut hanging = Vec::new();
    for _ in 0..40 {
        hanging.push(finished_job(&bed, &slow, "a.mp4").await);
    }
    let mut config = config_of_webhooks();
    config.webhooks.patience = Duration::from_secs(2);
    let _courier = Working::start(&bed, config).await;
    let (_, _, quick) = told(&bed, sink.url("/ok")).await;
    let quick = over(&bed, quick).await;
    assert_eq!((quick.state, quick.attempts), (DeliveryState::Delivered, 1));
    let tried = async || {
        let mut tried = 0;
        for job in &hanging {
            tried += usize::from(bed.owed(*job).await[0].attempts > 0);
        }
        tried
    };
    assert!(tried().await <= 4, "40 at once would have taken all places for longer");
    let slow = delivery(&bed, hanging[0], |delivery| delivery.answer.is_some()).await;
    assert_eq!(slow.answer.as_deref(), Some("no answer within 2 s"));
}

/// The HTTP client reads provisional responses for as long as there are any, without a pause.
#[tokio::test]
async fn who_answers_without_end_holds_up_nothing_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let flood = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let some = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000);
        // Until nobody listens any more, but not for ever: the client without optimisation is slow.
        (0..500).take_while(|_| stream.write_all(&some).is_ok()).count();
        // It hangs up when it has read all, or had enough.
        io::copy(&mut stream, &mut io::sink()).ok();
    });
    let bed = Bed::sqlite().await;
    let (_, _, job) = told(&bed, url).await;
    let courier = Working::start(&bed, config_of_webhooks()).await;
    let mut beats = 0;
    let answer = loop {
        let delivery = bed.owed(job).await.remove(0);
        if let Some(answer) = delivery.answer {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        beats += 1;
    };
    assert_eq!(answer, "no answer within 1 s");
    assert!(beats > 20, "this thread went on {beats} times in a second or more");
    drop(courier);
    flood.join().unwrap();
}

/// Machines disagree about the time: what is sent is dated by the ledger's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_the_ledgers() {
    let (mut bed, sink) = (Bed::postgres().await, Sink::start().await);
    // From here on the database's clock is an hour ahead.
    bed.sql(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
         $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', \
         current_database()); END $$",
    )
    .await;
    bed.ledger = Arc::new(bed.another_ledger(Quotas::default()).await);
    let (ada, mails) = (crate::courier::user(&bed, "ada").await, tempfile::tempdir().unwrap());
    hook(&bed, &ada, sink.url("/ok")).await;
    let _courier = Working::start(&bed, config(mails.path().to_owned())).await;
    let job = finished_job(&bed, &ada, "a.mp4").await;
    let by_mail = bed.owed(job).await.into_iter().find(|owed| owed.webhook.is_none()).unwrap();
    let file = mails.path().join(format!("{}.eml", by_mail.id));
    until("a call and a mail", || !sink.calls("/ok").is_empty() && file.exists()).await;
    let now = SystemTime::now();
    let ahead = |time: SystemTime| time.duration_since(now).unwrap_or_default().as_secs();
    let seconds = sink.calls("/ok")[0].headers["webhook-timestamp"].parse().unwrap();
    let signed = ahead(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let mail = std::fs::read_to_string(file).unwrap();
    let date = mail.lines().find_map(|line| line.strip_prefix("Date: ")).expect("a date");
    let dated = ahead(httpdate::parse_http_date(&date.replace("+0000", "GMT")).unwrap());
    for ahead in [signed, dated] {
        assert!((3_500..=3_600).contains(&ahead), "{ahead} s ahead");
    }
}

/// Each job has a webhook of its own: no limit for one webhook helps.
#[tokio::test]
async fn who_has_many_that_hang_holds_up_no_other() {
    let patience = Duration::from_secs(2);
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let (many, mails) = (bed.user("many").await, tempfile::tempdir().unwrap());
    for _ in 0..200 {
        let (id, secret) = (Uuid::now_v7(), SECRET.to_owned());
        let events = vec!["job.finished".to_owned()];
        let own = NewWebhook { id, url: sink.url("/hang"), secret, events };
        let job = NewJob { webhook: Some(own), ..new_job(&many) };
        assert_eq!(bed.ledger.accept(&job, None).await.unwrap(), Acceptance::Accepted);
        bed.record(job.id, 1, finished(job.id, 1)).await;
    }
    let mut config = config(mails.path().to_owned());
    config.webhooks.patience = patience;
    (config.at_once, config.per_webhook, config.per_user) = (64, 4, 16);
    let _courier = Working::start(&bed, config).await;
    let ada = crate::courier::user(&bed, "ada").await;
    let by_mail = over(&bed, finished_job(&bed, &ada, "a.mp4").await).await;
    assert_eq!((by_mail.state, by_mail.attempts), (DeliveryState::Delivered, 1));
    let quick = over(&bed, told(&bed, sink.url("/ok")).await.2).await;
    assert_eq!((quick.state, quick.attempts), (DeliveryState::Delivered, 1));
    until("calls after the first failed", || sink.calls("/hang").len() >= 28).await;
    let calls = sink.calls("/hang");
    // The first that failed made room for nobody until there were fewer than four.
    assert!(calls[16].at - calls[0].at > patience * 9 / 10, "more than 16 at once");
    for four in calls[16..].windows(5) {
        assert!(four[4].at - four[0].at > patience * 9 / 10, "more than four at once");
    }
}

/// A name that stands for something else each time it is looked up.
#[derive(Debug)]
struct Rebinding {
    answers: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Lookup for Rebinding {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        assert_eq!(name, "rebinding.example");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let address = self.answers.lock().unwrap().pop().expect("asked too often");
        Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
    }
}

#[tokio::test]
async fn internal_addresses_are_not_called_whatever_their_name() {
    let bed = Bed::sqlite().await;
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = canary.local_addr().unwrap().port();
    // First a public address, where nobody answers in time; then ours.
    let lookup = Arc::new(Rebinding {
        answers: Mutex::new(vec!["127.0.0.1", "192.175.48.6"]),
        asked: AtomicUsize::new(0),
    });
    let mut config = config_of_webhooks();
    config.webhooks.internal_hosts.clear();
    config.webhooks.lookup = Arc::clone(&lookup) as Arc<dyn Lookup>;
    config.webhooks.patience = Duration::from_millis(300);
    let mut jobs = Vec::new();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0"] {
        jobs.push(told(&bed, format!("http://{host}:{port}/")).await.2);
    }
    let rebinding = told(&bed, format!("http://rebinding.example:{port}/")).await.2;
    let _courier = Working::start(&bed, config).await;
    for job in jobs {
        let Delivery { state, answer, attempts, .. } = over(&bed, job).await;
        assert_eq!((state, attempts), (DeliveryState::Dead, 1));
        assert!(answer.unwrap().contains("is internal"));
    }
    let Delivery { state, answer, attempts, .. } = over(&bed, rebinding).await;
    assert_eq!((state, attempts), (DeliveryState::Dead, 2), "{answer:?}");
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 2, "once for each attempt");
    let called = tokio::time::timeout(Duration::from_millis(100), canary.accept()).await;
    assert!(called.is_err(), "{called:?}");
}

#[tokio::test]
async fn several_couriers_tell_everything_once() {
    let (bed, sink) = (Bed::sqlite().await, Sink::start().await);
    let user = bed.user("u").await;
    hook(&bed, &user, sink.url("/ok")).await;
    let _couriers = [
        Working::start(&bed, config_of_webhooks()).await,
        Working::start(&bed, config_of_webhooks()).await,
        Working::start(&bed, config_of_webhooks()).await,
    ];
    let mut jobs = Vec::new();
    for _ in 0..60 {
        jobs.push(finished_job(&bed, &user, "a.mp4").await);
    }
    for job in jobs {
        let delivery = over(&bed, job).await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 1));
    }
    let mut ids: Vec<String> =
        sink.calls("/ok").iter().map(|call| call.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 60);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}
