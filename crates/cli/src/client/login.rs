//! `tonemill login` and `tonemill logout`.

use reqwest::{Method, StatusCode, Url};

use crate::args::client::{LoginArgs, LogoutArgs};
use crate::client::api::{Api, Ask, named_service};
use crate::client::bars::Bars;
use crate::client::config_dir::ConfigDir;
use crate::client::credentials::{Lock, LogIn, LogIns};
use crate::client::drive;
use crate::client::link::{Link, address, is_local};
use crate::client::password;
use crate::client::retry::Trouble;
use crate::client::session::Tokens;
use crate::exit::{CancelToken, Outcome, on_signals};
use crate::failure::Failure;
use crate::json::print_line;
use crate::text::plain;

/// Who logs in, and where.
struct Who {
    base: String,
    name: String,
    password: String,
}

/// Logs in, and keeps the log-in.
pub fn login(args: &LoginArgs, cancel: &CancelToken) -> Outcome {
    // Before anything is asked: the terminal must be as it was afterwards.
    on_signals(cancel);
    let who = match ask(args, cancel) {
        Ok(who) => who,
        Err(failed) => return failed.tell(),
    };
    drive(cancel, log_in(args, who), || "you are not logged in".to_owned())
}

fn ask(args: &LoginArgs, cancel: &CancelToken) -> Result<Who, Failure> {
    let dir = ConfigDir::find()?;
    let base = match args.server.as_deref().or(args.connection.url.as_deref()) {
        Some(text) => address(text)?,
        None => LogIns::read(&dir)?
            .current
            .ok_or_else(|| Failure::usage("no service is named", "say `tonemill login URL`"))?,
    };
    let is_open = Url::parse(&base).is_ok_and(|url| url.scheme() == "http" && !is_local(&url));
    if is_open {
        eprintln!("tonemill: warning: {} is not encrypted: others can read along", plain(&base));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => password::ask(&format!("Name at {base}"), false, cancel)?,
    };
    let password = if args.password_stdin {
        password::from_stdin()?
    } else {
        password::ask("Password", true, cancel)?
    };
    Ok(Who { base, name, password })
}

async fn log_in(args: &LoginArgs, who: Who) -> Result<Outcome, Failure> {
    let Who { base, name, password } = who;
    let connection = &args.connection;
    let ca_file = connection.ca_file.as_ref().map(std::path::absolute).transpose();
    let ca_file =
        ca_file.map_err(|error| Failure::usage(format!("--ca-file: {error}"), "name a file"))?;
    let link =
        Link::open(base.clone(), ca_file.as_deref(), connection.retry_for, Bars::new(false))?;
    let body = serde_json::json!({ "name": name, "password": password });
    let Tokens { access_token, refresh_token } = tokens(&link, &body).await?;

    let dir = ConfigDir::find()?;
    let lock = Lock::take(&dir).await?;
    let mut log_ins = LogIns::read(&dir)?;
    let log_in = LogIn { name: name.clone(), access_token, refresh_token, ca_file };
    log_ins.servers.insert(base.clone(), log_in);
    log_ins.current = Some(base.clone());
    log_ins.write(&dir, &lock)?;
    Ok(print_line(&format!("logged in to {base} as {}", plain(&name))))
}

async fn tokens(link: &Link, body: &serde_json::Value) -> Result<Tokens, Failure> {
    let refusal = |status, trouble: &Trouble| match status {
        // Somebody sits here and wants to know.
        StatusCode::TOO_MANY_REQUESTS => {
            let pause = trouble.after.unwrap_or_default().as_secs().max(1);
            let advice = format!("try again in {pause} s");
            Some(Failure::usage(&trouble.failed.message, advice))
        }
        StatusCode::UNAUTHORIZED => {
            Some(Failure { advice: "try again".to_owned(), ..trouble.failed.clone() })
        }
        _ => None,
    };
    Tokens::ask(link, "/v1/login", body, refusal).await
}

/// Ends a log-in, there and here.
pub fn logout(args: &LogoutArgs, cancel: &CancelToken) -> Outcome {
    drive(cancel, log_out(args), || "you are still logged in".to_owned())
}

async fn log_out(args: &LogoutArgs) -> Result<Outcome, Failure> {
    let dir = ConfigDir::find()?;
    let named = named_service(&args.connection)?;
    let api = Api::of(&args.connection, None, &Bars::new(false))?;
    let told = tell(&api).await;
    // Whatever the service says: whoever logs out wants no tokens here.
    let lock = Lock::take(&dir).await?;
    let mut log_ins = LogIns::read(&dir)?;
    let base = named.unwrap_or_else(|| api.link.base.clone());
    log_ins.servers.remove(&base);
    if log_ins.current.as_ref() == Some(&base) {
        log_ins.current = log_ins.servers.keys().next().cloned();
    }
    log_ins.write(&dir, &lock)?;
    told.map_err(|failed| {
        let message = format!("forgotten here, but the service was not told: {}", failed.message);
        Failure { message, ..failed }
    })?;
    Ok(print_line(&format!("logged out of {base}")))
}

/// Has the service end the log-in. That it has ended already is no failure.
async fn tell(api: &Api) -> Result<(), Failure> {
    let response = match api.send(&Ask::new(Method::POST, "/v1/logout")).await {
        // The refresh token was good no more.
        Err(failed) if failed.outcome == Outcome::Usage => return Ok(()),
        sent => sent?,
    };
    match response.status() {
        StatusCode::UNAUTHORIZED => Ok(()),
        status if status.is_success() => Ok(()),
        _ => Err(api.refused(response).await),
    }
}
