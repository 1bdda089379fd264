//! `tonemill submit`: files through the workers and back.

use std::time::Instant;

use tonemill_job::ObjectKey;

use crate::arena::{Arena, PATIENCE};
use crate::clips;
use crate::support::process::{Running, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_back_as_mp3s_and_nothing_stays() {
    let mut arena = Arena::new().await;
    let mut worker = arena.worker(&[]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = arena.command("submit");
    for clip in clips::all() {
        let path = folder.path().join(clip.name);
        std::fs::write(&path, &clip.bytes).unwrap();
        // Two of them differ in nothing but their ending.
        if clip.name != "aac.mkv" && clip.name != "aac.ts" {
            command.arg(path);
        }
    }
    let bad = folder.path().join("bad.mp4");
    std::fs::write(&bad, "nothing").unwrap();
    // As a container's template leaves them.
    command.env("TONEMILL_FOLDER", "").env("TONEMILL_S3_CA_FILE", "");
    command.arg(&bad).args(["-d"]).arg(folder.path().join("out")).arg("--json");
    let running: Running = start(&mut command);
    let finished = tokio::task::spawn_blocking(move || running.finish(PATIENCE)).await.unwrap();
    let finished = finished.ended_with(1);
    let lines = finished.json_lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let of_bad = lines.iter().find(|line| line["output_path"].is_null()).unwrap();
    assert_eq!(of_bad["error"]["kind"], "bad_input");
    for clip in clips::all() {
        let mp3 = folder.path().join("out").join(clip.name).with_extension("mp3");
        if clip.name != "aac.mkv" && clip.name != "aac.ts" {
            let same = std::fs::read(mp3).unwrap() == clip.reference;
            // "aac.mp4" is not told from other clips named aac.
            assert!(same, "{}", clip.name);
        }
    }
    for prefix in [ObjectKey::UPLOADS, ObjectKey::OUTPUTS] {
        assert!(arena.store.list(prefix, None, 10).await.unwrap().is_empty());
    }
    arena.check(1).await.assert_sound(&arena);
    worker.drain_worker().await;
}

/// A Redis that lost everything while files were waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_queue_has_lost_is_queued_again() {
    let mut arena = Arena::new().await;
    let folder = tempfile::tempdir().unwrap();
    let clip = &clips::all()[0];
    let upload = folder.path().join("clip.mp4");
    std::fs::write(&upload, &clip.bytes).unwrap();
    let running: Running = start(arena.command("submit").arg(&upload));
    let client = redis::Client::open(arena.redis.url()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let clients: String =
            redis::cmd("CLIENT").arg("LIST").query_async(&mut direct).await.unwrap();
        // It has queued and looks into its mailbox.
        if clients.contains("cmd=xread ") {
            break;
        }
        assert!(Instant::now() < end, "nobody waits");
    }
    arena.redis.kill();
    arena.redis.restart_empty();
    let mut worker = arena.worker(&[]);
    let finished = tokio::task::spawn_blocking(move || running.finish(PATIENCE)).await.unwrap();
    let finished = finished.ended_with(0);
    assert!(finished.stderr.contains("queued again"), "{}", finished.stderr);
    assert!(std::fs::read(upload.with_extension("mp3")).unwrap() == clip.reference);
    worker.drain_worker().await;
}
