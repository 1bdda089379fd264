//! Whose request it is, behind proxies and liars.

use tonemill_api::server::ServerConfig;

use crate::client::Raw;
use crate::host::Host;

#[tokio::test]
async fn the_client_is_who_the_trusted_proxies_say() {
    let peer = "127.0.0.1";
    let cases: &[(usize, &[&str], &str)] = &[
        (0, &[], peer),
        (0, &["192.0.2.1"], peer),
        (1, &[], peer),
        (1, &["192.0.2.1"], "192.0.2.1"),
        (1, &["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
        (1, &["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
        (1, &["2001:db8::1"], "2001:db8::1"),
        (1, &["[2001:db8::1]"], "2001:db8::1"),
        (1, &["[2001:db8::1]:443"], "2001:db8::1"),
        (1, &["192.0.2.1:443"], "192.0.2.1"),
        (1, &["::ffff:192.0.2.1"], "192.0.2.1"),
        (1, &["nonsense, 192.0.2.1"], "192.0.2.1"),
        (1, &["192.0.2.1, nonsense"], peer),
        (1, &["192.0.2.1,"], peer),
        (1, &["192.0.2.1", ""], peer),
        (1, &["192.0.2.1", "caf\u{e9}"], peer),
        (1, &["192.0.2.1", "caf\u{e9}, 192.0.2.2"], peer),
        (2, &["192.0.2.1"], peer),
        (2, &["192.0.2.1, 192.0.2.2"], "192.0.2.1"),
        (2, &["198.51.100.9, 192.0.2.1", "192.0.2.2"], "192.0.2.1"),
        (2, &["198.51.100.9", "192.0.2.1,192.0.2.2"], "192.0.2.1"),
        (2, &["192.0.2.1, nonsense"], "192.0.2.1"),
        (2, &["nonsense, 192.0.2.1"], peer),
        (usize::MAX, &["192.0.2.1"], peer),
    ];
    for (trusted_proxies, lines, client) in cases {
        let config = ServerConfig { trusted_proxies: *trusted_proxies, ..ServerConfig::default() };
        let host = Host::start(config).await;
        let mut raw = Raw::connect(host.address).await;
        let lines: Vec<_> =
            lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        let lines = lines.concat();
        raw.send(format!("GET /address HTTP/1.0\r\n{lines}\r\n")).await;
        let answer = raw.read_to_end().await;
        let told = answer.rsplit("\r\n").next();
        assert_eq!(told, Some(*client), "{trusted_proxies} proxies, {lines:?}");
        host.stop().await;
    }
}
