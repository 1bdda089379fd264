//! The texts of mails. For each event there are three templates (Jinja): `EVENT.subject.txt`,
//! `EVENT.txt` and `EVENT.html`. What stands in the operator's folder takes the place of ours. In
//! HTML every value is escaped.

use std::io;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

use crate::NotifierError;

/// Ours.
const BUILT_IN: [(&str, &str); 13] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("job.started.subject.txt", include_str!("../../templates/job.started.subject.txt")),
    ("job.started.txt", include_str!("../../templates/job.started.txt")),
    ("job.started.html", include_str!("../../templates/job.started.html")),
    ("job.finished.subject.txt", include_str!("../../templates/job.finished.subject.txt")),
    ("job.finished.txt", include_str!("../../templates/job.finished.txt")),
    ("job.finished.html", include_str!("../../templates/job.finished.html")),
    ("job.failed.subject.txt", include_str!("../../templates/job.failed.subject.txt")),
    ("job.failed.txt", include_str!("../../templates/job.failed.txt")),
    ("job.failed.html", include_str!("../../templates/job.failed.html")),
    ("system.alert.subject.txt", include_str!("../../templates/system.alert.subject.txt")),
    ("system.alert.txt", include_str!("../../templates/system.alert.txt")),
    ("system.alert.html", include_str!("../../templates/system.alert.html")),
];
/// Steps of a template at most: a loop without an end is a mistake that is found at the start.
const FUEL: u64 = 100_000;

/// Every text of a mail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Ours, but for those that are in `folder`.
    pub(super) fn load(folder: Option<&Path>) -> Result<Self, NotifierError> {
        folder.map_or(Ok(()), only_ours)?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("bytes", bytes);
        environment.add_filter("duration", duration);
        for (name, text) in BUILT_IN {
            let text = theirs(folder, name)?.unwrap_or_else(|| text.to_owned());
            environment
                .add_template_owned(name, text)
                .map_err(|source| NotifierError::Template { name: name.to_owned(), source })?;
        }
        Ok(Self(environment))
    }

    /// The texts about an event.
    pub(super) fn texts(&self, event: &str, about: Value) -> Result<Texts, NotifierError> {
        let about = minijinja::Value::from(Serde(about));
        let text = |end: &str| {
            let name = format!("{event}.{end}");
            let template = self.0.get_template(&name);
            template
                .and_then(|template| template.render(about.clone()))
                .map_err(|source| NotifierError::Template { name, source })
        };
        Ok(Texts { subject: text("subject.txt")?, text: text("txt")?, html: text("html")? })
    }
}

/// Whether the folder is there, and holds no text that would never be used: its name is a slip.
fn only_ours(folder: &Path) -> Result<(), NotifierError> {
    let unusable =
        |path: &Path, source| Err(NotifierError::File { path: path.display().to_string(), source });
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return unusable(folder, error),
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => return unusable(folder, error),
        };
        let is_text = path.extension().is_some_and(|end| end == "txt" || end == "html");
        if is_text && !BUILT_IN.iter().any(|(name, _)| path.file_name() == Some(name.as_ref())) {
            return unusable(&path, io::Error::other("no mail has a text of this name"));
        }
    }
    Ok(())
}

fn theirs(folder: Option<&Path>, name: &str) -> Result<Option<String>, NotifierError> {
    let Some(folder) = folder else { return Ok(None) };
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NotifierError::File { path: path.display().to_string(), source }),
    }
}

/// `4.2 MB`.
fn bytes(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes:.0} bytes"),
    }
}

/// `1:02:03`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(bytes(4_200_000.0), "4.2 MB");
        assert_eq!(bytes(999.0), "999 bytes");
        assert_eq!((duration(3723.4), duration(59.6)), ("1:02:03".to_owned(), "1:00".to_owned()));
    }
}
