//! Who asks: an access token or an API key, looked up with every request, so that what is ended
//! ends at once.

pub mod password;
pub mod tokens;

use std::fmt;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt as _};
use serde::Deserialize;
use tonemill_ledger::Owner;
use tonemill_ledger::credentials::{Token, TokenKind};
use tonemill_ledger::users::{Role, User};
use uuid::Uuid;

use crate::Api;
use crate::middleware::Counted;
use crate::problem::{Answer, Problem};

/// Who asks, and may.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: User,
    /// How it showed who it is.
    pub via: Via,
    shown: Shown,
}

/// The token that was shown, for whoever lasts: it may end meanwhile.
#[derive(Clone)]
struct Shown(String);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

/// How somebody showed who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// By a password, in this log-in.
    LogIn(Uuid),
    /// By an API key that may do this.
    ApiKey(Vec<Scope>),
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Look at jobs and download outputs.
    Read,
    /// Submit, cancel, replay and delete jobs.
    Write,
    /// What administrators may do, if its user is one.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl Caller {
    /// Its own jobs.
    #[must_use]
    pub fn own(&self) -> Owner {
        Owner::User(self.user.id)
    }

    /// Whether it may do what `scope` stands for. Whoever logged in may do all that its user may.
    pub fn may(&self, scope: Scope) -> Answer<()> {
        match &self.via {
            Via::ApiKey(scopes) if !scopes.contains(&scope) => {
                let name = scope.name();
                Err(Problem::forbidden(format!("this API key lacks the scope \"{name}\"")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is an administrator, and may act as one.
    pub fn may_administer(&self) -> Answer<()> {
        if self.user.role != Role::Admin {
            return Err(Problem::forbidden("this is for administrators"));
        }
        self.may(Scope::Admin)
    }

    /// The log-in: for what API keys may not do, such as making others.
    pub fn log_in(&self) -> Answer<Uuid> {
        match self.via {
            Via::LogIn(session) => Ok(session),
            Via::ApiKey(_) => Err(Problem::forbidden("an API key may not do this: log in")),
        }
    }
}

/// An access token in the query, for what cannot send headers, such as a browser's `EventSource`
/// (RFC 6750 section 2.3). Taken by GET requests alone.
#[derive(Deserialize)]
struct InQuery {
    access_token: Option<String>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        let bearer = parts.headers.typed_get::<Authorization<Bearer>>();
        let token = match bearer {
            Some(bearer) => bearer.token().to_owned(),
            None => match parts.headers.get("x-api-key").map(|key| key.to_str()) {
                Some(Ok(key)) => key.to_owned(),
                _ => in_query(parts).ok_or_else(|| {
                    Problem::unauthorized("send an access token or an API key as Bearer")
                })?,
            },
        };
        let caller = api.caller(&token).await?;
        let user = caller.user.id;
        if let Some(counted) = parts.extensions.get::<Counted>() {
            counted.set(user);
            api.count_request(user)?;
            counted.answer(api.in_flight.enter(user)?);
        }
        Ok(caller)
    }
}

/// The user was there when the request came.
pub(crate) fn no_user() -> Problem {
    Problem::unauthorized("this user may not log in any more")
}

fn in_query(parts: &Parts) -> Option<String> {
    if parts.method != axum::http::Method::GET {
        return None;
    }
    Query::<InQuery>::try_from_uri(&parts.uri).ok()?.0.access_token
}

impl Api {
    /// Looks again whether a caller is one, as if its request came now.
    pub(crate) async fn look_again(&self, caller: &Caller) -> Answer<Caller> {
        self.caller(&caller.shown.0).await
    }

    /// Who shows this token.
    async fn caller(&self, token: &str) -> Answer<Caller> {
        let shown = Shown(token.to_owned());
        let refused =
            |why: &str| Problem::unauthorized(why).challenge("Bearer error=\"invalid_token\"");
        if let Some(key) = Token::parse(TokenKind::ApiKey, token) {
            let found = self.ledger.api_key_user(&key).await?;
            let (user, scopes) = found
                .ok_or_else(|| refused("this API key is unknown, has expired or was revoked"))?;
            let scopes = scopes.split(' ').filter_map(Scope::named).collect();
            return Ok(Caller { user, via: Via::ApiKey(scopes), shown });
        }
        let mut claims = self.tokens.verify(self.ledger.now_ms(), token);
        if claims.is_none() && self.tokens.learn_key(&self.ledger, token).await? {
            claims = self.tokens.verify(self.ledger.now_ms(), token);
        }
        let claims =
            claims.ok_or_else(|| refused("this access token is not, or no longer, good"))?;
        let user = self.ledger.session_user(claims.sid).await?;
        let user = user.filter(|user| user.id == claims.sub);
        let user = user.ok_or_else(|| refused("this log-in has ended: log in again"))?;
        Ok(Caller { user, via: Via::LogIn(claims.sid), shown })
    }
}
