//! One's own account: who one is, what one has and may have, and what one is mailed about.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tonemill_ledger::users::{User, UserChange};
use tonemill_ledger::{Quotas, Usage};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::admin::check_email;
use crate::auth::{Caller, no_user};
use crate::body::{JsonBody, Nullable, given, whole};
use crate::names::{self, EventName, RoleName};
use crate::problem::{Answer, Problem};
use crate::webhooks::target::check_events;

/// Who one is, what one has, and what one may have.
#[derive(Serialize, ToSchema)]
pub struct Me {
    id: Uuid,
    /// The name to log in with.
    name: String,
    /// `admin` or `user`.
    #[schema(value_type = RoleName)]
    role: &'static str,
    /// Where you are written to.
    email: Option<String>,
    /// What you are mailed about; `null` is as everybody: `job.finished` and `job.failed`, unless
    /// whoever runs the service says otherwise.
    #[schema(value_type = Option<Vec<EventName>>)]
    mail_events: Option<Vec<String>>,
    usage: UsageView,
    /// What is absent has no limit.
    quotas: QuotasView,
}

#[derive(Serialize, ToSchema)]
struct UsageView {
    unfinished_jobs: u64,
    stored_bytes: u64,
    /// Converted since midnight (UTC).
    daily_audio_minutes: f64,
}

/// What a user may have; `null` is as much as it likes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotasView {
    /// Jobs that wait or run.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub unfinished_jobs: Option<u64>,
    /// Uploads and outputs in the store.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub stored_bytes: Option<u64>,
    /// Audio that is converted in a day (UTC).
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub daily_audio_minutes: Option<u64>,
}

/// The largest number that every JSON has (RFC 8259 section 6).
const MOST: u64 = (1 << 53) - 1;
/// Their milliseconds are a number of the ledger's.
const MOST_MINUTES: u64 = 1_000_000_000_000;

impl QuotasView {
    /// Whether the ledger can keep them.
    pub(crate) fn check(&self) -> Answer<()> {
        for (field, value, most) in [
            ("quotas.unfinished_jobs", self.unfinished_jobs, MOST),
            ("quotas.stored_bytes", self.stored_bytes, MOST),
            ("quotas.daily_audio_minutes", self.daily_audio_minutes, MOST_MINUTES),
        ] {
            if value.is_some_and(|value| value > most) {
                return Err(Problem::invalid(format!("is at most {most}")).field(field));
            }
        }
        Ok(())
    }
}

impl From<Quotas> for QuotasView {
    fn from(quotas: Quotas) -> Self {
        Self {
            unfinished_jobs: quotas.unfinished_jobs,
            stored_bytes: quotas.stored_bytes,
            daily_audio_minutes: quotas.daily_audio_ms.map(|ms| ms / 60_000),
        }
    }
}

impl From<QuotasView> for Quotas {
    fn from(view: QuotasView) -> Self {
        Self {
            unfinished_jobs: view.unfinished_jobs,
            stored_bytes: view.stored_bytes,
            daily_audio_ms: view.daily_audio_minutes.map(|minutes| minutes.saturating_mul(60_000)),
        }
    }
}

/// What of your account changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MeChangeRequest {
    /// Where you are written to; `null`: nowhere.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = names::email)]
    email: Option<Nullable<String>>,
    /// What you are mailed about: nothing, if it is empty; `null` is as everybody.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<EventName>>)]
    mail_events: Option<Nullable<Vec<String>>>,
}

/// Who you are, and what you have.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account",
    responses((status = 200, description = "You", body = Me))
)]
pub async fn me(State(api): State<Api>, caller: Caller) -> Answer<Json<Me>> {
    Ok(Json(api.account(caller.user).await?))
}

/// Change where you are written to, and about what.
#[utoipa::path(
    patch, path = "/v1/me", tag = "Account",
    request_body = MeChangeRequest,
    responses(
        (status = 200, description = "You, as you are now", body = Me),
        (status = 403, description = "By an API key"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn change_me(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(change): JsonBody<MeChangeRequest>,
) -> Answer<Json<Me>> {
    // Mails have links that work without logging in: who leads them elsewhere shows a password.
    caller.log_in()?;
    let email = change.email.map(|Nullable(email)| email.map_or(Ok(None), check_email));
    let change = UserChange {
        email: email.transpose()?,
        mail_events: change.mail_events.map(check_mail_events).transpose()?,
        ..UserChange::default()
    };
    let id = caller.user.id;
    if !api.ledger.change_user(id, &change).await? {
        return Err(no_user());
    }
    let user = api.ledger.user(id).await?.ok_or_else(no_user)?;
    Ok(Json(api.account(user).await?))
}

/// What somebody is mailed about, each once; `None` is as everybody.
pub(crate) fn check_mail_events(
    Nullable(events): Nullable<Vec<String>>,
) -> Answer<Option<Vec<String>>> {
    events.map(|events| check_events("mail_events", &events)).transpose()
}

impl Api {
    async fn account(&self, user: User) -> Answer<Me> {
        let found = self.ledger.usage(user.id).await?;
        let (usage, quotas): (Usage, Quotas) = found.unwrap_or_default();
        Ok(Me {
            id: user.id,
            name: user.name,
            role: user.role.name(),
            email: user.email,
            mail_events: user.mail_events,
            usage: UsageView {
                unfinished_jobs: usage.unfinished_jobs,
                stored_bytes: usage.stored_bytes,
                daily_audio_minutes: usage.daily_audio_ms as f64 / 60_000.0,
            },
            quotas: quotas.into(),
        })
    }
}
