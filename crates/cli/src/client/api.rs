//! Requests of somebody whom the service knows, by a log-in or an API key, and their answers.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::client::{ConnectionArgs, ServerArgs};
use crate::client::bars::Bars;
use crate::client::config_dir::ConfigDir;
use crate::client::credentials::LogIns;
use crate::client::link::{Link, address, is_passing};
use crate::client::retry::{Retry, Stop};
use crate::client::session::Session;
use crate::failure::Failure;

/// Most redirections on the way to an output.
const MAX_HOPS: usize = 5;

/// Most new tokens for one request: a token may expire on its way.
const MAX_RENEWALS: usize = 5;

/// A service, and who asks it.
pub struct Api {
    pub link: Arc<Link>,
    access: Access,
}

enum Access {
    Key(String),
    LogIn(Arc<Session>),
}

/// A request that can be sent again.
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, String)>,
    body: Option<Value>,
    /// Whether it would mean something else the second time.
    is_once: bool,
}

impl Ask {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: None, is_once: false }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// It is not sent again when its answer was lost.
    pub fn once(mut self) -> Self {
        self.is_once = true;
        self
    }
}

/// The service that was named.
pub fn named_service(connection: &ConnectionArgs) -> Result<Option<String>, Failure> {
    connection.url.as_deref().map(address).transpose()
}

impl Api {
    /// The service that was named, or that of the last log-in.
    pub fn open(args: &ServerArgs, bars: &Bars) -> Result<Self, Failure> {
        let ServerArgs { connection, token } = args;
        Self::of(connection, token.as_deref(), bars)
    }

    pub fn of(
        connection: &ConnectionArgs,
        token: Option<&str>,
        bars: &Bars,
    ) -> Result<Self, Failure> {
        let kept = ConfigDir::find().and_then(|dir| Ok((LogIns::read(&dir)?, Some(dir))));
        let (log_ins, dir) = match kept {
            // Whoever has a key needs no log-ins.
            Err(_) if token.is_some() => (LogIns::default(), None),
            kept => kept?,
        };
        let nobody = |at: &str| {
            let message = format!("you are not logged in{at}");
            let advice = "say `tonemill login URL`, or set TONEMILL_URL and TONEMILL_TOKEN";
            Failure::usage(message, advice)
        };
        let base = named_service(connection)?.or(log_ins.current).ok_or_else(|| nobody(""))?;
        // A log-in is for its own service: no other one ever sees its tokens.
        let log_in = log_ins.servers.get(&base);
        let ca_file = log_in.and_then(|log_in| log_in.ca_file.as_ref());
        let ca_file = connection.ca_file.as_ref().or(ca_file).map(|path| &**path);
        let access = match (token, log_in, dir) {
            (Some(token), ..) => Access::Key(key(token)?),
            (None, Some(log_in), Some(dir)) => Access::LogIn(Session::new(dir, log_in.clone())),
            _ => return Err(nobody(&format!(" at {base}"))),
        };
        let link = Link::open(base, ca_file, connection.retry_for, bars.clone())?;
        Ok(Self { link: Arc::new(link), access })
    }

    /// The token for the next request.
    pub async fn token(&self) -> String {
        match &self.access {
            Access::Key(key) => key.clone(),
            Access::LogIn(session) => session.access_token().await,
        }
    }

    /// A request with a token.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.link.http.request(method, format!("{}{path}", self.link.base));
        match HeaderValue::from_str(&format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // Of a damaged file; the service says that nobody asks.
            Err(_) => request,
        }
    }

    /// Gets another token after a 401; false if there is none to get.
    pub async fn renew(&self, refused: &str) -> Result<bool, Failure> {
        match &self.access {
            Access::Key(_) => Ok(false),
            Access::LogIn(session) => session.renew(&self.link, refused).await.map(|()| true),
        }
    }

    /// The answer, whatever it says, unless it is one that may be another the next time.
    pub async fn send(&self, ask: &Ask) -> Result<Response, Failure> {
        let mut retry = Retry::new(&self.link);
        let mut renewals = 0;
        loop {
            let token = self.token().await;
            let mut request = self.request(ask.method.clone(), &ask.path, &token);
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(body) = &ask.body {
                request = request.json(body);
            }
            let trouble = match self.link.attempt_soon(request).await {
                Err(trouble) => trouble,
                Ok(response) if is_unknown(&response) && renewals < MAX_RENEWALS => {
                    renewals += 1;
                    if self.renew(&token).await? {
                        continue;
                    }
                    return Ok(response);
                }
                Ok(response) if is_passing(&response) => self.link.troubled(response).await,
                Ok(response) => return Ok(response),
            };
            if ask.is_once {
                return Err(trouble.failed);
            }
            retry.pause(trouble).await?;
        }
    }

    /// The answer, if it is a success.
    pub async fn expect(&self, ask: &Ask) -> Result<Response, Failure> {
        let response = self.send(ask).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response).await)
        }
    }

    /// The JSON of the answer, if it is a success.
    pub async fn json<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, Failure> {
        let mut retry = Retry::new(&self.link);
        loop {
            let response = self.expect(ask).await?;
            match self.link.json(response).await {
                Ok(value) => return Ok(value),
                Err(Stop::Passing(trouble)) if ask.is_once => return Err(trouble.failed),
                Err(stop) => retry.pause(stop).await?,
            }
        }
    }

    /// What an answer that is no success means.
    pub async fn refused(&self, response: Response) -> Failure {
        let is_unknown = is_unknown(&response);
        let mut failed = self.link.refused(response).await;
        if is_unknown {
            failed.advice = match &self.access {
                Access::Key(_) => "check the API key".to_owned(),
                Access::LogIn(_) => format!("say `tonemill login {}`", self.link.base),
            };
        }
        failed
    }

    /// Where a redirection leads. Whoever is there gets the headers of `ask` and no token.
    pub async fn elsewhere(&self, mut response: Response, ask: &Ask) -> Result<Response, Stop> {
        for _ in 0..MAX_HOPS {
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED
            {
                return Ok(response);
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| response.url().join(to).ok());
            let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
            let to = to.filter(is_http);
            let to = to.ok_or_else(|| self.link.strange("it redirects to nowhere"))?;
            let mut request = self.link.http.get(to);
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            response = self.link.attempt_soon(request).await?;
        }
        Err(self.link.strange("it redirects in circles").into())
    }
}

/// Whether the service does not know who asks.
fn is_unknown(response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}

fn key(token: &str) -> Result<String, Failure> {
    let key = token.trim();
    if key.is_empty() || HeaderValue::from_str(key).is_err() {
        return Err(Failure::usage("--token is no API key", "check where it comes from"));
    }
    Ok(key.to_owned())
}
