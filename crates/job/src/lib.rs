//! What the service and its workers agree on.
//!
//! The service puts an upload into the [object store](objects) and a [`message`] into the
//! [`queue`]. A worker takes the message under a lease, reads the upload, writes the output
//! under a [key](object_key) that nobody wrote before, and settles the lease with an event, in one
//! step. Who loses the lease can settle nothing.
//!
//! Both the queue and the store are traits with two implementations each, one for many machines
//! (Redis Streams, S3) and one for a single process (memory, a folder); one suite of tests per
//! trait holds for all.

#![forbid(unsafe_code)]

mod error_chain;
mod file_name;
pub mod id;
pub mod message;
pub mod object_key;
pub mod objects;
pub mod options;
pub mod queue;

pub use error_chain::chain;
pub use file_name::is_deceptive;
pub use id::JobId;
pub use message::{JobEvent, JobMessage, Lane};
pub use object_key::ObjectKey;
pub use options::{InvalidOption, JobOptions};
