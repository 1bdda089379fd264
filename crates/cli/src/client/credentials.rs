//! Log-ins, one for each service: a file that its user alone can read.
//!
//! A refresh token is good once. Whoever exchanges one holds a lock meanwhile, so that a second
//! client finds the next one in the file instead of using the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::LOOK;
use crate::client::config_dir::ConfigDir;
use crate::failure::Failure;
use crate::text::shown;

const FILE: &str = "credentials.json";
const LOCK: &str = "credentials.lock";
/// How long another client may hold the lock: longer than it waits for a service.
const LOCK_PATIENCE: Duration = Duration::from_mins(2);

/// All log-ins. Without `Debug`: tokens are printed nowhere.
#[derive(Serialize, Deserialize, Default)]
pub struct LogIns {
    /// The service of the last one.
    pub current: Option<String>,
    /// By the address of the service.
    pub servers: BTreeMap<String, LogIn>,
}

/// A log-in.
#[derive(Serialize, Deserialize, Clone)]
pub struct LogIn {
    /// The user.
    pub name: String,
    pub access_token: String,
    pub refresh_token: String,
    /// Whom to trust besides the system's authorities.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl LogIns {
    /// What the file says.
    pub fn read(dir: &ConfigDir) -> Result<Self, Failure> {
        let Some(bytes) = dir.read(FILE)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|_| {
            let path = dir.file(FILE);
            Failure::fault(format!("{} is damaged", shown(&path)), "remove it and log in again")
        })
    }

    /// Writes the file. The lock must be held.
    pub fn write(&self, dir: &ConfigDir, _lock: &Lock) -> Result<(), Failure> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::fault(error.to_string(), "report this defect"))?;
        dir.write(FILE, &bytes)
    }
}

/// Held while log-ins change. The file of log-ins is replaced, so another one is locked.
pub struct Lock(#[allow(dead_code, reason = "closing it unlocks")] File);

impl Lock {
    /// Waits for it.
    pub async fn take(dir: &ConfigDir) -> Result<Self, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(file) = dir.try_lock(LOCK)? {
                return Ok(Self(file));
            }
            if begun.elapsed() > LOCK_PATIENCE {
                let path = dir.file(LOCK);
                let message = format!("another tonemill holds {}", shown(&path));
                return Err(Failure::fault(message, "end it and try again"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
