//! Redis and the store over TLS.

use tonemill_testbed::redis::RedisServer;
use tonemill_testbed::tls::{Authority, TlsProxy};

use crate::arena::{Arena, PATIENCE};
use crate::clips;
use crate::support::process::start;

/// A worker and `submit` reach both by TLS if they trust the authority, and neither if they do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let authority = Authority::new();
    let (redis, port) = RedisServer::start_with_tls(&authority);
    let mut arena = Arena::with(redis).await;
    let store = TlsProxy::start(&arena.s3.endpoint, &authority).await;
    arena.redis_url = Some(format!("rediss://localhost:{port}"));

    let mut stranger_to_redis = arena.worker(&[]);
    arena.wait_for_log("no job can be received", 1).await;
    arena.s3_endpoint = Some(store.endpoint());
    let mut stranger_to_both = arena.worker(&[]);
    arena.wait_for_log("no jobs are taken while the store is away", 1).await;
    for stranger in [&mut stranger_to_redis, &mut stranger_to_both] {
        assert!(stranger.log().contains("UnknownIssuer"), "{}", stranger.log());
        stranger.drain_worker().await;
    }

    arena.trusted = Some(authority.ca_file());
    arena.submit(3, clips::all()).await;
    let mut worker = arena.worker(&[]);
    assert_eq!(arena.wait().await, 3, "{}", arena.log());
    let folder = tempfile::tempdir().unwrap();
    let clip = &clips::all()[0];
    let upload = folder.path().join("clip.mp4");
    std::fs::write(&upload, &clip.bytes).unwrap();
    let running = start(arena.command("submit").arg(&upload));
    let finished = tokio::task::spawn_blocking(move || running.finish(PATIENCE)).await.unwrap();
    finished.ended_with(0);
    assert!(std::fs::read(upload.with_extension("mp3")).unwrap() == clip.reference);
    arena.check(1).await.assert_sound(&arena);
    worker.drain_worker().await;
}
