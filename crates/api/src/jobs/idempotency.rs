//! Requests that can be repeated without fear (draft-ietf-httpapi-idempotency-key-header): known by
//! their key, and to be the same by a hash of their options and bytes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tonemill_ledger::NewJob;
use tonemill_ledger::accept::MAX_IDEMPOTENCY_KEY_BYTES;
use tonemill_ledger::webhooks::NewWebhook;
use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// What makes two requests the same: the bytes and what is to become of them.
pub(crate) fn request_hash(new: &NewJob) -> Answer<String> {
    let NewJob { id, lane, label, file_name, options, input_bytes, input_blake3, webhook, .. } =
        new;
    // What came past us was not hashed: it is known by its name.
    let bytes = input_blake3.clone().unwrap_or_else(|| id.to_string());
    let all = (lane, label, file_name, options, input_bytes, bytes);
    let json = match webhook {
        // As before there were any, for requests that are known from then.
        None => serde_json::to_vec(&all),
        // Its name and its secret are others each time.
        Some(NewWebhook { url, events, .. }) => serde_json::to_vec(&(all, url, events)),
    };
    let json = json.map_err(|error| Problem::defect(&error))?;
    Ok(blake3::hash(&json).to_hex().to_string())
}

/// What the client calls its request.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let invalid = |why| Problem::bad_request(why).field("Idempotency-Key");
    let text = value.to_str().map_err(|_| invalid("the key is no text"))?;
    // A structured string has quotes (RFC 9651 section 3.3.3); many clients leave them away.
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return Err(invalid("the key has 1 to 190 characters"));
    }
    Ok(Some(text.to_owned()))
}

/// Idempotency keys of requests that are being answered.
#[derive(Debug, Default)]
pub(crate) struct BusyKeys(Mutex<HashSet<(Uuid, String)>>);

impl BusyKeys {
    /// Lets in one request of a key at a time, in this process: the second comes again later.
    pub(super) fn enter(&self, user: Uuid, key: &str) -> Answer<Busy<'_>> {
        let entry = (user, key.to_owned());
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(entry.clone()) {
            let why = "a request with this Idempotency-Key is under way";
            let pause = Duration::from_secs(1);
            return Err(Problem::conflict(why).field("Idempotency-Key").retry_after(pause));
        }
        Ok(Busy { keys: self, entry })
    }
}

/// Lets the next request of a key in when it is dropped.
pub(super) struct Busy<'a> {
    keys: &'a BusyKeys,
    entry: (Uuid, String),
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use tonemill_job::{JobId, JobOptions, Lane, ObjectKey};
    use tonemill_ledger::deliveries::{JOB_EVENTS, default_events};

    use super::*;
    use crate::webhooks::target::new_webhook;

    #[test]
    fn the_same_bytes_or_the_same_upload_are_the_same() {
        let job = |input_blake3: Option<&str>| {
            let id = JobId::new();
            NewJob {
                id,
                user: Uuid::nil(),
                lane: Lane::Normal,
                label: String::new(),
                file_name: "talk.mp4".to_owned(),
                media: "mp4".to_owned(),
                options: JobOptions::default(),
                traceparent: None,
                input: ObjectKey::upload(id),
                input_bytes: 5,
                input_blake3: input_blake3.map(str::to_owned),
                is_upload: true,
                webhook: None,
            }
        };
        let hash = |job: &NewJob| request_hash(job).unwrap();
        assert_eq!(hash(&job(Some("ab"))), hash(&job(Some("ab"))));
        assert_ne!(hash(&job(Some("ab"))), hash(&job(Some("cd"))));
        let direct = job(None);
        assert_eq!(hash(&direct), hash(&direct.clone()));
        assert_ne!(hash(&direct), hash(&job(None)), "as long, and of the same name");

        let hook = |url: &str, events: Vec<String>| {
            let new = new_webhook(url.to_owned(), events);
            hash(&NewJob { webhook: Some(new), ..direct.clone() })
        };
        let (one, all) = (default_events, JOB_EVENTS.map(str::to_owned).to_vec());
        assert_eq!(hook("http://h/", one()), hook("http://h/", one()), "the secret is another");
        for other in [hash(&direct), hook("http://i/", one()), hook("http://h/", all)] {
            assert_ne!(hook("http://h/", one()), other);
        }
    }
}
