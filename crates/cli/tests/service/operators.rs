//! `tonemill admin`: what operators do about webhooks, deliveries and mails, beside a service that
//! runs.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::PATIENCE;
use crate::client::Client;
use crate::jobs::clip;
use crate::ledger::Ledger;
use crate::separate::{NOWHERE, Separate};
use crate::service::Service;
use crate::support::process::{program, start};

const URL: &str = "https://hooks.example.invalid/";

/// A webhook that is tried out so many times.
async fn tried(client: &Client, times: usize) -> String {
    let new = json!({"url": URL, "events": ["job.failed"]});
    let webhook = client.post("/v1/webhooks").json(&new).send().await.expect(201).json();
    let id = webhook["id"].as_str().unwrap().to_owned();
    for _ in 0..times {
        client.post(format!("/v1/webhooks/{id}/test")).send().await.expect(202);
    }
    id
}

async fn lines(service: &Service, arguments: &[&str]) -> Vec<Value> {
    service.operate(&[arguments, &["--json"]].concat()).await.succeeded().json_lines()
}

async fn end_all(ledger: &mut Ledger) {
    let dead = "UPDATE deliveries SET state = 'dead', claim = NULL, ended_ms = 5, \
                answer = '410 Gone'";
    ledger.change(dead, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_all_are_looked_after() {
    let service = Service::embedded();
    let (ada, eve) = (service.user("ada").await, service.user("eve").await);
    let (of_ada, of_eve) = (tried(&ada, 3).await, tried(&eve, 2).await);
    let mut ledger = Ledger::of(&service).await;
    end_all(&mut ledger).await;
    let all = lines(&service, &["deliveries", "list"]).await;
    assert_eq!(all.len(), 5);
    assert_eq!(lines(&service, &["deliveries", "list", "--limit", "2"]).await, all[..2]);
    let of_webhook = ["deliveries", "list", "--state", "dead", "--webhook", &of_ada];
    assert_eq!(lines(&service, &of_webhook).await, all[2..]);
    assert_eq!(lines(&service, &["deliveries", "list", "--user", "eve"]).await, all[..2]);
    service.operate(&["deliveries", "list", "--user", "nobody"]).await.ended_with(2);
    let job = ada.submit(&clip(), &format!("webhook={URL}")).await;
    ada.finished(&job).await;
    let about = lines(&service, &["deliveries", "list", "--job", &job]).await;
    assert_eq!((about.len(), &about[0]["event"]), (1, &json!("job.finished")));
    end_all(&mut ledger).await;
    let listed = service.operate(&["deliveries", "list", "--webhook", &of_eve]).await.succeeded();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let to = format!("Z  eve  dead       webhook.test  webhook {of_eve}  ");
    assert!(
        listed.lines().all(|line| line.contains(&to) && line.ends_with(": 410 Gone")),
        "{listed}"
    );

    let id = all[0]["id"].as_str().unwrap();
    let shown = service.operate(&["deliveries", "show", id, "--json"]).await.succeeded().json();
    assert_eq!(shown["payload"]["data"]["webhook"]["url"], URL);
    assert!(shown["attempt_log"].is_array());
    let nothing = Uuid::now_v7().to_string();
    service.operate(&["deliveries", "show", &nothing]).await.ended_with(2);
    service.operate(&["deliveries", "show", "5"]).await.ended_with(2);

    // Those that are there, though one is not.
    let replayed = service.operate(&["deliveries", "replay", id, &nothing, "--json"]).await;
    let told: Vec<bool> =
        replayed.ended_with(1).json_lines().iter().map(|line| line["done"] == true).collect();
    assert_eq!(told, [true, false]);
    let since = "SELECT COUNT(*) FROM deliveries WHERE replayed_ms IS NOT NULL";
    assert_eq!(ledger.number(since).await, 1);
    end_all(&mut ledger).await;
    let replayed = lines(&service, &["deliveries", "replay", "--all-dead"]).await;
    assert_eq!(replayed.len(), 6);
    assert_eq!(ledger.number(since).await, 6);
    let both = ["deliveries", "replay", "--all-dead", id];
    service.operate(&both).await.ended_with(2);
    service.operate(&["deliveries", "replay"]).await.ended_with(2);
    service.operate(&["deliveries", "list", "--state", "gone"]).await.ended_with(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_enabled_again() {
    let service = Service::embedded();
    let ada = service.user("ada").await;
    let webhook = tried(&ada, 0).await;
    let path = format!("/v1/webhooks/{webhook}");
    ada.patch(&path).json(&json!({"enabled": false})).send().await.expect(200);
    let list = ["webhooks", "list", "--user", "ada"];
    let listed = lines(&service, &list).await;
    assert_eq!(
        (listed.len(), &listed[0]["id"], listed[0].get("secret")),
        (1, &json!(webhook), None)
    );
    let listed = service.operate(&list).await.succeeded().stdout;
    let due = format!("{webhook}  {URL}  job.failed  disabled: its user disabled it\n");
    assert_eq!(String::from_utf8(listed).unwrap(), due);
    service.operate(&["webhooks", "enable", &webhook]).await.succeeded();
    assert_eq!(ada.get(&path).send().await.json()["disabled_at"], Value::Null);
    service.operate(&["webhooks", "enable", &Uuid::now_v7().to_string()]).await.ended_with(2);
    service.operate(&["webhooks", "list", "--user", "eve"]).await.ended_with(2);
    // That of one job is shown with it.
    let job = ada.submit(&clip(), &format!("webhook={URL}")).await;
    let shown = service.operate(&["jobs", "show", &job, "--json"]).await.succeeded().json();
    assert_eq!((&shown["webhook"]["url"], &shown["webhook"]["job"]), (&json!(URL), &json!(job)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_of_users_are_chosen() {
    let service = Service::embedded();
    let ada = service.user("ada").await;
    let mail = async |more: &[&str], code: i32| {
        service.operate(&[&["users", "mail", "ada"], more].concat()).await.ended_with(code);
        let me = ada.get("/v1/me").send().await.expect(200).json();
        (me["email"].clone(), me["mail_events"].clone())
    };
    let address = json!("ada@example.org");
    let both = ["--email", "ada@example.org", "--events", "job.failed,job.started"];
    let chosen = json!(["job.started", "job.failed"]);
    assert_eq!(mail(&both, 0).await, (address.clone(), chosen));
    assert_eq!(mail(&["--events", "none"], 0).await, (address.clone(), json!([])));
    assert_eq!(mail(&["--events", "default"], 0).await, (address.clone(), Value::Null));
    let as_before = (address, Value::Null);
    for wrong in [
        &[][..],
        &["--events", ""],
        &["--events", "job.done"],
        &["--events", "none,job.failed"],
        &["--email", "a@b, c@d"],
        &["--email", "a@b\r\nBcc: c@d"],
    ] {
        assert_eq!(mail(wrong, 2).await, as_before, "{wrong:?}");
    }
    let users = lines(&service, &["users", "list"]).await;
    assert!(
        users
            .iter()
            .any(|user| user["email"] == "ada@example.org" && user["mail_events"].is_null())
    );
    assert_eq!(mail(&["--email", ""], 0).await, (Value::Null, Value::Null));
    service.operate(&["users", "mail", "eve", "--events", "none"]).await.ended_with(2);
}

/// A queue that does not answer has lost nothing that anybody knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reconciled_is_no_success() {
    let all = Separate::start(None, 1, 0);
    let mut command = program();
    command.args(["admin", "reconcile"]).envs(all.s3.variables());
    command.env("TONEMILL_DATABASE_URL", &all.database);
    command.env("TONEMILL_REDIS_URL", format!("redis://{NOWHERE}"));
    let ended = tokio::task::spawn_blocking(move || start(&mut command).finish(PATIENCE));
    ended.await.unwrap().ended_with(3);
}
