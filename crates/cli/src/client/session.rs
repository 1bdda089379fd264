//! Access tokens of a log-in, exchanged for new ones when they expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::client::LOOK;
use crate::client::config_dir::ConfigDir;
use crate::client::credentials::{Lock, LogIn, LogIns};
use crate::client::link::{Link, is_passing};
use crate::client::retry::{Retry, Trouble};
use crate::failure::Failure;

/// How long an exchange may go on after an interrupt.
const SETTLE: Duration = Duration::from_secs(5);

/// Exchanges that are under way in this process.
static EXCHANGES: AtomicUsize = AtomicUsize::new(0);

/// Waits for the end of exchanges: the service has used up the old token, and the new one is
/// nowhere but here.
pub async fn settled() {
    let begun = Instant::now();
    while EXCHANGES.load(Ordering::SeqCst) > 0 && begun.elapsed() < SETTLE {
        tokio::time::sleep(LOOK).await;
    }
}

/// A log-in that is used.
pub struct Session {
    dir: ConfigDir,
    tokens: Mutex<LogIn>,
}

/// What a log-in gives.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

impl Session {
    pub fn new(dir: ConfigDir, log_in: LogIn) -> Arc<Self> {
        Arc::new(Self { dir, tokens: Mutex::new(log_in) })
    }

    pub async fn access_token(&self) -> String {
        self.tokens.lock().await.access_token.clone()
    }

    /// Gets another access token than the one that was `refused`.
    pub async fn renew(self: &Arc<Self>, link: &Arc<Link>, refused: &str) -> Result<(), Failure> {
        let (session, link, refused) = (Arc::clone(self), Arc::clone(link), refused.to_owned());
        EXCHANGES.fetch_add(1, Ordering::SeqCst);
        // In a task of its own: it must not end in its middle when whoever waits for it does.
        let exchange = tokio::spawn(async move {
            let outcome = session.exchange(&link, &refused).await;
            EXCHANGES.fetch_sub(1, Ordering::SeqCst);
            outcome
        });
        exchange.await.unwrap_or_else(|error| Err(Failure::fault(error.to_string(), "")))
    }

    async fn exchange(&self, link: &Link, refused: &str) -> Result<(), Failure> {
        let mut tokens = self.tokens.lock().await;
        if tokens.access_token != refused {
            return Ok(());
        }
        let lock = Lock::take(&self.dir).await?;
        let mut log_ins = LogIns::read(&self.dir)?;
        let Some(kept) = log_ins.servers.get_mut(&link.base) else {
            return Err(log_in_again("you are logged out", link));
        };
        if kept.access_token == refused {
            let Tokens { access_token, refresh_token } =
                exchange(link, &kept.refresh_token).await?;
            (kept.access_token, kept.refresh_token) = (access_token, refresh_token);
            *tokens = kept.clone();
            return log_ins.write(&self.dir, &lock);
        }
        // Another client was quicker.
        *tokens = kept.clone();
        Ok(())
    }
}

impl Tokens {
    /// Asks for tokens until there is an answer: of a log-in or of an exchange, which may both come
    /// twice, so an answer that was lost is asked for again. `refusal` says what it means that
    /// there are none, if that is something special.
    pub async fn ask(
        link: &Link,
        path: &str,
        body: &Value,
        refusal: impl Fn(StatusCode, &Trouble) -> Option<Failure>,
    ) -> Result<Self, Failure> {
        let mut retry = Retry::new(link);
        loop {
            let request = link.http.post(format!("{}{path}", link.base)).json(body);
            let stop = match link.attempt_soon(request).await {
                Err(trouble) => trouble.into(),
                Ok(response) if response.status() == StatusCode::OK => {
                    match link.json(response).await {
                        Ok(tokens) => return Ok(tokens),
                        Err(stop) => stop,
                    }
                }
                Ok(response) => {
                    let (status, may_pass) = (response.status(), is_passing(&response));
                    let trouble = link.troubled(response).await;
                    match refusal(status, &trouble) {
                        Some(failed) => failed.into(),
                        None if may_pass => trouble.into(),
                        None => trouble.failed.into(),
                    }
                }
            };
            retry.pause(stop).await?;
        }
    }
}

/// Exchanges a refresh token.
async fn exchange(link: &Link, refresh_token: &str) -> Result<Tokens, Failure> {
    let body = serde_json::json!({ "refresh_token": refresh_token });
    let refusal = |status, trouble: &Trouble| {
        let is_over = status == StatusCode::UNAUTHORIZED;
        is_over.then(|| log_in_again(&trouble.failed.message, link))
    };
    Tokens::ask(link, "/v1/token/refresh", &body, refusal).await
}

fn log_in_again(why: &str, link: &Link) -> Failure {
    Failure::usage(why, format!("say `tonemill login {}`", link.base))
}
