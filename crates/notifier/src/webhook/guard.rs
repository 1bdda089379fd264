//! Keeps users from calling, by way of a webhook, what only we can reach.
//!
//! A name is looked up once. If one of its addresses is not public, none is called; else the
//! connection goes to what was looked at, and not to what the name stands for a moment later.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Who knows the addresses of a name.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// All of them.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system, with its files and servers.
#[derive(Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a host is not called.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} is internal: its operator has to allow it")]
pub(super) struct Forbidden {
    host: String,
}

/// Looks at addresses before they are connected to.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    internal_hosts: Arc<HashSet<String>>,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    pub(super) fn new(internal_hosts: &[String], lookup: Arc<dyn Lookup>) -> Self {
        let hosts = internal_hosts.iter().map(|host| plain(host)).collect();
        Self { internal_hosts: Arc::new(hosts), lookup }
    }

    /// Whether a URL may be called, as far as it says so itself: names are looked up later, numbers
    /// never.
    pub(super) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        let host = address.to_string();
        let may = is_public(address) || self.internal_hosts.contains(&host);
        if may { Ok(()) } else { Err(Forbidden { host }) }
    }

    async fn look(self, name: String) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
        let addresses = self.lookup.addresses(name.clone()).await?;
        let host = plain(&name);
        if !self.internal_hosts.contains(&host) && !addresses.iter().copied().all(is_public) {
            return Err(Forbidden { host }.into());
        }
        Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().look(name.as_str().to_owned()))
    }
}

/// The refusal behind an error, if it is one.
pub(super) fn forbidden<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Forbidden> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(forbidden) = error.downcast_ref() {
            return Some(forbidden);
        }
        next = error.source();
    }
    None
}

/// A name as it is compared.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase()
}

/// Whether an address is anybody's: none of the IANA special-purpose registries (RFC 6890 and its
/// updates), and none that stands for another address.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(net, bits)| {
            let differing = u32::from(address) ^ u32::from(*net);
            differing.leading_zeros() >= *bits
        }),
        // What is not handed out yet is nobody's either.
        IpAddr::V6(address) => {
            address.segments()[0] >> 13 == 1
                && !SPECIAL_V6.iter().any(|(net, bits)| {
                    let differing = u128::from(address) ^ u128::from(*net);
                    differing.leading_zeros() >= *bits
                })
        }
    }
}

/// In the last row, what no registry has: the server that machines in Azure get their settings and
/// certificates from, at an address of the public ones (168.63.129.16).
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// Within `2000::/3`. The first has Teredo in it; the third, 6to4, stands for an IPv4 address.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_not_public_up_to_its_edges() {
        for (outside, inside) in [
            ("1.0.0.0", "0.255.255.255"),
            ("9.255.255.255", "10.0.0.0"),
            ("11.0.0.0", "10.255.255.255"),
            ("100.63.255.255", "100.64.0.0"),
            ("100.128.0.0", "100.127.255.255"),
            ("126.255.255.255", "127.0.0.1"),
            ("128.0.0.0", "127.255.255.255"),
            ("168.63.129.15", "168.63.129.16"),
            ("168.63.129.17", "168.63.129.16"),
            ("169.253.255.255", "169.254.0.0"),
            ("169.255.0.0", "169.254.169.254"),
            ("172.15.255.255", "172.16.0.0"),
            ("172.32.0.0", "172.31.255.255"),
            ("192.0.1.0", "192.0.0.255"),
            ("192.0.3.0", "192.0.2.1"),
            ("192.88.98.255", "192.88.99.1"),
            ("192.167.255.255", "192.168.0.1"),
            ("192.169.0.0", "192.168.255.255"),
            ("198.17.255.255", "198.18.0.0"),
            ("198.20.0.0", "198.19.255.255"),
            ("198.51.99.255", "198.51.100.0"),
            ("203.0.114.0", "203.0.113.255"),
            ("223.255.255.255", "224.0.0.1"),
            ("8.8.8.8", "255.255.255.255"),
            ("2000::1", "::1"),
            ("2001:200::1", "2001:1ff::1"),
            ("2001:db7::1", "2001:db8::1"),
            ("2003::1", "2002:7f00:1::"),
            ("2606:4700::1", "4000::1"),
            ("3ffe::1", "3fff:fff::1"),
            ("2a00::1", "::ffff:127.0.0.1"),
            ("2a00::1", "::ffff:8.8.8.8"),
            ("2a00::1", "64:ff9b::7f00:1"),
            ("2a00::1", "fe80::1"),
            ("2a00::1", "fd00::1"),
            ("2a00::1", "ff02::1"),
            ("2a00::1", "::"),
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }

    #[test]
    fn numbers_are_looked_at_however_they_are_written() {
        let guard = Guard::new(&["10.1.2.3".to_owned()], Arc::new(SystemLookup));
        let may = |url: &str| guard.check(&Url::parse(url).unwrap()).is_ok();
        for good in
            ["http://8.8.8.8/", "http://10.1.2.3:80/", "https://[2606:4700::1]/", "http://h/"]
        {
            assert!(may(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f.0.0.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://10.1.2.4/",
            "http://0/",
        ] {
            assert!(!may(bad), "{bad}");
        }
    }

    #[derive(Debug)]
    struct Says(&'static str, Vec<IpAddr>);

    impl Lookup for Says {
        fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            assert_eq!(name, self.0);
            let addresses = self.1.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    #[tokio::test]
    async fn one_internal_address_is_one_too_many() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let look = async |texts: &[&str], allowed: &[String]| {
            let lookup = Arc::new(Says("Inside.example.", addresses(texts)));
            let looked = Guard::new(allowed, lookup).look("Inside.example.".to_owned()).await;
            looked.map(Iterator::count).map_err(|error| error.to_string())
        };
        assert_eq!(look(&["8.8.8.8", "2606:4700::1"], &[]).await, Ok(2));
        let refused = look(&["8.8.8.8", "10.0.0.1"], &[]).await.unwrap_err();
        assert!(refused.starts_with("inside.example is internal"), "{refused}");
        assert_eq!(look(&["10.0.0.1"], &["INSIDE.example".to_owned()]).await, Ok(1));
    }
}
