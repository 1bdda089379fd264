//! Where Redis is, from a URL:
//!
//! - `redis://[user:password@]host[:port][/db]`, and `unix:///path` for a socket;
//! - `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/db]`: the user and password
//!   are those of the servers; a sentinel's own are `sentinel_user` and `sentinel_password` in the
//!   query;
//! - `redis+cluster://[user:password@]host[:port][,host[:port]…]`;
//! - `rediss` instead of `redis` for TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsMode};
use tokio::sync::Mutex;
use url::Url;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where to connect to.
#[derive(Clone)]
pub(super) enum Address {
    Server(Box<Client>),
    Sentinel(Arc<Mutex<SentinelClient>>),
    Cluster(Box<redis::cluster::ClusterClient>),
}

/// A URL that leads to no Redis. Never shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("not a URL such as redis://host:6379")]
    Syntax(#[source] url::ParseError),
    /// A kind of URL that is not known.
    #[error("{0}:// is none of redis://, rediss://, unix://, redis+sentinel://, redis+cluster://")]
    Scheme(String),
    /// A part is missing or makes no sense.
    #[error("the URL's {0} is missing or wrong")]
    Part(&'static str),
    /// The client library refuses it.
    #[error("not a Redis URL")]
    Refused(#[source] RedisError),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(AddressError::Syntax(url::ParseError::RelativeUrlWithoutBase))?;
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" | "unix" => false,
            "rediss" => true,
            _ => return Err(AddressError::Scheme(scheme.to_owned())),
        };
        match (base, kind) {
            (_, "") | ("redis", "unix") => {
                let client = Client::open(text).map_err(AddressError::Refused)?;
                Ok(Self::Server(Box::new(client)))
            }
            ("redis" | "rediss", "sentinel") => Nodes::parse(rest, SENTINEL_PORT)?.sentinel(tls),
            ("redis" | "rediss", "cluster") => Nodes::parse(rest, REDIS_PORT)?.cluster(tls),
            _ => Err(AddressError::Scheme(scheme.to_owned())),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Sentinel(_) => "Sentinel",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// What a URL with several hosts says.
struct Nodes {
    hosts: Vec<(String, u16)>,
    /// With the first host alone.
    url: Url,
}

impl Nodes {
    fn parse(rest: &str, default_port: u16) -> Result<Self, AddressError> {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut nodes = Vec::new();
        for host in hosts.split(',') {
            let url = Url::parse(&format!("redis://{host}")).map_err(AddressError::Syntax)?;
            let name = url.host_str().filter(|name| !name.is_empty());
            let name = name.ok_or(AddressError::Part("host"))?.to_owned();
            nodes.push((name, url.port().unwrap_or(default_port)));
        }
        let separator = if login.is_empty() { "" } else { "@" };
        let first = hosts.split(',').next().unwrap_or_default();
        let url = Url::parse(&format!("redis://{login}{separator}{first}{tail}"))
            .map_err(AddressError::Syntax)?;
        Ok(Self { hosts: nodes, url })
    }

    /// The login as the library reads it from a URL: decoded.
    fn login(&self) -> Result<(Option<String>, Option<String>), AddressError> {
        let mut url = self.url.clone();
        url.set_path("");
        url.set_query(None);
        let info: ConnectionInfo =
            url.as_str().into_connection_info().map_err(AddressError::Refused)?;
        let settings = info.redis_settings();
        Ok((settings.username().map(str::to_owned), settings.password().map(str::to_owned)))
    }

    fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    }

    fn sentinel(&self, tls: bool) -> Result<Address, AddressError> {
        let mut path = self.url.path_segments().into_iter().flatten();
        let master = path.next().filter(|name| !name.is_empty());
        let master = master.ok_or(AddressError::Part("name of the master"))?;
        let database = match path.next() {
            None | Some("") => 0,
            Some(text) => text.parse().map_err(|_| AddressError::Part("database"))?,
        };
        let address = |(host, port): &(String, u16)| {
            if tls {
                ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
        };
        let servers = SentinelServerType::Master;
        let mut builder =
            SentinelClientBuilder::new(self.hosts.iter().map(address), master, servers)
                .map_err(AddressError::Refused)?
                .set_client_to_redis_db(database);
        if tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        let (user, password) = self.login()?;
        if let Some(user) = user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = self.query("sentinel_user") {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = self.query("sentinel_password") {
            builder = builder.set_client_to_sentinel_password(password);
        }
        let client = builder.build().map_err(AddressError::Refused)?;
        Ok(Address::Sentinel(Arc::new(Mutex::new(client))))
    }

    fn cluster(&self, tls: bool) -> Result<Address, AddressError> {
        let scheme = if tls { "rediss" } else { "redis" };
        let nodes = self.hosts.iter().map(|(host, port)| format!("{scheme}://{host}:{port}"));
        let mut builder = ClusterClientBuilder::new(nodes);
        let (user, password) = self.login()?;
        if let Some(user) = user {
            builder = builder.username(user);
        }
        if let Some(password) = password {
            builder = builder.password(password);
        }
        // Commands that block wait as long as `Link` lets them.
        let client = builder
            .response_timeout(Duration::from_mins(1))
            .overall_response_timeout(None)
            .retries(1)
            .build()
            .map_err(AddressError::Refused)?;
        Ok(Address::Cluster(Box::new(client)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_url_is_known() {
        for (url, kind) in [
            ("redis://localhost", "Server"),
            ("rediss://user:p%40ss@redis.example:6380/3", "Server"),
            ("unix:///run/redis.sock", "Server"),
            ("redis+sentinel://a,b:26380,[::1]:5/main/2?sentinel_password=x", "Sentinel"),
            ("rediss+sentinel://user:p%40ss@a/main", "Sentinel"),
            ("redis+cluster://:secret@a:7000,b:7001", "Cluster"),
        ] {
            let address = Address::parse(url).unwrap_or_else(|e| panic!("{url}: {e:?}"));
            assert_eq!(format!("{address:?}"), kind, "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused_without_their_password() {
        for url in [
            "localhost",
            "http://:secret@a",
            "redis+magic://:secret@a",
            "redis+sentinel://:secret@a",
            "redis+sentinel://:secret@a/main/x",
            "redis+sentinel://:secret@/main",
            "redis+cluster://:secret@a:99999",
            "redis://:secret@",
        ] {
            let error = Address::parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn a_login_is_decoded_and_hosts_have_their_ports() {
        let nodes = Nodes::parse("user:p%40ss@a,b:1/main", SENTINEL_PORT).unwrap();
        assert_eq!(nodes.hosts, [("a".to_owned(), SENTINEL_PORT), ("b".to_owned(), 1)]);
        let login = nodes.login().unwrap();
        assert_eq!(login, (Some("user".to_owned()), Some("p@ss".to_owned())));
    }
}
