//! Links in mails, which nobody logs in for: an MP3 for a while, an end of the mails, and nothing
//! else.

use std::process::Command;

use serde_json::{Value, json};
use tonemill_job::JobId;
use tonemill_ledger::links::LinkKey;
use tonemill_testbed::s3::S3Server;
use uuid::Uuid;

use crate::client::{Client, Reply};
use crate::jobs::{assert_same, clip, long};
use crate::service::Service;
use crate::uploads::at;

/// Long after these tests.
const NEVER_MS: i64 = 4_102_444_800_000;

async fn key(service: &Service) -> LinkKey {
    service.ledger().await.link_key().await.unwrap()
}

fn job_id(text: &str) -> JobId {
    text.parse().unwrap()
}

async fn user_id(client: &Client) -> Uuid {
    client.get("/v1/me").send().await.json()["id"].as_str().unwrap().parse().unwrap()
}

/// What is told of links that are none, to the byte.
async fn nowhere(service: &Service) -> Reply {
    let link = format!("/d/{}?expires=1&mac=0", Uuid::nil());
    let nowhere = service.nobody().get(link).send().await;
    nowhere.problem(404);
    nowhere
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_sends_what_its_owner_gets() {
    let service = Service::embedded();
    let (client, nobody) = (service.user("ada").await, service.nobody());
    let job = client.submit(&clip(), "file_name=talk.mp4").await;
    client.finished(&job).await;
    let whole = client.output(&job).await;
    let link = key(&service).await.download(job_id(&job), NEVER_MS);
    assert!(link.len() < 110, "{link}");
    let got = nobody.get(&link).send().await.expect(200);
    assert_same(&got.body, &whole.body);
    let head = nobody.head(&link).send().await.expect(200);
    assert!(head.body.is_empty());
    for name in [
        "content-length",
        "content-type",
        "content-disposition",
        "etag",
        "last-modified",
        "accept-ranges",
        "cache-control",
        "content-security-policy",
        "x-content-type-options",
        "referrer-policy",
    ] {
        assert_eq!(got.header(name), whole.header(name), "{name}");
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    assert_eq!(got.header("ratelimit"), None, "it counts for nobody");
    let part = nobody.get(&link).header("range", "bytes=10-99").send().await.expect(206);
    assert_same(&part.body, &whole.body[10..100]);
    let far = format!("bytes={}-", whole.body.len());
    nobody.get(&link).header("range", &far).send().await.problem(416);
    let tag = whole.header("etag").unwrap();
    nobody.get(&link).header("if-none-match", tag).send().await.expect(304);
    nobody.get(&link).header("if-match", "\"x\"").send().await.problem(412);
    for request in [nobody.post(&link), nobody.delete(&link), nobody.put(&link)] {
        request.send().await.problem(405);
    }

    let ledger = service.ledger().await;
    let key = ledger.link_key().await.unwrap();
    let outdated = key.download(job_id(&job), ledger.now_ms() - 1);
    let expired = nobody.get(&outdated).send().await;
    expired.problem(410);
    assert!(expired.json()["detail"].as_str().unwrap().contains("expired"));
    assert_eq!(nobody.head(&outdated).send().await.status, 410);
    nobody.get(key.download(job_id(&job), i64::MIN)).send().await.problem(410);

    // Who may do nothing any more gives nothing away.
    let admin = service.admin().await;
    let user = format!("/v1/users/{}", user_id(&client).await);
    let nowhere = nowhere(&service).await;
    let disable = async |disabled: bool| {
        admin.patch(&user).json(&json!({"disabled": disabled})).send().await.expect(200);
    };
    disable(true).await;
    assert_eq!(nobody.get(&link).send().await.expect(404).body, nowhere.body);
    disable(false).await;
    nobody.get(&link).send().await.expect(200);
    let client = service.nobody().log_in("ada", crate::service::PASSWORD).await;
    client.delete(format!("/v1/jobs/{job}")).send().await.expect(204);
    assert_eq!(nobody.get(&link).send().await.expect(404).body, nowhere.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_link_of_ours_leads_nowhere() {
    let service = Service::embedded();
    let (client, nobody) = (service.user("ada").await, service.nobody());
    let job = client.submit(&clip(), "").await;
    client.finished(&job).await;
    let unfinished = client.submit(&long(), "lane=low").await;
    let key = key(&service).await;
    let user = user_id(&client).await;
    let nowhere = nowhere(&service).await;
    let mut wrong = vec![
        key.download(job_id(&unfinished), NEVER_MS),
        key.download(JobId::new(), NEVER_MS),
        key.unsubscribe(Uuid::now_v7()),
        // Each is for what it was made for.
        key.unsubscribe(user).replace("/unsubscribe?user=", "/d/"),
        key.download(job_id(&job), NEVER_MS).replace("&mac=", "&mac=&mac="),
        format!("/d/{job}"),
        format!("/d/{job}?expires={NEVER_MS}"),
        format!("/d/{job}?expires={NEVER_MS}&mac="),
        format!("/unsubscribe?user={user}"),
        format!("/unsubscribe?user={user}&mac={}", "0".repeat(32)),
        "/unsubscribe".to_owned(),
        "/d/x?expires=y&mac=z".to_owned(),
    ];
    for link in [key.download(job_id(&job), NEVER_MS), key.unsubscribe(user)] {
        // Every byte after the name of the route.
        let first = link[1..].find(['/', '?']).unwrap() + 2;
        for at in first..link.len() {
            let other = if link[at..].starts_with('a') { 'b' } else { 'a' };
            wrong.push(format!("{}{other}{}", &link[..at], &link[at + 1..]));
        }
        wrong.push(format!("{link}0"));
        wrong.push(format!("{link}&x=1"));
        wrong.push(link[..link.len() - 1].to_owned());
    }
    for link in &wrong {
        // Whose user is not there is asked, and has no effect.
        let is_of_nobody = *link == wrong[2];
        let got = nobody.get(link).send().await;
        assert_eq!(got.status, if is_of_nobody { 200 } else { 404 }, "{link}");
        if link.starts_with("/unsubscribe") {
            let posted = nobody.post(link).body("List-Unsubscribe=One-Click").send().await;
            assert_eq!(posted.expect(404).body, nowhere.body, "{link}");
        }
        if !is_of_nobody {
            assert_eq!(got.body, nowhere.body, "{link}");
        }
    }
    assert_eq!(client.get("/v1/me").send().await.json()["mail_events"], Value::Null);
    client.delete(format!("/v1/jobs/{unfinished}")).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_sent_to_the_store() {
    let s3 = S3Server::start_chosen();
    let service = Service::with_store(&["--presign", "60"], &s3);
    let client = service.user("ada").await;
    let job = client.submit(&clip(), "").await;
    client.finished(&job).await;
    let link = key(&service).await.download(job_id(&job), NEVER_MS);
    let reply = service.nobody().get(&link).send().await.expect(307);
    let mp3 = at(reply.header("location").unwrap(), hyper::Method::GET).send().await.expect(200);
    let length = service.nobody().head(&link).send().await.expect(200).number("content-length");
    assert_eq!(mp3.body.len() as u64, length);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_click_ends_the_mails() {
    let service = Service::embedded();
    let (client, nobody) = (service.user("ada").await, service.nobody());
    let address = json!({"email": "ada@example.org"});
    client.patch("/v1/me").json(&address).send().await.expect(200);
    let link = key(&service).await.unsubscribe(user_id(&client).await);
    let wanted = async || client.get("/v1/me").send().await.json()["mail_events"].clone();

    // As a scanner of mails looks.
    let page = nobody.get(&link).send().await.expect(200);
    nobody.head(&link).send().await.expect(200);
    assert_eq!(wanted().await, Value::Null, "looking changes nothing");
    let html = page.text();
    assert!(html.contains("<form method=\"post\">"), "it goes back to where it came from: {html}");
    assert!(!html.contains("<script") && !html.contains("ada"), "{html}");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("cache-control"), Some("no-store"));

    // As a mail program does (RFC 8058 section 3.2), and again.
    for _ in 0..2 {
        let url = format!("http://{}{link}", service.address);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-d", "List-Unsubscribe=One-Click", &url]);
        let output = curl.output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("You get no more mails"), "{said}");
        assert_eq!(wanted().await, json!([]));
    }
    let me = client.get("/v1/me").send().await.json();
    assert_eq!(me["email"], "ada@example.org", "whoever wants them again need say no more");
    // Who is disabled has the right as well; a form may come in parts, or not at all.
    client.patch("/v1/me").json(&json!({"mail_events": null})).send().await.expect(200);
    let user = format!("/v1/users/{}", user_id(&client).await);
    let disabled = json!({"disabled": true});
    let admin = service.admin().await;
    admin.patch(&user).json(&disabled).send().await.expect(200);
    let form = [crate::client::text("List-Unsubscribe", "One-Click")];
    nobody.post(&link).form(&form).send().await.expect(200);
    nobody.post(&link).send().await.expect(200);
    let users = admin.get("/v1/users").send().await.json();
    let ada = users.as_array().unwrap().iter().find(|user| user["name"] == "ada").unwrap();
    assert_eq!(ada["mail_events"], json!([]));
}
