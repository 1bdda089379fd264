//! Jobs over HTTP: submit, look, watch, fetch, end.
//!
//! | file | what |
//! |---|---|
//! | `request` | what may be asked of a job |
//! | `intake` | bytes of an upload on their way into the store |
//! | `form` | an upload in a form |
//! | `disposition` | what a body is called |
//! | `quotas` | what a user has room for |
//! | `idempotency` | requests that can be repeated |
//! | `create` | an upload becomes a job |
//! | `view` | a job as its user sees it |
//! | `look` | one job, many jobs |
//! | `events` | a job's life as it happens |
//! | `output` | the MP3 |
//! | `transitions` | cancel, delete, replay |

pub mod create;
mod disposition;
pub mod events;
mod form;
pub(crate) mod idempotency;
pub(crate) mod intake;
pub mod look;
pub mod output;
pub(crate) mod quotas;
pub mod request;
pub mod transitions;
pub mod view;
