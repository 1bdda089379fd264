//! The HTTP server underneath the routes, against clients of every kind.

#![allow(missing_docs)]

mod addresses;
mod answers;
mod bodies;
mod client;
mod counts;
mod crowd;
mod heads;
mod host;
mod places;
mod shutdown;
mod tls;
