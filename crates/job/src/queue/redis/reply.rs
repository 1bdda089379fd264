//! What streams answer.

use crate::message::{JobEvent, VERSION};
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

/// Entries of a stream of events.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) events: Vec<(EventId, JobEvent)>,
    /// Names of those that are no events.
    pub(super) unreadable: Vec<String>,
}

/// Which of them are events. One of a later version that cannot be read is left out: whoever can
/// will be given it in the end.
pub(super) fn sorted(read: Streams) -> Sorted {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u32,
    }
    let mut sorted = Sorted::default();
    for (id, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
        let text = fields.get(1).map_or(&[][..], Vec::as_slice);
        match serde_json::from_slice(text) {
            Ok(event) => sorted.events.push((EventId(id), event)),
            Err(_) if serde_json::from_slice::<Version>(text).is_ok_and(|v| v.v > VERSION) => {
                tracing::warn!(
                    entry = id,
                    "an event of a later version waits for a later recorder"
                );
            }
            Err(error) => {
                tracing::error!(entry = id, %error, "an entry of the queue is no event");
                sorted.unreadable.push(id);
            }
        }
    }
    sorted
}
