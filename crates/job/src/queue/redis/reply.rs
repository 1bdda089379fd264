//! What streams answer.

use crate::message::JobEvent;
use crate::queue::EventId;

/// An entry's name, and its fields and values in turn.
pub(super) type Entry = (String, Vec<Vec<u8>>);

/// Entries by stream, nothing if none came in time.
pub(super) type Streams = Option<Vec<(String, Vec<Entry>)>>;

/// The name of the last one.
pub(super) fn last_entry(read: &Streams) -> Option<String> {
    let (_, entries) = read.as_ref()?.last()?;
    entries.last().map(|(id, _)| id.clone())
}

/// The events among them.
pub(super) fn events_in(read: Streams) -> Vec<(EventId, JobEvent)> {
    let entries = read.into_iter().flatten().flat_map(|(_, entries)| entries);
    let mut events = Vec::new();
    for (id, fields) in entries {
        match serde_json::from_slice(fields.get(1).map_or(&[][..], Vec::as_slice)) {
            Ok(event) => events.push((EventId(id), event)),
            Err(error) => tracing::error!(entry = id, %error, "an entry of the queue is no event"),
        }
    }
    events
}
