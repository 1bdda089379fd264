//! What was said on the command line, as the API and the ledger take it.

use std::time::Duration;

use tonemill_api::ApiConfig;
use tonemill_api::auth::tokens::TokenLifetimes;
use tonemill_api::rate::Rate;
use tonemill_api::server::{ServerConfig, TlsFiles};
use tonemill_job::chain;
use tonemill_ledger::sweep::Retention;
use tonemill_ledger::{LedgerConfig, Quotas, is_ledger_url};

use crate::args::serve::{DatabaseArgs, HttpArgs, LedgerArgs, ServeArgs, TlsArgs};
use crate::failure::Failure;
use crate::text::seconds;

impl ServeArgs {
    /// Whether the settings go together, as far as can be told without trying.
    pub fn check(&self) -> Result<(), Failure> {
        self.api.http.server_config()?;
        self.notify.check_serving()?;
        let url = self.api.ledger.database.database_url.as_deref();
        if url.is_some_and(|url| !is_ledger_url(url)) {
            let message = "--database-url starts with sqlite:, mysql: or postgres:";
            return Err(Failure::usage(message, ""));
        }
        Ok(())
    }
}

impl LedgerArgs {
    /// The ledger at `url`.
    pub fn config(&self, url: String) -> LedgerConfig {
        let quotas = Quotas {
            unfinished_jobs: self.quota_jobs,
            stored_bytes: self.quota_bytes,
            daily_audio_ms: self.quota_minutes.map(|minutes| minutes.saturating_mul(60_000)),
        };
        LedgerConfig { quotas, ..self.database.at(url) }
    }

    pub(super) fn retention(&self) -> Retention {
        Retention { jobs: days(self.keep_days), ..Retention::default() }
    }
}

impl DatabaseArgs {
    /// The ledger that was said.
    pub fn config(&self) -> Result<LedgerConfig, Failure> {
        let url = self.database_url.clone();
        let url = url.ok_or_else(|| Failure::usage("say where the ledger is", "--database-url"))?;
        Ok(self.at(url))
    }

    fn at(&self, url: String) -> LedgerConfig {
        let mail_events = self.mails.mail_events.clone();
        let connections = self.database_connections;
        LedgerConfig { connections, mail_events, ..LedgerConfig::new(url) }
    }
}

impl HttpArgs {
    pub(super) fn api_config(&self, max_input: Option<u64>) -> ApiConfig {
        let config = ApiConfig::default();
        ApiConfig {
            max_upload_bytes: max_input.unwrap_or(config.max_upload_bytes),
            upload_memory_bytes: self.upload_memory,
            tokens: TokenLifetimes {
                access: seconds(self.access_token),
                refresh: days(self.login_days),
                ..config.tokens
            },
            requests_at_once: self.requests_at_once,
            requests: Rate {
                burst: self.requests.saturating_mul(3),
                per_second: f64::from(self.requests),
            },
            presigned_downloads: self.presign.map(seconds),
            cors_origins: self.cors_origins.clone(),
            ..config
        }
    }

    pub(super) fn server_config(&self) -> Result<ServerConfig, Failure> {
        Ok(ServerConfig {
            tls: self.tls.files()?,
            trusted_proxies: self.trusted_proxies,
            max_connections: self.max_connections,
            ..ServerConfig::default()
        })
    }
}

impl TlsArgs {
    /// What the files hold, if they were said.
    pub fn files(&self) -> Result<Option<TlsFiles>, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let files = TlsFiles::load(cert, key);
                Ok(Some(files.map_err(|error| Failure::usage("--tls-cert", chain(&error)))?))
            }
            (None, None) => Ok(None),
            _ => Err(Failure::usage("--tls-cert and --tls-key go together", "")),
        }
    }
}

fn days(days: f64) -> Duration {
    seconds(days * 24.0 * 3600.0)
}
