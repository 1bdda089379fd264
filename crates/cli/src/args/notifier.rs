//! What the user may say about notifications, and to the process that sends them.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use lettre::message::Mailbox;
use tonemill_notifier::mail::{LONGEST_MAIL, SmtpConfig, SmtpSecurity};
use tonemill_notifier::webhook::LONGEST_CALL;
use url::{Host, Url};

use super::PROCESS;
use super::serve::{DatabaseArgs, parse_days};
use super::worker::LogArgs;
use crate::text::parse_time;

#[derive(Debug, Args)]
#[command(
    after_help = "Needs --database-url and --public-url, and --smtp-url with --mail-from, or \
    --mail-folder. As many as you like may run at once. SIGTERM ends it when what is under way is \
    sent. Exit codes: 0 ended as told; 2 wrong usage; 3 it could not work."
)]
pub struct NotifierArgs {
    /// File of settings, in TOML, by the names of the flags
    #[arg(long, value_name = "FILE", env = "TONEMILL_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    /// Serve /livez, /readyz, /healthz and /metrics here, such as 0.0.0.0:9464
    #[arg(long, value_name = "ADDRESS", env = "TONEMILL_ADMIN", help_heading = PROCESS)]
    pub admin: Option<SocketAddr>,
    /// How long what is under way may go on after SIGTERM, in seconds
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "25",
          env = "TONEMILL_GRACE", help_heading = PROCESS)]
    pub grace: f64,
    #[command(flatten)]
    pub log: LogArgs,
}

/// How users are told.
#[derive(Debug, Args)]
#[command(next_help_heading = "Notifications")]
pub struct NotifyArgs {
    /// Where users reach the API; links in mails begin with it
    #[arg(long, value_name = "URL", value_parser = parse_public_url, env = "TONEMILL_PUBLIC_URL")]
    pub public_url: Option<Url>,
    /// Mail server: <smtps://NAME:PASSWORD@HOST> for TLS (port 465), smtp: for STARTTLS (587), with
    /// ?tls=none for neither (25)
    #[arg(long, value_name = "URL", value_parser = parse_smtp_url, env = "TONEMILL_SMTP_URL",
          hide_env_values = true, conflicts_with = "mail_folder")]
    pub smtp_url: Option<SmtpConfig>,
    /// PEM file of certificate authorities to trust for mail besides the system's
    #[arg(long, value_name = "FILE", env = "TONEMILL_SMTP_CA_FILE")]
    pub smtp_ca_file: Option<PathBuf>,
    /// Write mails to files in this folder instead; those of a week ago are removed
    #[arg(long, value_name = "DIR", env = "TONEMILL_MAIL_FOLDER")]
    pub mail_folder: Option<PathBuf>,
    /// Who mails are from; --smtp-url needs it, in files it is `Tonemill <tonemill@localhost>`
    #[arg(long, value_name = "ADDRESS", value_parser = parse_sender, env = "TONEMILL_MAIL_FROM")]
    pub mail_from: Option<Mailbox>,
    /// Folder of templates that take the place of the built-in ones
    #[arg(long, value_name = "DIR", env = "TONEMILL_MAIL_TEMPLATES")]
    pub mail_templates: Option<PathBuf>,
    /// For how many days a mail's link to an MP3 works without a log-in; 0 for no link
    #[arg(long, value_name = "DAYS", default_value_t = 7.0, value_parser = parse_days,
          env = "TONEMILL_MAIL_LINK_DAYS")]
    pub mail_link_days: f64,
    /// Hosts that webhooks may be at although they are internal
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "TONEMILL_WEBHOOK_INTERNAL_HOSTS"
    )]
    pub webhook_internal_hosts: Vec<String>,
    /// How long a webhook may take to answer, 1 to 60 seconds
    #[arg(long, value_name = "TIME", value_parser = parse_webhook_timeout, default_value = "15",
          env = "TONEMILL_WEBHOOK_TIMEOUT")]
    pub webhook_timeout: f64,
    /// How long notifications are tried, in days, up to 30
    #[arg(long, value_name = "DAYS", default_value_t = 3.0, value_parser = parse_patience,
          env = "TONEMILL_NOTIFY_DAYS")]
    pub notify_days: f64,
    /// How long a job may wait for a worker before administrators are mailed
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1:00:00",
          env = "TONEMILL_ALERT_WAIT")]
    pub alert_wait: f64,
}

fn parse_public_url(text: &str) -> Result<Url, String> {
    let like = || "must be like https://tonemill.example.org".to_owned();
    let url = Url::parse(text).map_err(|_| like())?;
    let is_one = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_one { Ok(url) } else { Err(like()) }
}

fn parse_sender(text: &str) -> Result<Mailbox, String> {
    let like = "must be like \"Tonemill <tonemill@example.org>\"";
    text.parse().map_err(|_| like.to_owned())
}

fn parse_patience(text: &str) -> Result<f64, String> {
    let days = parse_days(text)?;
    if days <= 30.0 { Ok(days) } else { Err("must be 0 to 30 days".to_owned()) }
}

fn parse_webhook_timeout(text: &str) -> Result<f64, String> {
    let time = parse_time(text)?;
    let is_one = (1.0..=LONGEST_CALL.as_secs_f64()).contains(&time);
    if is_one { Ok(time) } else { Err("must be 1 to 60 seconds".to_owned()) }
}

/// Reads the address of a mail server. What is wrong is said without repeating it: it has a
/// password.
fn parse_smtp_url(text: &str) -> Result<SmtpConfig, String> {
    let like = || "must be like smtps://NAME:PASSWORD@mail.example.org".to_owned();
    let url = Url::parse(text).map_err(|_| like())?;
    let is_plain = match url.query() {
        None => false,
        Some("tls=none") => true,
        Some(_) => return Err("may only be followed by ?tls=none".to_owned()),
    };
    let (port, security) = match url.scheme() {
        "smtps" if is_plain => return Err("smtps: is TLS".to_owned()),
        "smtps" => (465, SmtpSecurity::Tls),
        "smtp" if is_plain => (25, SmtpSecurity::Plain),
        "smtp" => (587, SmtpSecurity::StartTls),
        _ => return Err(like()),
    };
    let host = match url.host() {
        // As it is connected to: without brackets.
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) if !host.to_string().is_empty() => host.to_string(),
        _ => return Err(like()),
    };
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(Cow::into_owned).map_err(|_| like())
    };
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (name, password) => Some((decoded(name)?, decoded(password.unwrap_or_default())?)),
    };
    let port = url.port().unwrap_or(port);
    let patience = LONGEST_MAIL;
    Ok(SmtpConfig { host, port, security, credentials, ca_file: None, patience })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_servers_are_written_as_urls() {
        let config = parse_smtp_url("smtps://me%40x:p%3Aw@mail.example.org").unwrap();
        assert_eq!((config.port, config.security), (465, SmtpSecurity::Tls));
        assert_eq!(config.credentials, Some(("me@x".to_owned(), "p:w".to_owned())));
        let config = parse_smtp_url("smtp://localhost:1025?tls=none").unwrap();
        assert_eq!((config.port, config.security), (1025, SmtpSecurity::Plain));
        assert_eq!(config.credentials, None);
        assert_eq!(parse_smtp_url("smtp://h").unwrap().security, SmtpSecurity::StartTls);
        let config = parse_smtp_url("smtp://[::1]:25").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("::1", 25));
        for bad in ["", "h", "http://h", "smtp://", "smtps://h?tls=none", "smtp://h?x=y"] {
            assert!(parse_smtp_url(bad).is_err(), "{bad}");
        }
        let why = parse_smtp_url("smtp://me:secret@").unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }

    #[test]
    fn a_webhook_has_a_second_to_a_minute() {
        for good in ["1", "15", "59.9", "60", "1:00"] {
            assert!(parse_webhook_timeout(good).is_ok(), "{good}");
        }
        for bad in ["0", "0.9", "60.1", "1:01", "inf", "-1", "86400"] {
            assert!(parse_webhook_timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_public_url_is_one_of_the_web() {
        assert!(parse_public_url("https://h/tonemill/").is_ok());
        for bad in ["h", "ftp://h", "https://h/?a", "https://h/#a"] {
            assert!(parse_public_url(bad).is_err(), "{bad}");
        }
    }
}
