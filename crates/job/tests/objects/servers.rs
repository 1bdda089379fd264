//! How to reach a server.

use std::time::Duration;

use tonemill_job::objects::{S3Config, S3Credentials, S3Deadlines, S3Store};
use tonemill_testbed::fault_proxy::FaultProxy;
use tonemill_testbed::s3::S3Server;

/// How to reach the bucket of `server`.
pub fn config(server: &S3Server) -> S3Config {
    let credentials = S3Credentials::Static {
        access_key_id: server.access_key_id.clone(),
        secret_access_key: server.secret_access_key.clone(),
        session_token: None,
    };
    let config = S3Config::new(Some(server.endpoint.clone()), &server.bucket, credentials);
    S3Config { region: server.region.clone(), ..config }
}

/// A server behind a proxy, and a store that sees it through the proxy.
pub async fn through_proxy(server: &S3Server, deadlines: S3Deadlines) -> (FaultProxy, S3Store) {
    let proxy = FaultProxy::http(&server.endpoint).await;
    let config = S3Config { endpoint: Some(proxy.endpoint()), deadlines, ..config(server) };
    (proxy, S3Store::new(config).await.unwrap())
}

/// Deadlines that a healthy server meets, and that a test can wait for.
pub fn short() -> S3Deadlines {
    S3Deadlines {
        connect: Duration::from_secs(1),
        attempt: Duration::from_millis(700),
        call: Duration::from_secs(2),
        range: Duration::from_secs(2),
        stall: Duration::from_millis(700),
    }
}
