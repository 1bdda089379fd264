//! The only `unsafe` in the workspace: what FFmpeg and LAME offer in C and no safe crate covers.
//!
//! Each file owns one C object or one kind of read and hands out safe types. Handles free
//! themselves on drop; every return code goes through one check; callbacks never unwind.

#![allow(unsafe_code, reason = "this module is the funnel for it; each block argues its safety")]

pub(crate) mod demux;
pub(crate) mod frame;
pub(crate) mod lame;
pub(crate) mod resample;
