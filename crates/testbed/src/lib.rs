//! Servers for tests to run against, and faults to put in front of them.
//!
//! A server is a process of its own, on a port of its own, with a folder of its own; all three are
//! gone when it is dropped. Nothing here waits without an end.

#![forbid(unsafe_code)]

mod admin_port;
pub mod collector;
pub mod fault_proxy;
pub mod mail;
pub mod mariadb;
pub mod postgres;
mod process;
pub mod redis;
pub mod redis_fleet;
pub mod s3;
mod server;
pub mod sink;
pub mod tls;

pub use admin_port::admin_port;
