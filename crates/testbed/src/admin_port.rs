//! Where a process under test answers probes: it says so in its log, where it may have any port.

use std::net::SocketAddr;

/// The address of the admin port by a `log` in JSON; `None` if it is not open yet.
#[must_use]
pub fn admin_port(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("admin port open"))?;
    // The last line may not be whole yet.
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["address"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::admin_port;

    #[test]
    fn a_log_says_where_the_port_is() {
        let line = r#"{"message":"admin port open","address":"127.0.0.1:9464"}"#;
        let log = format!("{{\"message\":\"starts\"}}\n{line}\n");
        assert_eq!(admin_port(&log), Some(([127, 0, 0, 1], 9464).into()));
        for not_yet in ["", "\n", &log[..log.len() - 5]] {
            assert_eq!(admin_port(not_yet), None, "{not_yet}");
        }
    }
}
