//! The ways that an upload comes, each as a client that does not give up: it repeats what was not
//! answered, goes on where the service says it is, and submits again.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use crate::client::{Client, Failure, Reply, Request, file, text};
use crate::jobs::id_of;
use crate::pause;
use crate::uploads::at;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// The video as the body.
    Raw,
    /// A form.
    Form,
    /// By the protocol tus.
    Resumable,
    /// Past the API.
    Direct,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Raw, Self::Form, Self::Resumable, Self::Direct];
}

/// An upload of a video, and how far it is as its client knows.
pub struct Upload {
    pub way: Way,
    pub video: Bytes,
    /// The job's label, and the request's name.
    pub label: String,
    /// The upload's name, where it goes on or is put, if it has begun.
    begun: Option<(String, String)>,
    is_put: bool,
    /// The job, as the service said.
    pub job: Option<String>,
}

impl Upload {
    pub fn new(way: Way, video: Bytes, label: String) -> Self {
        Self { way, video, label, begun: None, is_put: false, job: None }
    }

    /// Goes on until the service has given its word for a job, or is not there. To be dropped and
    /// called again as often as one likes.
    pub async fn go_on(&mut self, client: &Client) -> Result<String, Failure> {
        let reply = match self.way {
            Way::Raw | Way::Form => patiently(|| self.submission(client)).await?,
            Way::Resumable => {
                self.resume(client).await?;
                self.submit(client).await?
            }
            Way::Direct => {
                self.put(client).await?;
                self.submit(client).await?
            }
        };
        assert!([200, 201].contains(&reply.status), "{}: {}", reply.status, reply.text());
        let job = id_of(&reply);
        let before = self.job.get_or_insert_with(|| job.clone());
        assert_eq!(*before, job, "{}: one request is two jobs", self.label);
        Ok(job)
    }

    fn submission(&self, client: &Client) -> Request {
        let (label, video) = (&self.label, &self.video);
        if self.way == Way::Form {
            let form = [text("label", label), file("a.mp4", video)];
            return client.post("/v1/jobs").header("idempotency-key", label).form(&form);
        }
        let request = client.post(format!("/v1/jobs?label={label}"));
        request.header("idempotency-key", label).body(video.clone())
    }

    async fn submit(&self, client: &Client) -> Result<Reply, Failure> {
        let (upload, _) = self.begun.as_ref().expect("it was begun");
        let body = json!({"upload": upload, "label": self.label});
        patiently(|| client.post("/v1/jobs").json(&body)).await
    }

    /// Until all of it is there, in two requests at least.
    async fn resume(&mut self, client: &Client) -> Result<(), Failure> {
        let length = self.video.len();
        let begin = || client.post("/v1/uploads").header("upload-length", &length.to_string());
        if self.begun.is_none() {
            let reply = patiently(begin).await?.expect(201);
            let path = reply.header("location").expect("where it goes on").to_owned();
            let name = path.rsplit('/').next().expect("a name").to_owned();
            self.begun = Some((name, path));
        }
        let (_, path) = self.begun.as_ref().expect("it was begun");
        let start = Instant::now();
        loop {
            let look = client.head(path).try_send().await?;
            // It has become a job.
            if look.status == 404 {
                return Ok(());
            }
            let offset = look.expect(200).number("upload-offset") as usize;
            if offset == length {
                return Ok(());
            }
            let end = if offset < length / 2 { length / 2 } else { length };
            let request = client.patch(path).header("upload-offset", &offset.to_string());
            let request = request.header("content-type", "application/offset+octet-stream");
            let reply = request.body(self.video.slice(offset..end)).try_send().await?;
            // The dead keep others out for a moment.
            if [409, 423, 503].contains(&reply.status) {
                pause("the rest of an upload", start).await;
                continue;
            }
            reply.expect(204);
        }
    }

    /// Puts it into the store.
    async fn put(&mut self, client: &Client) -> Result<(), Failure> {
        let wish = json!({"bytes": self.video.len(), "file_name": "a.mp4"});
        if self.begun.is_none() {
            let begin = || client.post("/v1/uploads/direct").json(&wish);
            let upload = patiently(begin).await?.expect(201).json();
            let text = |name: &str| upload[name].as_str().expect("a text").to_owned();
            self.begun = Some((text("upload"), text("url")));
        }
        let (_, url) = self.begun.as_ref().expect("it was begun");
        if !self.is_put {
            let put = at(url, hyper::Method::PUT).body(self.video.clone());
            put.try_send().await?.expect(200);
            self.is_put = true;
        }
        Ok(())
    }
}

/// The answer, when the service is ready for the request.
pub async fn patiently(request: impl Fn() -> Request) -> Result<Reply, Failure> {
    let start = Instant::now();
    loop {
        let reply = request().try_send().await?;
        if ![409, 423, 503].contains(&reply.status) {
            return Ok(reply);
        }
        pause("an answer", start).await;
    }
}
