//! A page of metrics as Prometheus reads it, and what must be true of every one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tonemill_telemetry::catalogue::{FAMILIES, Family, Kind};

use crate::client::Client;
use crate::support::daemon::Daemon;

/// A page of metrics.
pub struct Page {
    /// By family: its kind.
    pub types: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    pub samples: Vec<Sample>,
}

pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    pub async fn of(address: SocketAddr) -> Self {
        let reply = Client::new(address).get("/metrics").send().await.expect(200);
        Self::parse(std::str::from_utf8(&reply.body).expect("text"))
    }

    pub fn parse(text: &str) -> Self {
        let mut page = Self { types: BTreeMap::new(), helps: BTreeSet::new(), samples: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>()) {
                Some(words) if words[0] == "HELP" => {
                    assert!(words[2].len() > 3, "{line}");
                    assert!(page.helps.insert(words[1].to_owned()), "twice: {line}");
                }
                Some(words) if words[0] == "TYPE" => {
                    let was = page.types.insert(words[1].to_owned(), words[2].to_owned());
                    assert_eq!(was, None, "{line}");
                }
                Some(_) => panic!("{line}"),
                None => page.samples.push(Sample::parse(line)),
            }
        }
        page
    }

    /// The family of a sample: that of a histogram's parts is the histogram.
    fn family_of(&self, sample: &Sample) -> &str {
        let name = sample.name.as_str();
        if let Some((family, _)) = self.types.get_key_value(name) {
            return family;
        }
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let found = family.and_then(|family| self.types.get_key_value(family));
        found.unwrap_or_else(|| panic!("{name} has no TYPE")).0
    }

    /// The sum of the samples of this name with these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_of = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels[*label] == *value)
        };
        self.samples.iter().filter(is_of).map(|sample| sample.value).sum()
    }

    /// The same of what is counted in whole numbers.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels) as u64
    }

    pub fn assert_conventional(&self) {
        assert_eq!(self.types.keys().collect::<BTreeSet<_>>(), self.helps.iter().collect());
        for (name, kind) in &self.types {
            if name.starts_with("process_") {
                continue;
            }
            let family = FAMILIES.iter().find(|family| family.name == name);
            let family = family.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
            let due = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            assert_eq!(kind, due, "{name}");
        }
        for sample in &self.samples {
            let name = self.family_of(sample);
            let family = FAMILIES.iter().find(|family| family.name == name);
            if let Some(family) = family {
                sample.assert_planned(family);
            }
        }
    }
}

impl Sample {
    /// `name{label="value",…} number`. No value of ours has a quotation mark or a comma.
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.trim_matches('"').to_owned())
        });
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        Self { name: name.to_owned(), labels: labels.collect(), value }
    }

    fn assert_planned(&self, family: &Family) {
        let mut labels = self.labels.clone();
        labels.remove("le");
        let names: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        let due: BTreeSet<&str> = family.labels.iter().map(|label| label.name).collect();
        assert_eq!(names, due, "{}", self.name);
        for label in family.labels.iter().filter(|label| !label.values.is_empty()) {
            let value = labels[label.name].as_str();
            assert!(label.values.contains(&value), "{}: {}={value}", self.name, label.name);
        }
        let Some(route) = labels.get("route") else { return };
        let document = tonemill_api::routes::document();
        let is_route = document.paths.paths.contains_key(route)
            || ["none", "/"].contains(&route.as_str())
            || route.starts_with("/docs")
            || route == "/openapi.json";
        assert!(is_route, "{}: {route}", self.name);
    }
}

/// Where a worker's admin port is, by its log.
pub async fn admin_port(worker: &Daemon) -> SocketAddr {
    crate::until("an admin port", async || tonemill_testbed::admin_port(&worker.log())).await
}
