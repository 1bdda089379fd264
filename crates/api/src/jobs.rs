//! Jobs over HTTP: submit, look, watch, fetch, end.
//!
//! | file | what |
//! |---|---|
//! | `request` | what may be asked of a job |
//! | `intake` | bytes of an upload on their way into the store |
//! | `create` | an upload becomes a job |
//! | `view` | a job as its user sees it |
//! | `look` | one job, many jobs |
//! | `events` | a job's life as it happens |
//! | `output` | the MP3 |
//! | `wish` | cancel, delete, replay |

pub mod create;
pub mod events;
pub(crate) mod intake;
pub mod look;
pub mod output;
pub mod request;
pub mod view;
pub mod wish;
