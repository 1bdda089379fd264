//! The media that the project does not contain, where it is there: `$TONEMILL_MEDIA`, by default
//! `../shared/media` beside the project.

use std::path::{Path, PathBuf};

/// A folder or file of it. Says so and is `None` where it is missing.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = root().join(name);
    if path.exists() {
        return Some(path);
    }
    super::skip(format_args!("there is no {} (TONEMILL_MEDIA says where it is)", path.display()));
    None
}

fn root() -> PathBuf {
    let by_default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/media");
    std::env::var_os("TONEMILL_MEDIA").map_or(by_default, PathBuf::from)
}
