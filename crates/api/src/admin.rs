//! Users, for administrators: `/v1/users`.

#![allow(unused_qualifications, reason = "in code that utoipa writes")]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonemill_ledger::users::{MAX_NAME_BYTES, NewUser, Role, User, UserChange};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::Api;
use crate::account::{QuotasView, check_mail_events};
use crate::auth::Caller;
use crate::auth::password::check_new;
use crate::body::{JsonBody, Nullable, Object, check_text, given};
use crate::extract::{Fields, Id};
use crate::jobs::view::time;
use crate::names::{self, EventName, RoleName};
use crate::problem::{Answer, Problem};

/// Longest address (RFC 5321 section 4.5.3.1).
pub(crate) const MAX_EMAIL_BYTES: usize = 254;
/// Users of a page at most.
const PAGE: u32 = 100;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    id: Uuid,
    name: String,
    /// `admin` or `user`.
    #[schema(value_type = RoleName)]
    role: &'static str,
    email: Option<String>,
    /// What it is mailed about; `null` is as everybody.
    #[schema(value_type = Option<Vec<EventName>>)]
    mail_events: Option<Vec<String>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when it may do nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// Its own; `null` is the service's default.
    quotas: QuotasView,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            role: user.role.name(),
            email: user.email,
            mail_events: user.mail_events,
            created_at: time(user.created_ms),
            disabled_at: user.disabled_ms.map(time),
            quotas: user.quotas.into(),
        }
    }
}

/// A user to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUserRequest {
    /// The name to log in with: an address is fine.
    #[schema(
        min_length = 1,
        max_length = 190,
        pattern = "^[^:\\s\\x00-\\x1f\\x7f-\\x9f]([^:\\x00-\\x1f\\x7f-\\x9f]*[^:\\s\\x00-\\x1f\\x7f-\\x9f])?$"
    )]
    name: String,
    /// 10 characters or more.
    #[schema(format = Password, min_length = 10, max_length = 1024)]
    password: String,
    /// `admin` or `user` (default).
    #[serde(default)]
    #[schema(value_type = Option<RoleName>)]
    role: Option<String>,
    /// Where it is written to.
    #[serde(default)]
    #[schema(schema_with = names::email, required = false)]
    email: Option<String>,
}

/// What of a user changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChangeRequest {
    /// `admin` or `user`.
    #[serde(default)]
    #[schema(value_type = Option<RoleName>)]
    role: Option<String>,
    /// A disabled user may do nothing, and its API keys end for good.
    #[serde(default)]
    disabled: Option<bool>,
    /// 10 characters or more. The user is logged out everywhere.
    #[serde(default)]
    #[schema(format = Password, min_length = 10, max_length = 1024)]
    password: Option<String>,
    /// Where it is written to; `null`: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = names::email, required = false)]
    email: Option<Nullable<String>>,
    /// What it is mailed about: nothing, if it is empty; `null` is as everybody.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<EventName>>)]
    mail_events: Option<Nullable<Vec<String>>>,
    /// All three at once.
    #[serde(default)]
    #[schema(value_type = Option<QuotasView>)]
    quotas: Option<Object<QuotasView>>,
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    /// Those after this name.
    #[param(max_length = 190)]
    after: Option<String>,
    #[param(ignore)]
    #[allow(dead_code, reason = "read by the caller's extractor")]
    access_token: Option<String>,
}

/// List users, by name, at most 100 at a time.
#[utoipa::path(
    get, path = "/v1/users", tag = "Administration",
    params(UserQuery),
    responses(
        (status = 200, description = "A page", body = Vec<UserView>),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn list_users(
    State(api): State<Api>,
    caller: Caller,
    Fields(query): Fields<UserQuery>,
) -> Answer<Json<Vec<UserView>>> {
    caller.may_administer()?;
    let after = query.after.unwrap_or_default();
    check_text("after", &after, MAX_NAME_BYTES)?;
    let users = api.ledger.list_users(Some(&after), PAGE).await?;
    Ok(Json(users.into_iter().map(UserView::from).collect()))
}

/// Add a user.
#[utoipa::path(
    post, path = "/v1/users", tag = "Administration",
    request_body = NewUserRequest,
    responses(
        (status = 201, description = "The user", body = UserView),
        (status = 409, description = "The name is taken"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn add_user(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(new): JsonBody<NewUserRequest>,
) -> Answer<(StatusCode, Json<UserView>)> {
    caller.may_administer()?;
    check_name(&new.name)?;
    check_new(&new.password)?;
    let new = NewUser {
        role: new.role.as_deref().map_or(Ok(Role::User), role)?,
        email: new.email.map(check_email).transpose()?.flatten(),
        password_hash: api.passwords.hash(&new.password).await?,
        name: new.name,
    };
    let added = api.ledger.add_user(&new).await?;
    let user = added.ok_or_else(|| Problem::conflict("the name is taken").field("name"))?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Change a user.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "Administration",
    params(("id" = String, Path, format = Uuid, description = "The user")),
    request_body = UserChangeRequest,
    responses(
        (status = 200, description = "The user as it is now", body = UserView),
        (status = 404, description = "There is no such user"),
        (status = 409, description = "You would lock yourself out"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn change_user(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
    JsonBody(change): JsonBody<UserChangeRequest>,
) -> Answer<Json<UserView>> {
    caller.may_administer()?;
    let no_user = || Problem::not_found("there is no such user");
    let new_role = change.role.as_deref().map(role).transpose()?;
    let is_loss = change.disabled == Some(true) || new_role == Some(Role::User);
    if id == caller.user.id && is_loss {
        return Err(Problem::conflict("an administrator cannot take that from itself"));
    }
    if let Some(Object(quotas)) = &change.quotas {
        quotas.check()?;
    }
    let password_hash = match change.password {
        None => None,
        Some(password) => {
            check_new(&password)?;
            Some(api.passwords.hash(&password).await?)
        }
    };
    let email = change.email.map(|Nullable(email)| email.map_or(Ok(None), check_email));
    let change = UserChange {
        role: new_role,
        disabled: change.disabled,
        password_hash,
        if_password_hash: None,
        email: email.transpose()?,
        mail_events: change.mail_events.map(check_mail_events).transpose()?,
        quotas: change.quotas.map(|Object(quotas)| quotas.into()),
    };
    if !api.ledger.change_user(id, &change).await? {
        return Err(no_user());
    }
    let user = api.ledger.user(id).await?.ok_or_else(no_user)?;
    Ok(Json(user.into()))
}

/// Whether a new user can be called so.
pub fn check_name(name: &str) -> Answer<()> {
    check_text("name", name, MAX_NAME_BYTES)?;
    let invalid = |why: &str| Err(Problem::invalid(why).field("name"));
    if name.trim() != name || name.is_empty() {
        return invalid("a name has neither space around it nor nothing in it");
    }
    // HTTP Basic ends the name there (RFC 7617 section 2).
    if name.contains(':') || name.chars().any(char::is_control) {
        return invalid("a name has no colon and no control characters");
    }
    Ok(())
}

fn role(name: &str) -> Answer<Role> {
    Role::named(name).ok_or_else(|| Problem::invalid("admin or user").field("role"))
}

/// An address, or `None` for an empty text. It is one that needs no quotes (RFC 5321 section
/// 4.1.2), in ASCII: in the head of a mail it is itself, and nothing besides.
pub fn check_email(text: String) -> Answer<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    check_text("email", &text, MAX_EMAIL_BYTES)?;
    let is_atom = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || ATOM.contains(&byte);
        !part.is_empty() && part.bytes().all(is_plain)
    };
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_edged = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && label.bytes().all(is_plain) && !is_edged
    };
    let is_address = text.split_once('@').is_some_and(|(local, host)| {
        local.split('.').all(is_atom) && host.split('.').all(is_label)
    });
    if !is_address {
        return Err(Problem::invalid("this is no address").field("email"));
    }
    Ok(Some(text))
}

/// What an address may hold before its `@`, besides letters and digits (RFC 5322 section 3.2.3).
const ATOM: &[u8] = b"!#$%&'*+-/=?^_`{|}~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_and_nothing_else() {
        let check = |text: &str| check_email(text.to_owned());
        for good in ["a@b", "a.b+c@example.org", "o'hara@xn--bcher-kva.example", "!#$%@a-b.c0"] {
            assert_eq!(check(good).unwrap().as_deref(), Some(good));
        }
        assert_eq!(check("").unwrap(), None);
        let of_bytes = |bytes: usize| format!("{}@b", "a".repeat(bytes - 2));
        assert!(check(&of_bytes(MAX_EMAIL_BYTES)).is_ok());
        let long = of_bytes(MAX_EMAIL_BYTES + 1);
        for bad in [
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a@b,c@d",
            "a@b, c@d",
            "a@b;c",
            "a,c@b",
            "a@b c",
            " a@b",
            "a@b ",
            "a@b\n",
            "a@b\r\nBcc: c@d",
            "a\0@b",
            "a@b\u{7f}",
            "a@b\u{a0}",
            "<a@b>",
            "A <a@b>",
            "\"a\"@b",
            "\"a b\"@c",
            "a(b)@c",
            "a@[127.0.0.1]",
            "a..b@c",
            ".a@b",
            "a.@b",
            "a@b..c",
            "a@.b",
            "a@b.",
            "a@-b",
            "a@b-",
            "a:b@c",
            "a\\@b",
            "a@b/c",
            "a@b_c",
            "\u{fc}@b",
            "a@\u{fc}.org",
            "a@b\u{202e}",
            "a@b%0a",
            &long,
        ] {
            let problem = check(bad).expect_err(bad);
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("email")), "{bad}");
        }
    }
}
