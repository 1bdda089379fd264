//! What the metrics say of it.

use std::num::NonZeroU32;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tonemill_api::server::{BodyRate, ServerConfig};
use tonemill_telemetry::catalogue::Component;
use tonemill_telemetry::metrics::register;

use crate::client::{Raw, until};
use crate::host::Host;

// On one thread, with a recorder of its own: so no other test is counted.
#[tokio::test(flavor = "current_thread")]
async fn connections_are_counted_by_how_they_end() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _ours = metrics::set_default_local_recorder(&recorder);
    register(&[Component::Api]);
    let says = |line: &str| handle.render().lines().any(|rendered| rendered == line);
    let limit = Duration::from_millis(300);
    let bytes_per_second = NonZeroU32::new(1000).expect("not zero");
    let config = ServerConfig {
        header_timeout: limit,
        body_rate: BodyRate { bytes_per_second, window: limit },
        max_connections_per_address: 2,
        ..ServerConfig::default()
    };
    let host = Host::start(config).await;

    let mut slow_body = Raw::connect(host.address).await;
    slow_body.post("/read", 1000).await;
    let mut slow_head = Raw::connect(host.address).await;
    until(|| says("tonemill_http_connections 2")).await;
    assert!(says("tonemill_http_connections_refused_total{reason=\"address\"} 0"));
    let mut refused = Raw::connect(host.address).await;
    assert_eq!(refused.read_to_end().await, "");
    assert!(says("tonemill_http_connections_refused_total{reason=\"address\"} 1"));

    assert_eq!(slow_head.read_to_end().await, "");
    assert!(says("tonemill_http_connections_cut_total{reason=\"header\"} 1"));
    slow_body.read_to_end().await;
    assert!(says("tonemill_http_bodies_too_slow_total 1"));
    drop((slow_body, slow_head, refused));
    until(|| says("tonemill_http_connections 0")).await;
    assert!(says("tonemill_http_connections_cut_total{reason=\"write_stall\"} 0"));
    host.stop().await;
}
