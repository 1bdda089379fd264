//! Where backups are: folders, buckets and pipes; and which of them are kept.

use std::fs;
use std::process::Stdio;

use bytes::Bytes;
use tempfile::TempDir;
use tonemill_job::ObjectKey;
use tonemill_job::objects::{ObjectStore as _, S3Store, put_small};
use tonemill_testbed::s3::S3Server;

use crate::PATIENCE;
use crate::backups::names;
use crate::bucket::s3_config;
use crate::ledger::Ledger;
use crate::separate::Separate;
use crate::service::Service;
use crate::support::process::{program, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_kept_by_number_in_folders() {
    let all = Separate::start(None, 1, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let count = |folder: &TempDir| fs::read_dir(folder.path()).unwrap().count();
    for day in 1..=3 {
        fs::write(folder.path().join(format!("ledger-2026010{day}-000000.gz")), "old").unwrap();
    }
    fs::write(folder.path().join("mine.gz"), "mine").unwrap();
    let to_come = "ledger-20990101-000000.gz";
    fs::write(folder.path().join(to_come), "of a wrong clock").unwrap();
    let made = all.operate(&["backup", path, "--keep", "3", "--json"]).await.succeeded().json();
    assert_eq!(names(&made["removed"]), ["ledger-20260101-000000.gz"]);
    assert_eq!(names(&made["to_come"]), [to_come]);
    assert_eq!(made["bytes"], fs::metadata(made["backup"].as_str().unwrap()).unwrap().len());
    assert_eq!(count(&folder), 5);
    all.operate(&["backup", path, "--keep", "0"]).await.ended_with(2);
    all.operate(&["backup", "-", "--keep", "1"]).await.ended_with(2);
    // The newest of them.
    let told = all.operate(&["verify", path]).await.succeeded();
    assert!(told.stderr.contains(&format!("{to_come} is of a time to come")), "{}", told.stderr);
    // What is no file is none of them.
    let other = folder.path().join("ledger-20250101-000000.gz");
    fs::create_dir(&other).unwrap();
    let told = crate::until("another second", async || {
        let made = all.operate(&["backup", path, "--keep", "1"]).await;
        (made.code == Some(0)).then_some(made)
    })
    .await;
    assert!(String::from_utf8(told.stdout).unwrap().contains("0 jobs of SQLite") && other.is_dir());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_kept_in_buckets() {
    let all = Separate::start(None, 1, 0);
    let bucket = format!("s3://{}/backups/ledger", all.s3.bucket);
    let made = all.operate(&["backup", &bucket, "--keep", "1", "--json"]).await.succeeded().json();
    let name = made["backup"].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("{bucket}/ledger-2")), "{name}");
    let store = S3Store::new(s3_config(&all.s3)).await.expect("a store");
    let old: ObjectKey = "backups/ledger/ledger-20260101-000000.gz".to_owned().try_into().unwrap();
    let bytes = Bytes::from_static(b"old");
    put_small(&store, &old, "application/gzip", bytes).await.expect("a store");
    for place in [&bucket, &name] {
        all.operate(&["verify", place]).await.succeeded();
    }
    all.operate(&["verify", &name.replace("/ledger-2", "/ledger-0")]).await.ended_with(3);
    all.operate(&["verify", "s3://Bucket/Prefix_"]).await.ended_with(2);
    crate::until("another second", async || {
        let more = all.operate(&["backup", &bucket, "--keep", "1"]).await;
        (more.code == Some(0)).then_some(())
    })
    .await;
    let left = store.list("backups/", None, 10).await.expect("a list");
    assert!(left.len() == 1 && left[0].key != old, "{left:?}");
    // An object of its own, and a server to which the service's keys are nobody's.
    let one = format!("s3://{}/mine/one.gz", all.s3.bucket);
    all.operate(&["backup", &one, "--keep", "1"]).await.ended_with(2);
    let made = all.operate(&["backup", &one, "--json"]).await.succeeded().json();
    assert_eq!(made["backup"], one);
    all.operate(&["verify", &one]).await.succeeded();
    let other = S3Server::start();
    let place = format!("s3://{}/ledger", other.bucket);
    let there = ["--backup-s3-endpoint", &other.endpoint, "--backup-s3-region", &other.region];
    let keys = ["--backup-s3-access-key-id", &other.access_key_id];
    let secret = ["--backup-s3-secret-access-key", &other.secret_access_key];
    let all_of_it = [&there[..], &keys, &secret].concat();
    all.operate(&[&["backup", &place], &there[..]].concat()).await.ended_with(3);
    for command in ["backup", "verify"] {
        all.operate(&[&[command, &place], &all_of_it[..]].concat()).await.succeeded();
    }
}

/// Through pipes, and damaged on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_go_through_pipes() {
    let service = Service::embedded();
    let backup = service.operate(&["backup", "-"]).await.succeeded();
    assert_eq!((&backup.stdout[..2], backup.stderr.as_str()), (&[0x1f, 0x8b][..], ""));
    let file = service.scratch("backup.gz");
    let verify = async |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let mut command = program();
        command.args(["admin", "verify", "-"]).stdin(Stdio::from(fs::File::open(&file).unwrap()));
        let run = move || start(&mut command).finish(PATIENCE);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let good = backup.stdout;
    verify(&good).await.succeeded();
    let mut changed = good.clone();
    changed[good.len() / 2] ^= 1;
    for bad in [&changed[..], &good[..good.len() - 1], b"no backup", b""] {
        let refused = verify(bad).await.ended_with(1);
        assert!(refused.stderr.starts_with("tonemill: th"), "{}", refused.stderr);
    }
    // The ledger's own rows.
    service.operate(&["verify"]).await.succeeded();
    let mut ledger = Ledger::of(&service).await;
    ledger.change("UPDATE users SET unfinished_jobs = 7", &[]).await;
    let wrong = service.operate(&["verify"]).await.ended_with(1);
    assert!(String::from_utf8(wrong.stdout).unwrap().contains("WRONG: 1 users are charged"));
}
