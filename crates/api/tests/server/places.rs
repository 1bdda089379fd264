//! Connections at the limit, and one past it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;
use tonemill_api::server::ServerConfig;

use crate::client::{Raw, until, within};
use crate::host::Host;

#[tokio::test]
async fn past_the_limit_one_waits_until_another_ends() {
    let host = Host::start(ServerConfig { max_connections: 2, ..ServerConfig::default() }).await;
    let waiting = || host.stage.waiting.load(Ordering::SeqCst);
    let mut within_limit = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(host.address).await;
        client.get("/wait").await;
        within_limit.push(client);
    }
    until(|| waiting() == 2).await;
    // Two wait outside: one is accepted, the other is not.
    let mut outside = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(host.address).await;
        client.get("/").await;
        outside.push(client);
    }
    let early = timeout(Duration::from_millis(300), outside[0].stream.readable()).await;
    assert!(early.is_err(), "it was served though the server was full");
    drop(within_limit.pop());
    outside[0].read_until("hello").await;
    drop(within_limit.pop());
    outside[1].read_until("hello").await;
    host.stop().await;
}

#[tokio::test]
async fn the_one_idle_longest_makes_room() {
    let host = Host::start(ServerConfig { max_connections: 2, ..ServerConfig::default() }).await;
    let mut idle = [Raw::connect(host.address).await, Raw::connect(host.address).await];
    for index in [1, 0, 1] {
        idle[index].get("/").await;
        idle[index].read_until("hello").await;
    }
    let mut third = Raw::connect(host.address).await;
    third.get("/").await;
    third.read_until("hello").await;
    assert_eq!(idle[0].read_to_end().await, "");
    idle[1].get("/").await;
    idle[1].read_until("hello").await;
    host.stop().await;
}

#[tokio::test]
async fn one_address_has_so_many_and_another_as_many_again() {
    let config = ServerConfig { max_connections_per_address: 2, ..ServerConfig::default() };
    let host = Host::start(config).await;
    let mut served = Vec::new();
    for source in ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"] {
        let mut client = Raw::connect_from(source, host.address, None).await;
        client.get("/").await;
        client.read_until("hello").await;
        served.push(client);
    }
    for source in ["127.0.0.1", "127.0.0.2"] {
        let mut client = Raw::connect_from(source, host.address, None).await;
        assert_eq!(client.read_to_end().await, "", "{source} has one too many");
    }
    drop(served.remove(0));
    within(async {
        loop {
            let mut client = Raw::connect(host.address).await;
            // It may be gone before it is written to.
            let _ = client.stream.try_write(b"GET / HTTP/1.0\r\n\r\n");
            if client.read_to_end().await.ends_with("hello") {
                break;
            }
        }
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn proxies_have_as_many_as_they_like() {
    let config = ServerConfig {
        max_connections_per_address: 1,
        trusted_proxies: 1,
        ..ServerConfig::default()
    };
    let host = Host::start(config).await;
    let mut served = Vec::new();
    for _ in 0..3 {
        let mut client = Raw::connect(host.address).await;
        client.get("/").await;
        client.read_until("hello").await;
        served.push(client);
    }
    host.stop().await;
}
