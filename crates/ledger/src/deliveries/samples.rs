//! One of everything that mails tell of, as it is owed: for whoever wants to know beforehand
//! whether the texts of mails are all right.

use serde_json::{Value, json};
use tonemill_job::message::{Failure, FailureKind, Finished, Position};
use tonemill_job::{JobId, Lane, ObjectKey};

use super::ALERT_EVENT;
use super::owe::{News, Told, payload};

/// Kinds of failures, each of which may have words of its own.
const FAILURES: [FailureKind; 5] = [
    FailureKind::BadInput,
    FailureKind::LimitExceeded,
    FailureKind::Transient,
    FailureKind::Crash,
    FailureKind::Bug,
];

/// Events, and what they tell: with everything that may be there, and with nothing that may not be.
#[must_use]
pub fn samples() -> Vec<(&'static str, Value)> {
    let mut samples = Vec::new();
    for (is_full, lane) in
        [(true, Lane::High), (true, Lane::Normal), (true, Lane::Low), (false, Lane::Normal)]
    {
        of_a_job(is_full, lane, &mut samples);
    }
    for alert in [
        json!({ "kind": "waiting", "seconds": 4_000 }),
        json!({ "kind": "quarantine", "count": 1 }),
        json!({ "kind": "deliveries", "count": 11 }),
    ] {
        samples.push((ALERT_EVENT, payload(ALERT_EVENT, 0, &json!({ "alert": alert }))));
    }
    samples
}

fn of_a_job(is_full: bool, lane: Lane, samples: &mut Vec<(&'static str, Value)>) {
    let id = JobId::new();
    let text = |text: &str| if is_full { text.to_owned() } else { String::new() };
    let (label, file_name) = (text("a label"), text("talk.mp4"));
    let told = Told { id, label: &label, file_name: &file_name, lane, created_ms: 0 };
    let mut add = |news: News<'_>| {
        let event = news.event();
        samples.push((event, payload(event, 0, &news.data(&told))));
    };
    add(News::Started);
    add(News::Finished(&Finished {
        output: ObjectKey::output(id, 1),
        bytes: 4_200_000,
        duration_seconds: 3_723.4,
        audio_blake3: String::new(),
        truncated: is_full,
        warnings: if is_full { vec!["the end is missing".to_owned()] } else { Vec::new() },
        report: Value::Null,
    }));
    for kind in FAILURES {
        add(News::Failed(&Failure {
            kind,
            stage: "decode".to_owned(),
            message: "there is no sound".to_owned(),
            advice: text("send sound"),
            chain: Vec::new(),
            probe: None,
            position: Position::default(),
        }));
    }
}
