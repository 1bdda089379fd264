//! A conversion in a process of its own, which can crash, hang or be taken over without harm to
//! others.
//!
//! The program starts itself again. The child gets no path, no address, no secret and no descriptor
//! but its standard ones; it shuts itself in (`sandbox`, `syscalls`) before it reads a byte of
//! media. Over `wire` it asks the parent for bytes of the source and sends the output back. The
//! parent believes nothing: lengths are bounded, frames come in one order (`output`), and a child
//! that breaks it, stalls or goes on for too long is killed (`watch`). A child that was taken over
//! can still lie about the sound of its own job, and nothing else.
//!
//! Errors of the source and the sink are the parent's own and come back as they are; those of the
//! codec come as [`RemoteError`], with the kind, the words and the advice that they had in the
//! child.

mod child;
mod diagnosis;
mod error;
mod output;
mod parent;
mod process;
mod sandbox;
mod syscalls;
mod watch;
mod wire;

#[cfg(test)]
mod hostile_children;

pub use child::child_main;
pub use error::{Death, IsolateError, Misconduct, RemoteCause, RemoteError};
pub use parent::{protections, transcode};
#[cfg(feature = "faults")]
#[doc(hidden)]
pub use sandbox::shut_in;
pub use sandbox::{Protections, SandboxLimits};

/// The argument with which this program starts itself as a child. A program that uses
/// [`transcode`] must then call [`child_main`], first of all, and end with what it returns.
pub const CHILD_ARGUMENT: &str = "isolated-attempt";
