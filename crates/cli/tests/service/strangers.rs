//! What is somebody else's does not exist: a thousand questions about other people's jobs are
//! answered, to the byte, as those about no jobs at all (fault test 25).

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, Reply};
use crate::jobs::clip;
use crate::ledger::Ledger;
use crate::service::Service;
use crate::size;

/// Copies of a job under other names, until there are so many.
async fn copy(ledger: &mut Ledger, count: usize) -> Vec<String> {
    let copies = "CREATE TEMP TABLE copies AS WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL \
                  SELECT i + 1 FROM n WHERE i < CAST(? AS INTEGER)) SELECT jobs.* FROM jobs, n";
    ledger.change(copies, &[&count.to_string()]).await;
    let names = "UPDATE copies SET id = lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || \
                 '-7' || substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) \
                 || '-' || hex(randomblob(6)))";
    ledger.change(names, &[]).await;
    ledger.change("INSERT INTO jobs SELECT * FROM copies", &[]).await;
    ledger.texts("SELECT id FROM jobs").await
}

/// All that can be asked about a job.
async fn questions(client: &Client, job: &str) -> Vec<Reply> {
    let path = format!("/v1/jobs/{job}");
    let output = format!("{path}/output");
    let questions = [
        client.get(&path),
        client.get(format!("{path}/events")),
        client.get(&output),
        client.head(&output),
        client.get(&output).header("range", "bytes=0-9"),
        client.get(format!("/download?fid={job}")),
        client.post(format!("{path}/retry")),
        client.delete(&path),
        client.post("/v1/jobs").json(&json!({"upload": job})),
    ];
    let mut replies = Vec::new();
    for question in questions {
        replies.push(question.send().await);
    }
    replies
}

fn told(replies: Vec<Reply>) -> Vec<(u16, String, Vec<String>)> {
    let told = |reply: Reply| {
        // A request's own name, the date, and how much may yet be asked are of no job.
        let own = ["x-request-id", "date", "ratelimit"];
        let headers = reply.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
        (reply.status, reply.text(), headers)
    };
    replies.into_iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_others_do_not_exist() {
    let service = Service::with(&["--requests", "1000000"]);
    let (owner, stranger) = (service.user("ada").await, service.user("eve").await);
    let job = owner.submit(&clip(), "label=secret").await;
    owner.finished(&job).await;
    let mut ledger = Ledger::of(&service).await;
    let count = size(1000, 120);
    let jobs = copy(&mut ledger, count).await;
    assert_eq!(jobs.len(), count);
    let before = ledger.texts("SELECT id || state || version FROM jobs ORDER BY id").await;

    let nothing = told(questions(&stranger, &Uuid::now_v7().to_string()).await);
    assert!(nothing.iter().all(|(status, ..)| *status == 404), "{nothing:?}");
    let mut asked = 0;
    for job in &jobs {
        let answers = told(questions(&stranger, job).await);
        asked += answers.len();
        assert_eq!(answers, nothing, "{job}");
    }
    for wrong in ["5", "%00", "..%2Fx", &job.to_uppercase(), &format!("{job}x")] {
        assert_eq!(stranger.get(format!("/v1/jobs/{wrong}")).send().await.status, 404, "{wrong}");
    }
    println!("{asked} questions about {count} jobs of somebody else: told nothing");
    assert!(asked >= 1000, "{asked}");
    for list in ["/v1/jobs", "/v1/jobs?label=secret", "/v1/jobs?state=finished"] {
        assert_eq!(stranger.get(list).send().await.expect(200).json()["jobs"], json!([]));
    }
    let cursor = format!("/v1/jobs?cursor={job}");
    assert_eq!(stranger.get(cursor).send().await.expect(200).json()["jobs"], json!([]));
    // An administrator is a stranger here, too.
    service.admin().await.get(format!("/v1/jobs/{job}")).send().await.problem(404);
    let after = ledger.texts("SELECT id || state || version FROM jobs ORDER BY id").await;
    assert_eq!(after, before, "nothing of it had an effect");
    owner.output(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_is_for_administrators() {
    let service = Service::embedded();
    let (admin, ada) = (service.admin().await, service.user("ada").await);
    let users = admin.get("/v1/users").send().await.expect(200).json();
    let id = |name: &str| {
        let user = users.as_array().unwrap().iter().find(|user| user["name"] == name).unwrap();
        user["id"].as_str().unwrap().to_owned()
    };
    let new = json!({"name": "eve", "password": "a good password", "role": "admin"});
    let more: Value = json!({"role": "admin", "quotas": {}});
    for (client, status) in [(&ada, 403), (&service.nobody(), 401)] {
        client.get("/v1/users").send().await.problem(status);
        client.post("/v1/users").json(&new).send().await.problem(status);
        for id in [id("ada"), id("admin"), Uuid::now_v7().to_string()] {
            let path = format!("/v1/users/{id}");
            client.patch(path).json(&more).send().await.problem(status);
        }
    }
    let own = format!("/v1/users/{}", id("admin"));
    admin.patch(&own).json(&json!({"role": "user"})).send().await.problem(409);
    admin.patch(&own).json(&json!({"disabled": true})).send().await.problem(409);
    let nobody = format!("/v1/users/{}", Uuid::now_v7());
    admin.patch(nobody).json(&json!({"disabled": true})).send().await.problem(404);
    admin.post("/v1/users").json(&new).send().await.expect(201);
    admin.post("/v1/users").json(&new).send().await.problem(409);
    // Who is made an administrator is one with the next request.
    admin.patch(format!("/v1/users/{}", id("ada"))).json(&more).send().await.expect(200);
    ada.get("/v1/users").send().await.expect(200);
}
