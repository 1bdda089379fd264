//! Where one is written to, and about what.

use serde_json::{Value, json};

use crate::client::Client;
use crate::jobs::clip;
use crate::service::Service;

async fn me(client: &Client) -> (Value, Value) {
    let me = client.get("/v1/me").send().await.expect(200).json();
    (me["email"].clone(), me["mail_events"].clone())
}

/// Changes one's account; what it is then.
async fn change(client: &Client, change: Value) -> (Value, Value) {
    let changed = client.patch("/v1/me").json(&change).send().await.expect(200).json();
    let told = (changed["email"].clone(), changed["mail_events"].clone());
    assert_eq!(told, me(client).await);
    told
}

/// Mails that are owed about a new job, by what they tell.
async fn mails_about_a_job(client: &Client) -> Vec<Value> {
    let job = client.submit(&clip(), "").await;
    client.finished(&job).await;
    let about = format!("/v1/deliveries?job={job}");
    let page = client.get(about).send().await.expect(200).json();
    let deliveries = page["deliveries"].as_array().unwrap();
    assert!(deliveries.iter().all(|delivery| delivery["webhook_id"].is_null()), "{page:#}");
    deliveries.iter().map(|delivery| delivery["event"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_chooses_ones_mails() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    assert_eq!(me(&client).await, (Value::Null, Value::Null));
    assert_eq!(mails_about_a_job(&client).await, [] as [Value; 0], "there is no address");
    let address = json!("ada@example.org");
    let both = change(&client, json!({"email": address})).await;
    assert_eq!(both, (address.clone(), Value::Null));
    assert_eq!(mails_about_a_job(&client).await, ["job.finished"]);
    let twice = json!(["job.failed", "job.started", "job.started"]);
    let each = json!(["job.started", "job.failed"]);
    assert_eq!(change(&client, json!({"mail_events": twice})).await, (address.clone(), each));
    assert_eq!(mails_about_a_job(&client).await, ["job.started"]);
    assert_eq!(change(&client, json!({"mail_events": []})).await, (address.clone(), json!([])));
    assert_eq!(mails_about_a_job(&client).await, [] as [Value; 0]);
    assert_eq!(change(&client, json!({})).await, (address.clone(), json!([])), "nothing is said");
    let back = change(&client, json!({"mail_events": null})).await;
    assert_eq!(back, (address, Value::Null));
    for nowhere in [json!(null), json!("")] {
        change(&client, json!({"email": "a@b"})).await;
        assert_eq!(change(&client, json!({"email": nowhere})).await.0, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_one_address() {
    let service = Service::embedded();
    let (client, admin) = (service.user("ada").await, service.admin().await);
    let of_bytes = |bytes: usize| format!("{}@b", "a".repeat(bytes - 2));
    let good = of_bytes(254);
    assert_eq!(change(&client, json!({"email": good})).await.0, json!(good));
    let (too_long, no_host) = (of_bytes(255), "ada@");
    let id = client.get("/v1/me").send().await.json()["id"].as_str().unwrap().to_owned();
    for bad in [
        "ada",
        no_host,
        "ada@example.org, eve@example.org",
        "ada@example.org,eve@example.org",
        "ada@example.org;eve",
        "ada@example.org eve",
        "Ada <ada@example.org>",
        "\"ada\"@example.org",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org\n",
        "ada@exam\0ple.org",
        "ada\u{a0}@example.org",
        "ada@example.org\u{2028}",
        &too_long,
    ] {
        let wish = json!({"email": bad});
        for reply in [
            client.patch("/v1/me").json(&wish).send().await,
            admin.patch(format!("/v1/users/{id}")).json(&wish).send().await,
            admin
                .post("/v1/users")
                .json(&json!({"name": "eve", "password": "a good password", "email": bad}))
                .send()
                .await,
        ] {
            assert_eq!(reply.problem(422).as_deref(), Some("email"), "{bad:?}");
        }
    }
    for (wish, field) in [
        (json!({"mail_events": ["job.done"]}), "mail_events"),
        (json!({"mail_events": ["system.alert"]}), "mail_events"),
        (json!({"mail_events": "none"}), "mail_events"),
        (json!({"email": 5}), "email"),
        (json!({"role": "admin"}), "role"),
        (json!({"name": "eve"}), "name"),
    ] {
        let reply = client.patch("/v1/me").json(&wish).send().await;
        assert_eq!(reply.problem(422).as_deref(), Some(field), "{wish}");
    }
    assert_eq!(me(&client).await, (json!(good), Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_lead_no_mails_elsewhere() {
    let service = Service::embedded();
    let client = service.user("ada").await;
    let wish = json!({"email": "eve@example.org"});
    client.with_a_key().await.patch("/v1/me").json(&wish).send().await.problem(403);
    service.nobody().patch("/v1/me").json(&wish).send().await.problem(401);
    assert_eq!(me(&client).await.0, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_choose_for_others() {
    let service = Service::embedded();
    let (client, admin) = (service.user("ada").await, service.admin().await);
    let id = client.get("/v1/me").send().await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/users/{id}");
    let change = async |change: Value| {
        let user = admin.patch(&path).json(&change).send().await.expect(200).json();
        (user["email"].clone(), user["mail_events"].clone())
    };
    let wish = json!({"email": "ada@example.org", "mail_events": ["job.failed"]});
    assert_eq!(change(wish).await, (json!("ada@example.org"), json!(["job.failed"])));
    assert_eq!(me(&client).await, (json!("ada@example.org"), json!(["job.failed"])));
    assert_eq!(change(json!({})).await.1, json!(["job.failed"]));
    assert_eq!(change(json!({"mail_events": []})).await.1, json!([]));
    assert_eq!(change(json!({"mail_events": null})).await.1, Value::Null);
    let wrong = json!({"mail_events": ["x"]});
    let field = admin.patch(&path).json(&wrong).send().await.problem(422);
    assert_eq!(field.as_deref(), Some("mail_events"));
    for nowhere in [Value::Null, json!("")] {
        change(json!({"email": "ada@example.org"})).await;
        assert_eq!(change(json!({"email": nowhere})).await.0, Value::Null, "{nowhere}");
    }
    let users = admin.get("/v1/users").send().await.expect(200).json();
    assert!(users.as_array().unwrap().iter().all(|user| user["mail_events"].is_null()));
}
