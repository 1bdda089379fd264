//! Access tokens of a log-in, exchanged for new ones when they expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::client::LOOK;
use crate::client::credentials::{Lock, LogIn, LogIns};
use crate::client::failed::Failed;
use crate::client::link::{Link, is_passing};
use crate::client::place::Place;
use crate::client::retry::Retry;

/// How long an exchange may go on after an interrupt.
const SETTLE: Duration = Duration::from_secs(5);

/// Exchanges that are under way in this process.
static EXCHANGES: AtomicUsize = AtomicUsize::new(0);

/// Waits for the end of exchanges: the service has used up the old token, and the new one is nowhere
/// but here.
pub async fn settled() {
    let begun = Instant::now();
    while EXCHANGES.load(Ordering::SeqCst) > 0 && begun.elapsed() < SETTLE {
        tokio::time::sleep(LOOK).await;
    }
}

/// A log-in that is used.
pub struct Session {
    place: Place,
    tokens: Mutex<LogIn>,
}

/// What a log-in gives.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

impl Session {
    pub fn new(place: Place, log_in: LogIn) -> Arc<Self> {
        Arc::new(Self { place, tokens: Mutex::new(log_in) })
    }

    pub async fn access_token(&self) -> String {
        self.tokens.lock().await.access_token.clone()
    }

    /// Gets another access token than the one that was `refused`.
    pub async fn renew(self: &Arc<Self>, link: &Arc<Link>, refused: &str) -> Result<(), Failed> {
        let (session, link, refused) = (Arc::clone(self), Arc::clone(link), refused.to_owned());
        EXCHANGES.fetch_add(1, Ordering::SeqCst);
        // In a task of its own: it must not end in its middle when whoever waits for it does.
        let exchange = tokio::spawn(async move {
            let outcome = session.exchange(&link, &refused).await;
            EXCHANGES.fetch_sub(1, Ordering::SeqCst);
            outcome
        });
        exchange.await.unwrap_or_else(|error| Err(Failed::fault(error.to_string(), "")))
    }

    async fn exchange(&self, link: &Link, refused: &str) -> Result<(), Failed> {
        let mut tokens = self.tokens.lock().await;
        if tokens.access_token != refused {
            return Ok(());
        }
        let lock = Lock::take(&self.place).await?;
        let mut log_ins = LogIns::read(&self.place)?;
        let Some(kept) = log_ins.servers.get_mut(&link.base) else {
            return Err(log_in_again("you are logged out", link));
        };
        if kept.access_token == refused {
            let Tokens { access_token, refresh_token } = ask(link, &kept.refresh_token).await?;
            (kept.access_token, kept.refresh_token) = (access_token, refresh_token);
            *tokens = kept.clone();
            return log_ins.write(&self.place, &lock);
        }
        // Another client was quicker.
        *tokens = kept.clone();
        Ok(())
    }
}

/// Exchanges a refresh token. It may come twice within some seconds, so an answer that was lost is
/// asked for again.
async fn ask(link: &Link, refresh_token: &str) -> Result<Tokens, Failed> {
    let mut retry = Retry::new(link);
    let body = serde_json::json!({ "refresh_token": refresh_token });
    loop {
        let request = link.http.post(format!("{}/v1/token/refresh", link.base)).json(&body);
        let stop = match link.attempt_soon(request).await {
            Err(trouble) => trouble.into(),
            Ok(response) => match response.status() {
                StatusCode::OK => match link.json(response).await {
                    Ok(tokens) => return Ok(tokens),
                    Err(stop) => stop,
                },
                StatusCode::UNAUTHORIZED => {
                    let failed = link.refused(response).await;
                    log_in_again(&failed.message, link).into()
                }
                status if is_passing(status) => link.troubled(response).await.into(),
                _ => link.refused(response).await.into(),
            },
        };
        retry.pause(stop).await?;
    }
}

fn log_in_again(why: &str, link: &Link) -> Failed {
    Failed::usage(why, format!("say `tonemill login {}`", link.base))
}
