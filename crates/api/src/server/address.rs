//! Whose request it is, seen through the proxies that are believed.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// Where a request comes from; every request carries it in its extensions.
///
/// An IPv4 address is one, even if the socket speaks IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// With `trusted_proxies` of them in front, each of which adds whom it was called by, the last
    /// that many entries are believed and the first of those is the client. What cannot be read so
    /// did not come through them: then it is `peer`.
    pub(super) fn find(peer: IpAddr, headers: &HeaderMap, trusted_proxies: usize) -> Self {
        let told = trusted_proxies.checked_sub(1).and_then(|skip| {
            let lines = headers.get_all("x-forwarded-for").iter();
            // A line that is no text is an entry that is no address: it must not shift the count.
            let lines = lines.map(|line| line.to_str().unwrap_or_default());
            let lines: Vec<&str> = lines.collect();
            let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
            read(entries.nth(skip)?.trim())
        });
        Self(told.unwrap_or(peer).to_canonical())
    }
}

/// Some proxies add the port.
fn read(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']'));
    bare.unwrap_or(entry)
        .parse()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
}
