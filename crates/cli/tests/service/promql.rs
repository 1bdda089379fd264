//! Which metrics a text mentions, be it an expression of Prometheus' language or not, and whether
//! the catalogue has them so. promtool knows the grammar; what our processes tell, only the
//! catalogue does.

use std::collections::BTreeSet;

use tonemill_telemetry::catalogue::{FAMILIES, Family, Kind};

/// Labels that Prometheus gives to every series: whom it asked.
const OF_THE_TARGET: [&str; 2] = ["instance", "job"];

/// A metric that is mentioned, with its matchers.
#[derive(Debug, PartialEq)]
pub struct Mention<'a> {
    name: &'a str,
    matchers: Vec<Matcher<'a>>,
}

#[derive(Debug, PartialEq)]
struct Matcher<'a> {
    label: &'a str,
    /// Those that it names: several of an expression such as `a|b`.
    values: Vec<&'a str>,
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Whatever looks like a metric of ours.
pub fn mentions(text: &str) -> Vec<Mention<'_>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find(is_of_name) {
        rest = &rest[start..];
        let end = rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if !["tonemill_", "process_"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let matchers = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let matchers = matchers.map_or_else(Vec::new, |(inside, _)| matchers_of(inside));
        found.push(Mention { name, matchers });
    }
    found
}

/// `label="value", …`: no value of ours has a quotation mark or a brace.
fn matchers_of(inside: &str) -> Vec<Matcher<'_>> {
    let parts: Vec<&str> = inside.split('"').collect();
    let pairs = parts.chunks_exact(2).map(|pair| {
        let label = pair[0].trim_matches(|letter| !is_of_name(letter));
        Matcher { label, values: pair[1].split('|').collect() }
    });
    pairs.collect()
}

impl<'a> Mention<'a> {
    /// The family that it is of, under the name that a page of metrics has it; why there is none.
    pub fn family(&self) -> Result<&'a str, String> {
        let name = self.name;
        if name.starts_with("process_") {
            return self.check_labels(None).map(|()| name);
        }
        let is_histogram = |family: &&Family| matches!(family.kind, Kind::Histogram(_));
        let plain = FAMILIES.iter().find(|family| family.name == name && !is_histogram(family));
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
        let whole = parts
            .filter_map(|name| FAMILIES.iter().find(|family| family.name == name))
            .find(is_histogram);
        let family =
            plain.or(whole).ok_or_else(|| format!("{name}: no process has such series"))?;
        self.check_labels(Some(family))?;
        Ok(&name[..family.name.len()])
    }

    fn check_labels(&self, family: Option<&Family>) -> Result<(), String> {
        let labels = family.map_or(&[][..], |family| family.labels);
        for Matcher { label, values } in &self.matchers {
            if OF_THE_TARGET.contains(label) || (*label == "le" && self.name.ends_with("_bucket")) {
                continue;
            }
            let known = labels.iter().find(|known| known.name == *label);
            let known = known.ok_or_else(|| format!("{}: has no label {label}", self.name))?;
            let strange = values.iter().find(|value| !known.values.contains(value));
            if let Some(value) = strange.filter(|_| !known.values.is_empty()) {
                return Err(format!("{}: {label} is never {value}", self.name));
            }
        }
        Ok(())
    }
}

/// Labels by which `expression` groups, or that `legend` shows, and that nothing in the expression
/// has.
pub fn strange_labels<'a>(expression: &'a str, legend: &'a str) -> Vec<&'a str> {
    let told: BTreeSet<&str> = mentions(expression)
        .iter()
        .filter_map(|mention| mention.family().ok())
        .filter_map(|name| FAMILIES.iter().find(|family| family.name == name))
        .flat_map(|family| family.labels.iter().map(|label| label.name))
        .chain(OF_THE_TARGET)
        .chain(["le"])
        .collect();
    let groups = expression.split("by (").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let shown = legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0));
    let labels = groups.flat_map(|group| group.split(',')).chain(shown).map(str::trim);
    labels.filter(|label| !told.contains(label)).collect()
}

#[test]
fn mentions_are_found_wherever_they_are() {
    let text = r#"histogram_quantile(0.9, sum by (le) (rate(tonemill_a_seconds_bucket{x=~"b|c", y!="d"}[5m])))
        / process_open_fds, tonemill-api, my_tonemill_b; see tonemill_c: tonemill_d"#;
    let matcher = |label, values: &[&'static str]| Matcher { label, values: values.to_vec() };
    let plain = |name| Mention { name, matchers: Vec::new() };
    let histogram = Mention {
        name: "tonemill_a_seconds_bucket",
        matchers: vec![matcher("x", &["b", "c"]), matcher("y", &["d"])],
    };
    let due = [histogram, plain("process_open_fds"), plain("tonemill_c"), plain("tonemill_d")];
    assert_eq!(mentions(text), due);
}

#[test]
fn what_no_process_tells_is_noticed() {
    let families = |text| mentions(text).iter().map(Mention::family).collect::<Result<Vec<_>, _>>();
    for (text, family) in [
        ("tonemill_jobs{state=~\"waiting|queued\"}", "tonemill_jobs"),
        (
            "tonemill_jobs_ended_total{failure!=\"none\", instance=\"a\"}",
            "tonemill_jobs_ended_total",
        ),
        ("tonemill_stage_duration_seconds_bucket{le=\"1\"}", "tonemill_stage_duration_seconds"),
        ("tonemill_stage_duration_seconds_count", "tonemill_stage_duration_seconds"),
        ("tonemill_http_requests_total{status=~\"5..\"}", "tonemill_http_requests_total"),
        ("process_open_fds{job=\"worker\"}", "process_open_fds"),
    ] {
        assert_eq!(families(text), Ok(vec![family]));
    }
    for (text, why) in [
        ("tonemill_jobs_total", "tonemill_jobs_total: no process has such series"),
        // A histogram has no series of its own name, and nothing else has its parts.
        ("tonemill_stage_duration_seconds", "seconds: no process has such series"),
        ("tonemill_jobs_sum", "tonemill_jobs_sum: no process has such series"),
        ("tonemill_jobs{lanes=\"low\"}", "tonemill_jobs: has no label lanes"),
        ("tonemill_jobs{le=\"1\"}", "tonemill_jobs: has no label le"),
        ("tonemill_jobs{state=~\"waiting|finished\"}", "tonemill_jobs: state is never finished"),
        ("process_open_fds{lane=\"low\"}", "process_open_fds: has no label lane"),
    ] {
        let said = families(text).expect_err(text);
        assert!(said.ends_with(why), "{said}");
    }
    let by = "sum by (lane, stage) (tonemill_jobs)";
    assert_eq!(strange_labels(by, "{{lane}} {{route}} {{instance}}"), ["stage", "route"]);
}
