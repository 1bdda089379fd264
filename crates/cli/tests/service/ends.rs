//! How the service ends: SIGTERM waits for who is being answered, SIGINT and a second SIGTERM do
//! not.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::separate::Separate;
use crate::service::{PASSWORD, Service};
use crate::support::daemon::Daemon;
use crate::{PATIENCE, until};

/// Less than the grace period, in which a request may go on that never ends.
const AT_ONCE: Duration = Duration::from_secs(10);

/// An upload that has begun and does not go on.
async fn endless_upload(client: &Client) -> TcpStream {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-length: 1000000\r\n\r\n",
        client.token.as_deref().unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// `process` ends at this signal, though somebody is being answered.
async fn ends_at_once(process: &mut Daemon, last: Signal) {
    let asked = Instant::now();
    process.signal(last);
    let status = process.end(PATIENCE).await;
    let took = asked.elapsed();
    assert!(status.success() && took < AT_ONCE, "{status}, {took:?}:\n{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sigint_waits_for_nobody_who_is_being_answered() {
    let mut service = Service::embedded();
    let client = service.admin().await;
    let _upload = endless_upload(&client).await;
    ends_at_once(&mut service.process, Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_a_second_sigterm() {
    let mut all = Separate::start(None, 1, 0);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let _upload = endless_upload(&client).await;
    let api = &mut all.apis[0].0;
    api.signal(Signal::TERM);
    // Two signals at the same time are one.
    until("the first", async || api.log().contains("SIGTERM").then_some(())).await;
    assert_eq!(api.ended(), None, "{}", api.log());
    ends_at_once(api, Signal::TERM).await;
}
