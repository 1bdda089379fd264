//! One's own account: who one is, what one has, and what one may have.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tonemill_ledger::{Quotas, Usage};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::Caller;
use crate::body::whole;
use crate::names::RoleName;
use crate::problem::{Answer, Problem};

/// Who one is, what one has, and what one may have.
#[derive(Serialize, ToSchema)]
pub struct Me {
    id: Uuid,
    /// The name to log in with.
    name: String,
    /// `admin` or `user`.
    #[schema(value_type = RoleName)]
    role: &'static str,
    email: Option<String>,
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

/// Who you are, and what you have.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account",
    responses((status = 200, description = "You", body = Me))
)]
pub async fn me(State(api): State<Api>, caller: Caller) -> Answer<Json<Me>> {
    let found = api.ledger.usage(caller.user.id).await?;
    let (usage, quotas): (Usage, Quotas) = found.unwrap_or_default();
    let user = caller.user;
    Ok(Json(Me {
        id: user.id,
        name: user.name,
        role: user.role.name(),
        email: user.email,
        usage: UsageView {
            unfinished_jobs: usage.unfinished_jobs,
            stored_bytes: usage.stored_bytes,
            daily_audio_minutes: usage.daily_audio_ms as f64 / 60_000.0,
        },
        quotas: quotas.into(),
    }))
}
