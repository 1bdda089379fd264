//! Log-in, renewal, log-out, and the password.

use axum::Json;
use axum::extract::{Extension, FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use headers::authorization::Basic;
use headers::{Authorization, HeaderMapExt as _};
use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};
use tonemill_ledger::credentials::{Refreshed, Session, Token, TokenKind};
use tonemill_ledger::users::{MAX_NAME_BYTES, User, UserChange};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Caller;
use crate::auth::password::{MAX_BYTES, check_new};
use crate::body::{JsonBody, check_text};
use crate::problem::{Answer, Problem};
use crate::server::ClientAddress;
use crate::throttle::Attempt;

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// The name to log in with.
    name: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// What a log-in gives.
#[derive(Serialize, ToSchema)]
pub struct LoggedIn {
    /// Goes with every request, as `Authorization: Bearer …`.
    pub access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// How long the access token lasts, in seconds.
    expires_in: u64,
    /// Gets the next pair of tokens, once.
    refresh_token: String,
    /// How long the refresh token lasts, in seconds.
    refresh_expires_in: u64,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As it was given last.
    refresh_token: String,
}

/// A change of one's password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password so far.
    #[schema(format = Password)]
    current: String,
    /// The password from now on: 10 characters or more.
    #[schema(format = Password)]
    new: String,
}

/// Log in, with HTTP Basic or with JSON.
#[utoipa::path(
    post, path = "/v1/login", tag = "Log-in",
    request_body(content = LogIn, description = "Or HTTP Basic, without a body"),
    responses(
        (status = 200, description = "Logged in", body = LoggedIn),
        (status = 400, description = "Neither JSON nor HTTP Basic"),
        (status = 401, description = "Wrong name or password"),
        (status = 422, description = "A field is missing, unknown or of a wrong type"),
        (status = 429, description = "Too many wrong passwords"),
    ),
    security((), ("basic" = []))
)]
pub async fn log_in(
    State(api): State<Api>,
    Extension(address): Extension<ClientAddress>,
    headers: HeaderMap,
    request: Request,
) -> Answer<([(header::HeaderName, &'static str); 1], Json<LoggedIn>)> {
    let (name, password) = match headers.typed_get::<Authorization<Basic>>() {
        Some(basic) => (basic.username().to_owned(), basic.password().to_owned()),
        None => {
            let JsonBody(LogIn { name, password }) = JsonBody::from_request(request, &()).await?;
            (name, password)
        }
    };
    let logged_in = api.log_in(&name, &password, address).await?;
    Ok(([NO_STORE], Json(logged_in)))
}

/// Get the next pair of tokens. A refresh token is good once; one that comes again ends its log-in.
#[utoipa::path(
    post, path = "/v1/token/refresh", tag = "Log-in",
    request_body = Refresh,
    responses(
        (status = 200, description = "The next pair", body = LoggedIn),
        (status = 401, description = "Unknown, expired, ended, or used before"),
        (status = 422, description = "No refresh token"),
    ),
    security(())
)]
pub async fn refresh(
    State(api): State<Api>,
    JsonBody(Refresh { refresh_token }): JsonBody<Refresh>,
) -> Answer<([(header::HeaderName, &'static str); 1], Json<LoggedIn>)> {
    let unknown = || Problem::unauthorized("this refresh token is not good: log in again");
    let token = Token::parse(TokenKind::Refresh, &refresh_token).ok_or_else(unknown)?;
    match api.ledger.refresh(&token, api.refresh_ms()).await? {
        Refreshed::Renewed(session) => Ok(([NO_STORE], Json(api.logged_in(&session)?))),
        Refreshed::Reused => {
            tracing::warn!(?token, "a refresh token came twice: its log-in is ended");
            Err(Problem::unauthorized("this refresh token was used before: log in again"))
        }
        Refreshed::Unknown => Err(unknown()),
    }
}

/// End this log-in: its access tokens and refresh tokens are good no more.
#[utoipa::path(
    post, path = "/v1/logout", tag = "Log-in",
    responses((status = 204, description = "Logged out"))
)]
pub async fn log_out(State(api): State<Api>, caller: Caller) -> Answer<StatusCode> {
    api.ledger.log_out(caller.log_in()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change one's own password. Every log-in ends, this one included.
#[utoipa::path(
    put, path = "/v1/me/password", tag = "Log-in",
    request_body = NewPassword,
    responses((status = 204, description = "Changed"))
)]
pub async fn change_password(
    State(api): State<Api>,
    caller: Caller,
    Extension(address): Extension<ClientAddress>,
    JsonBody(NewPassword { current, new }): JsonBody<NewPassword>,
) -> Answer<StatusCode> {
    caller.log_in()?;
    check_new(&new).map_err(|problem| problem.field("new"))?;
    let (user, current_hash) = api.check_password(&caller.user.name, &current, address).await?;
    let change = UserChange {
        password_hash: Some(api.passwords.hash(&new).await?),
        if_password_hash: Some(current_hash),
        ..UserChange::default()
    };
    let is_changed = api.ledger.change_user(user.id, &change).await?;
    if is_changed { Ok(StatusCode::NO_CONTENT) } else { Err(wrong_password()) }
}

/// The keys with which others can verify access tokens.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "Log-in",
    responses((status = 200, description = "A JSON Web Key Set (RFC 7517)", body = Object)),
    security(())
)]
pub async fn public_keys(
    State(api): State<Api>,
) -> ([(header::HeaderName, &'static str); 1], Json<JwkSet>) {
    ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(api.tokens.public_keys()))
}

/// Tokens are nobody else's business (RFC 6749 section 5.1).
const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

fn wrong_password() -> Problem {
    Problem::unauthorized("wrong name or password").challenge("Basic, Bearer")
}

impl Api {
    /// Logs in who says the right password.
    pub(crate) async fn log_in(
        &self,
        name: &str,
        password: &str,
        address: ClientAddress,
    ) -> Answer<LoggedIn> {
        let (user, hash) = self.check_password(name, password, address).await?;
        let session = self.ledger.log_in(user.id, &hash, self.refresh_ms()).await?;
        self.logged_in(&session.ok_or_else(wrong_password)?)
    }

    /// The user of this name and the hash that the password was verified by, if it is right.
    /// Whether the name or the password is wrong can be told neither from the answer nor from its
    /// time.
    async fn check_password(
        &self,
        name: &str,
        password: &str,
        ClientAddress(address): ClientAddress,
    ) -> Answer<(User, String)> {
        let attempt = self.throttle.admit(Attempt::new(address, name))?;
        // A name that nobody can have is as unknown as another.
        let can_be = check_text("name", name, MAX_NAME_BYTES).is_ok();
        let found = if can_be { self.ledger.user_by_name(name).await? } else { None };
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        // A very long password would take longer than a wrong one.
        let is_right = self
            .passwords
            .verify(&password[..password.floor_char_boundary(MAX_BYTES)], hash)
            .await?;
        let is_right = is_right && password.len() <= MAX_BYTES;
        match found.filter(|(user, _)| is_right && user.disabled_ms.is_none()) {
            Some(found) => {
                attempt.succeeded();
                metrics::counter!("tonemill_logins_total", "outcome" => "ok").increment(1);
                Ok(found)
            }
            None => {
                attempt.failed();
                metrics::counter!("tonemill_logins_total", "outcome" => "refused").increment(1);
                Err(wrong_password())
            }
        }
    }

    fn logged_in(&self, session: &Session) -> Answer<LoggedIn> {
        let Session { id, user, refresh } = session;
        let now = self.ledger.now_ms();
        let lifetimes = self.tokens.lifetimes();
        Ok(LoggedIn {
            access_token: self.tokens.sign(now, user.id, user.role.name(), *id)?,
            token_type: "Bearer",
            expires_in: lifetimes.access.as_secs(),
            refresh_token: refresh.text(),
            refresh_expires_in: lifetimes.refresh.as_secs(),
        })
    }

    fn refresh_ms(&self) -> i64 {
        i64::try_from(self.tokens.lifetimes().refresh.as_millis()).unwrap_or(i64::MAX)
    }
}
