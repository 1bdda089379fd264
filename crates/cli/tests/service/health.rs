//! `/healthz` and `/readyz` of the whole service, while its mail server goes away; and `tonemill
//! health`, which asks for containers.

use serde_json::Value;
use tonemill_testbed::mail::{MailSecurity, MailServer};

use crate::PATIENCE;
use crate::client::Client;
use crate::jobs::clip;
use crate::separate::Separate;
use crate::service::{PASSWORD, Service};
use crate::support::process::{program, start};

/// What `/healthz` says, once its status is `status`.
async fn health(client: &Client, status: u16) -> Value {
    crate::until(&format!("{status} of /healthz"), async || {
        let reply = client.get("/healthz").send().await;
        (reply.status == status).then(|| reply.json())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_is_away_is_told_of_and_keeps_no_request_out() {
    let mut mail = MailServer::start(MailSecurity::Plain);
    let url = format!("smtp://localhost:{}?tls=none", mail.port());
    let arguments =
        ["--mail-from", "tonemill@example.org", "--public-url", "https://tonemill.example.org"];
    let service = Service::with_environment(&arguments, vec![("TONEMILL_SMTP_URL", url)]);
    let client = service.nobody();
    let well = health(&client, 200).await;
    assert_eq!((&well["status"], &well["mail"]["status"]), (&"ok".into(), &"ok".into()));
    assert!(well["mail"]["latency_ms"].is_number(), "{well}");

    mail.kill();
    let ill = health(&client, 503).await;
    let status = |part: &str| ill[part]["status"].as_str().unwrap().to_owned();
    assert_eq!(["ledger", "queue", "store", "mail"].map(status), ["ok", "ok", "ok", "unavailable"]);
    assert_eq!(ill["status"], "unavailable");
    client.get("/readyz").send().await.expect(200);

    mail.restart();
    assert_eq!(health(&client, 200).await["mail"]["status"], "ok");
}

/// What all replicas miss at once must not take all of them out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_without_redis_is_ready_and_accepts_jobs() {
    let mut all = Separate::start(None, 1, 0);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    all.redis.kill();
    let ill = health(&client, 503).await;
    let status = |part: &str| ill[part]["status"].as_str().unwrap().to_owned();
    assert_eq!(["ledger", "queue", "store"].map(status), ["ok", "unavailable", "ok"]);
    client.get("/readyz").send().await.expect(200);
    let job = client.submit(&clip(), "").await;
    all.redis.restart();
    all.add_worker(&[]);
    client.finished(&job).await;
}

/// What `tonemill health` says of a place: how it ends, and what it complains of.
fn ask(url: &str) -> (Option<i32>, String) {
    let ended = start(program().args(["health", url])).finish(PATIENCE);
    assert!(ended.stdout.is_empty(), "{ended:?}");
    (ended.code, ended.stderr)
}

#[test]
fn containers_ask_the_program_how_it_is() {
    let service = Service::embedded();
    let url = |path: &str| format!("{}{path}", service.url());
    assert_eq!(ask(&url("/readyz")), (Some(0), String::new()));
    let (code, said) = ask(&url("/nowhere"));
    assert!(code == Some(3) && said.contains("answers 404 Not Found"), "{code:?} {said}");
    let gone = url("/readyz");
    drop(service);
    let (code, said) = ask(&gone);
    assert!(code == Some(3) && said.contains("does not answer"), "{code:?} {said}");
    assert_eq!(ask("nowhere").0, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_puts_mails_into_files_has_no_mail_server_to_tell_of() {
    let service = Service::embedded();
    let well = health(&service.nobody(), 200).await;
    assert!(well.get("mail").is_none(), "{well}");
}
