//! Uploads that are no job yet: in several requests (tus 1.0), or past us straight into the store.
//!
//! Either way an upload is written down first and named in `POST /v1/jobs` when it is whole.
//!
//! | file | what |
//! |---|---|
//! | `resumable` | the routes of tus |
//! | `writer` | bytes of a request on their way into parts of an object |
//! | `tree_hash` | the hash of all bytes from those of the parts |
//! | `checksum` | what a client says that a request's bytes add up to |
//! | `direct` | an address at the store to upload to |
//! | `submit` | the job of a finished upload |

mod checksum;
pub mod direct;
pub mod resumable;
mod submit;
mod tree_hash;
mod writer;

use std::time::Duration;

use tonemill_job::JobId;
use tonemill_ledger::uploads::Upload;

use crate::Api;
use crate::auth::Caller;
use crate::problem::{Answer, Problem};

/// How long an upload may take.
const LIFETIME: Duration = Duration::from_hours(24);

fn no_upload() -> Problem {
    Problem::not_found("there is no such upload: it never was, became a job, or expired")
}

impl Api {
    /// An upload of the caller's.
    async fn own_upload(&self, caller: &Caller, id: JobId) -> Answer<Upload> {
        self.ledger.upload(caller.user.id, id).await?.ok_or_else(no_upload)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
