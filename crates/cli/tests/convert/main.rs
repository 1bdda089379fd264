//! The program as people use it on one machine, `tonemill convert` and `tonemill probe`: each test
//! runs it on media of known content, on real files or on hostile ones, and asks other programs
//! what came out.
//!
//! One program for all of them: each would link everything else once more. They share nothing but
//! the fixtures; what a test measures or sets (memory, time, descriptors, working folders,
//! signals), it measures in processes of its own and sets for these.

#[path = "../support/mod.rs"]
mod support;

mod decoders;
mod exit_codes;
mod files;
mod hostile_media;
mod hostile_names;
mod interrupt;
mod length;
mod probe;
mod real_media;
mod report;
mod sandbox;
mod sound_options;
mod tags;
mod threads;
mod tracks;
