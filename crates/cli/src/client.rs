//! The client of a service that runs: `tonemill login`, `upload`, `jobs`, `watch`, `download`.
//!
//! | file | what |
//! |---|---|
//! | `config_dir` | the folder of what is remembered |
//! | `credentials` | log-ins, and who is locked out while they change |
//! | `records` | transfers that are not done |
//! | `link` | the way to a service that may be away or strange |
//! | `api` | requests of somebody who is known there, and their answers |
//! | `session` | access tokens, renewed when they expire |
//! | `retry` | how often, how soon, how long |
//! | `problem` | refusals, in words |
//! | `login` | `login` and `logout` |
//! | `password` | a question on the terminal without echo |
//! | `upload` | `upload`: files become jobs, jobs become files |
//! | `order` | options as the API has them |
//! | `tus` | one file into the service, in as many requests as it takes |
//! | `source` | a file that is uploaded |
//! | `job` | a job, as the service tells it |
//! | `jobs` | `jobs`: look, cancel, retry, delete |
//! | `watch` | `watch`: jobs until they are over |
//! | `events` | server-sent events |
//! | `download` | `download`: outputs under their names |
//! | `fetch` | one output out of the service, in as many requests as it takes |
//! | `file_name` | names for files, of what a service says |
//! | `bars` | progress on a terminal |

mod api;
mod bars;
mod config_dir;
mod credentials;
pub mod download;
mod events;
mod fetch;
mod file_name;
mod job;
pub mod jobs;
mod link;
pub mod login;
mod order;
mod password;
mod problem;
mod records;
mod retry;
mod session;
mod source;
mod tus;
pub mod upload;
pub mod watch;

use std::time::Duration;

use crate::exit::{CancelToken, Outcome, on_signals};
use crate::failure::Failure;
use crate::runtime;

/// How often somebody who waits looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `work` until it is done or interrupted; `farewell` is printed then. All that must survive
/// is on the disk or at the service at any time, so work may end anywhere.
fn drive(
    cancel: &CancelToken,
    work: impl Future<Output = Result<Outcome, Failure>>,
    farewell: impl FnOnce() -> String,
) -> Outcome {
    on_signals(cancel);
    let runtime = match runtime::threads() {
        Ok(runtime) => runtime,
        Err(failure) => return failure.tell(),
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => Some(done),
            () = interrupted(cancel) => None,
        }
    });
    if done.is_none() {
        // A token that the service has exchanged must reach the disk.
        runtime.block_on(session::settled());
    }
    // A thread that reads a slow disk would be waited for.
    runtime.shutdown_background();
    match done {
        Some(Ok(outcome)) => outcome,
        Some(Err(failure)) => failure.tell(),
        None => {
            eprintln!("tonemill: interrupted: {}", farewell());
            Outcome::Cancelled
        }
    }
}

async fn interrupted(cancel: &CancelToken) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
}
