//! The notifier against real mail servers, and webhooks that behave as badly as they can.

mod answers;
#[allow(dead_code, reason = "the tests of the ledger use the rest")]
#[path = "../../../ledger/tests/suite/bed.rs"]
mod bed;
mod courier;
mod mail;
mod webhooks;
