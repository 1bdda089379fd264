//! What is in a store of a job.

use tonemill_job::objects::{ListedObject, ObjectStore, StoreError, size_of};
use tonemill_job::{JobId, ObjectKey};

use crate::job::Job;
use crate::state::JobState;

/// Outputs of one job that are looked at: as many as there can be attempts, and more.
const OUTPUTS: usize = 100;

/// What is in the store of a job.
pub(super) struct Left {
    /// Whether its upload is, if the ledger or its card names one.
    pub(super) input: bool,
    /// Outputs, the last attempt's first; of a finished job, its own.
    pub(super) outputs: Vec<ListedObject>,
}

impl Left {
    /// The number of the last attempt that has an output; 0 if none has.
    pub(super) fn last_attempt(&self) -> u32 {
        self.outputs.first().map_or(0, |output| attempt_of(&output.key))
    }
}

pub(super) async fn look(store: &dyn ObjectStore, job: &Job) -> Result<Left, StoreError> {
    if let (JobState::Finished, Some(output)) = (job.state, &job.output) {
        let bytes = size_of(store, &output.key).await?;
        let own = |bytes| ListedObject {
            key: output.key.clone(),
            bytes,
            modified: std::time::SystemTime::UNIX_EPOCH,
        };
        return Ok(Left { input: false, outputs: bytes.map(own).into_iter().collect() });
    }
    let input = match &job.input {
        Some(key) => size_of(store, key).await?.is_some(),
        None => false,
    };
    Ok(Left { input, outputs: outputs(store, job.id).await? })
}

/// Outputs of a job, the last attempt's first.
pub(super) async fn outputs(
    store: &dyn ObjectStore,
    job: JobId,
) -> Result<Vec<ListedObject>, StoreError> {
    let mut found = store.list(&ObjectKey::outputs_of(job), None, OUTPUTS).await?;
    found.sort_by_key(|object| std::cmp::Reverse(attempt_of(&object.key)));
    Ok(found)
}

/// The attempt in the key of an output.
pub(super) fn attempt_of(output: &ObjectKey) -> u32 {
    let name = output.as_str().rsplit('/').next().unwrap_or_default();
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
