//! Connections that stall are let go. In a program of its own, because it counts what is open in
//! it.

#[allow(dead_code, reason = "the other program needs the rest")]
#[path = "objects/content.rs"]
mod content;
#[path = "objects/servers.rs"]
mod servers;

use std::fs;
use std::time::Duration;

use tokio::runtime::Handle;
use tonemill_job::objects::ObjectStore;
use tonemill_testbed::fault_proxy::Fault;
use tonemill_testbed::s3::S3Server;

use content::{PART, assert_has, eventually, new_key, noise, put};
use servers::{short, through_proxy};

#[tokio::test]
async fn stalls_leave_nothing_open() {
    let server = S3Server::start();
    let (proxy, store) = through_proxy(&server, short()).await;
    let (key, bytes) = (new_key(), noise(1_000_000, 1));
    put(&store, &key, &bytes, 10).await.unwrap();
    eventually("all is quiet", async || proxy.open() == 0).await;
    let long = noise(3 * PART, 2);
    let (files, tasks) = (open_files(), tasks());

    let second = Duration::from_secs(1);
    let mut faults = [
        Fault::BlackHole,
        Fault::Trickle { pause: second },
        Fault::CutResponse { after: 10_000 },
        Fault::Reset,
    ];
    for _ in 0..2 {
        for fault in faults {
            proxy.set(fault);
            let other = new_key();
            let (get, put) =
                tokio::join!(store.get(&key, 0..1_000_000), put(&store, &other, &long, 10),);
            assert!(get.is_err(), "{fault:?}");
            // All but the answer's end got there.
            assert!(put.is_err() || matches!(fault, Fault::CutResponse { .. }), "{fault:?}");
        }
        faults.reverse();
    }

    proxy.set(Fault::None);
    assert_has(&store, &key, &bytes).await;
    eventually("nothing is open", async || {
        println!("{} connections, {} files, {} tasks", proxy.open(), open_files(), self::tasks());
        open_files() <= files && self::tasks() <= tasks
    })
    .await;
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
