//! Keeps the metrics of this process, and renders them for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use metrics::{KeyName, Label, SharedString};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::time::sleep;

use crate::catalogue::{Component, FAMILIES, Family, Kind};

/// How often observations are put into their buckets: until then each is kept by itself.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a page of metrics is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of this process. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    prometheus: PrometheusHandle,
    process: Arc<Collector>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Keeps metrics from now on, of a process of these components. Within a runtime, once in
    /// a process.
    pub fn install(components: &[Component]) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for family in FAMILIES {
            if let Kind::Histogram(bounds) = family.kind {
                let name = Matcher::Full(family.name.to_owned());
                builder = builder.set_buckets_for_metric(name, bounds)?;
            }
        }
        let prometheus = builder.install_recorder()?;
        register(&[Component::Process]);
        register(components);
        metrics::gauge!("tonemill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let process = Arc::new(Collector::default());
        process.describe();
        let upkeep = prometheus.clone();
        tokio::spawn(async move {
            loop {
                sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { prometheus, process })
    }

    /// All of them, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.prometheus.render()
    }
}

/// Describes the metrics of these components, and begins to count.
pub fn register(components: &[Component]) {
    for family in FAMILIES.iter().filter(|family| components.contains(&family.component)) {
        family.describe();
        family.count_from_zero();
    }
}

impl Family {
    fn describe(&self) {
        let (name, unit, help) =
            (KeyName::from(self.name), self.unit(), SharedString::from(self.help));
        metrics::with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, unit, help),
        });
    }

    /// What has not happened yet has happened 0 times: else its first time goes unseen by a rate.
    /// That needs labels whose values are known beforehand.
    fn count_from_zero(&self) {
        let is_known = self.labels.iter().all(|label| !label.values.is_empty());
        if !matches!(self.kind, Kind::Counter) || !is_known {
            return;
        }
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let with = |labels: &Vec<Label>| {
                let labels = labels.clone();
                label.values.iter().map(move |value| {
                    let value = Label::from_static_parts(label.name, value);
                    labels.iter().cloned().chain([value]).collect()
                })
            };
            series = series.iter().flat_map(with).collect();
        }
        for labels in series {
            metrics::counter!(self.name, labels).increment(0);
        }
    }
}
