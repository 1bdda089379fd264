//! One suite for all object stores, and what only one of them can do.

#[path = "objects/content.rs"]
mod content;
#[path = "objects/faults.rs"]
mod faults;
#[path = "objects/folder.rs"]
mod folder;
#[path = "objects/s3.rs"]
mod s3;
#[path = "objects/servers.rs"]
mod servers;
#[path = "objects/suite.rs"]
mod suite;
#[path = "objects/suite_parts.rs"]
mod suite_parts;
#[path = "objects/suite_uploads.rs"]
mod suite_uploads;
