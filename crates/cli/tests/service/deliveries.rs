//! What one was told: lists, pages, filters, one delivery with its attempts, and once more.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::jobs::clip;
use crate::ledger::Ledger;
use crate::service::Service;

const URL: &str = "https://hooks.example.invalid/";

async fn webhook(client: &Client) -> String {
    let new = json!({"url": URL, "events": ["job.started", "job.finished"]});
    let webhook = client.post("/v1/webhooks").json(&new).send().await.expect(201).json();
    webhook["id"].as_str().unwrap().to_owned()
}

async fn page(client: &Client, query: &str) -> (Vec<Value>, Option<String>) {
    let reply = client.get(format!("/v1/deliveries?{query}")).send().await.expect(200).json();
    let deliveries = reply["deliveries"].as_array().expect("a list").clone();
    (deliveries, reply["next_cursor"].as_str().map(str::to_owned))
}

fn ids(deliveries: &[Value]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery["id"].as_str().unwrap()).collect()
}

/// As if all had been tried twice, and given up or taken; nobody is at them any more.
async fn end_all(ledger: &mut Ledger, state: &str) {
    for statement in [
        "UPDATE deliveries SET state = ?, claim = NULL, attempts = 2, next_ms = 3000, \
         ended_ms = 3000, answer = '503 Service Unavailable'",
        "DELETE FROM delivery_attempts",
        "INSERT INTO delivery_attempts (delivery_id, attempt, started_ms, ended_ms, answer) \
         SELECT id, 1, 1000, NULL, NULL FROM deliveries",
        "INSERT INTO delivery_attempts (delivery_id, attempt, started_ms, ended_ms, answer) \
         SELECT id, 2, 2000, 3000, '503 Service Unavailable' FROM deliveries",
    ] {
        let values: &[&str] = if statement.contains('?') { &[state] } else { &[] };
        ledger.change(statement, values).await;
    }
}

/// As if all waited for another try in a hundred years.
async fn owe_all(ledger: &mut Ledger) {
    let later = "UPDATE deliveries SET state = 'owed', claim = NULL, next_ms = 4102444800000, \
                 ended_ms = NULL";
    ledger.change(later, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_shows_what_became_of_it() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let (webhook, other) = (webhook(&client).await, webhook(&client).await);
    let job = client.submit(&clip(), "label=mine").await;
    client.finished(&job).await;
    let mut ledger = Ledger::of(&service).await;
    owe_all(&mut ledger).await;

    let (all, next) = page(&client, "").await;
    assert_eq!((all.len(), next), (4, None), "two events, to two: {all:#?}");
    let (about, _) = page(&client, &format!("job={job}&webhook={webhook}&state=owed")).await;
    let told: Vec<_> = about.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["job.finished", "job.started"], "newest first");
    let same = |one: &Value, other: &Value| one["event_id"] == other["event_id"];
    assert!(all.iter().any(|one| one["webhook_id"] == other && same(one, &about[0])));
    assert!(!same(&about[0], &about[1]));
    let path = format!("/v1/deliveries/{}", ids(&about)[0]);
    let owed = client.get(&path).send().await.expect(200).json();
    assert_eq!(
        (&owed["state"], &owed["next_try_at"]),
        (&json!("owed"), &json!("2100-01-01T00:00:00Z"))
    );
    assert_eq!(owed["payload"]["type"], "job.finished");
    assert_eq!(owed["payload"]["data"]["job"]["id"], job);
    assert_eq!(owed["payload"]["data"]["job"]["label"], "mine");
    client.post(format!("{path}/replay")).send().await.problem(409);

    end_all(&mut ledger, "dead").await;
    let dead = client.get(&path).send().await.expect(200).json();
    assert_eq!((&dead["state"], &dead["next_try_at"]), (&json!("dead"), &Value::Null));
    assert_eq!((&dead["attempts"], &dead["ended_at"]), (&json!(2), &json!("1970-01-01T00:00:03Z")));
    assert_eq!(
        dead["attempt_log"],
        json!([
            {"attempt": 1, "started_at": "1970-01-01T00:00:01Z", "ended_at": null, "answer": null},
            {"attempt": 2, "started_at": "1970-01-01T00:00:02Z", "ended_at": "1970-01-01T00:00:03Z",
             "answer": "503 Service Unavailable"},
        ])
    );
    for (state, count) in [("owed", 0), ("delivered", 0), ("dead", 4)] {
        assert_eq!(page(&client, &format!("state={state}")).await.0.len(), count, "{state}");
    }
    let again = client.post(format!("{path}/replay")).send().await.expect(202).json();
    assert_eq!((&again["id"], &again["event_id"]), (&owed["id"], &owed["event_id"]));
    owe_all(&mut ledger).await;
    client.post(format!("{path}/replay")).send().await.problem(409);
    // Who took it can be told again as well.
    end_all(&mut ledger, "delivered").await;
    client.post(format!("{path}/replay")).send().await.expect(202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_everything_once() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let webhook = webhook(&client).await;
    for _ in 0..7 {
        client.post(format!("/v1/webhooks/{webhook}/test")).send().await.expect(202);
    }
    let (all, next) = page(&client, "limit=7").await;
    assert_eq!((all.len(), next), (7, None), "a full page may be the last");
    let mut found = Vec::new();
    let mut query = format!("limit=3&webhook={webhook}");
    let mut pages = 0;
    loop {
        let (deliveries, next) = page(&client, &query).await;
        found.extend(ids(&deliveries).into_iter().map(str::to_owned));
        pages += 1;
        let Some(next) = next else { break };
        query = format!("limit=3&webhook={webhook}&cursor={next}");
    }
    assert_eq!((pages, found.iter().map(String::as_str).collect::<Vec<_>>()), (3, ids(&all)));
    assert!(found.is_sorted_by(|newer, older| newer > older));
    page(&client, "limit=1").await;
    page(&client, "limit=500").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("state=gone", "state"),
        ("state=owed,dead", "state"),
        ("state=", "state"),
        ("webhook=5", "webhook"),
        ("job=%00", "job"),
        ("cursor=", "cursor"),
        ("cursor=%27%3B--", "cursor"),
        ("cursor=%FF", "cursor"),
        ("states=owed", "states"),
        ("job=a&job=b", "job"),
    ] {
        let reply = client.get(format!("/v1/deliveries?{query}")).send().await;
        assert_eq!(reply.problem(422).as_deref(), Some(field), "{query}");
    }
    assert_eq!(page(&client, &format!("cursor={}", Uuid::nil())).await.0, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_others_do_not_exist() {
    let service = Service::embedded();
    let (ada, eve) = (service.user("ada").await, service.user("eve").await);
    let admin = service.admin().await;
    let webhook = webhook(&ada).await;
    let tried = ada.post(format!("/v1/webhooks/{webhook}/test")).send().await.expect(202);
    let path = tried.header("location").unwrap();
    let mut ledger = Ledger::of(&service).await;
    end_all(&mut ledger, "dead").await;
    let nothing = format!("/v1/deliveries/{}", Uuid::now_v7());
    for (stranger, status) in [(&eve, 404), (&admin, 404), (&service.nobody(), 401)] {
        for (theirs, none) in [
            (stranger.get(path), stranger.get(&nothing)),
            (stranger.post(format!("{path}/replay")), stranger.post(format!("{nothing}/replay"))),
        ] {
            let (theirs, none) = (theirs.send().await, none.send().await);
            theirs.problem(status);
            assert_eq!(theirs.body, none.body);
        }
    }
    let cursor = tried.json()["id"].as_str().unwrap().to_owned();
    for query in ["", &format!("webhook={webhook}"), &format!("cursor={cursor}"), "state=dead"] {
        assert_eq!(page(&eve, query).await, (Vec::new(), None), "{query}");
    }
    assert_eq!(ada.get(path).send().await.expect(200).json()["state"], "dead");
    let key = json!({"label": "x", "scopes": ["read"]});
    let key = ada.post("/v1/keys").json(&key).send().await.expect(201).json();
    let reads = ada.with(key["key"].as_str().unwrap());
    reads.get(path).send().await.expect(200);
    reads.post(format!("{path}/replay")).send().await.problem(403);
}
