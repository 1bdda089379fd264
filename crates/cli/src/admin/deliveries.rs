//! What users were told, or are to be, for operators.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use tonemill_ledger::deliveries::{Delivery, DeliveryFilter, DeliveryState};
use tonemill_ledger::{Ledger, Owner};
use uuid::Uuid;

use crate::args::admin::{DeliveriesCommand, WhereArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_line};
use crate::text::plain;

/// Deliveries that are read at a time.
const PAGE: u32 = 500;

pub(super) async fn run(command: &DeliveriesCommand) -> Result<Outcome, Failure> {
    match command {
        DeliveriesCommand::List { state, user, job, webhook, limit, at } => {
            let ledger = at.ledger().await?;
            let owner = match user {
                Some(name) => Owner::User(super::users::find(&ledger, name).await?.id),
                None => Owner::Anyone,
            };
            let filter =
                DeliveryFilter { state: *state, job: *job, webhook: *webhook, before: None };
            let deliveries = ledger.list_deliveries(owner, &filter, *limit).await?;
            list(at, &ledger, deliveries).await
        }
        DeliveriesCommand::Show { delivery, at } => show(at, *delivery).await,
        DeliveriesCommand::Replay { all_dead: true, at, .. } => replay_all_dead(at).await,
        DeliveriesCommand::Replay { deliveries, at, .. } => replay(at, deliveries).await,
    }
}

async fn list(
    at: &WhereArgs,
    ledger: &Ledger,
    deliveries: Vec<Delivery>,
) -> Result<Outcome, Failure> {
    let mut names = HashMap::new();
    for delivery in deliveries {
        let told = if at.json {
            print_json(&as_json(&delivery))
        } else {
            let name = match names.entry(delivery.user) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let user = ledger.user(delivery.user).await?;
                    new.insert(user.map_or("-".to_owned(), |user| user.name))
                }
            };
            print_line(&as_line(&delivery, name))
        };
        if told != Outcome::Done {
            return Ok(told);
        }
    }
    Ok(Outcome::Done)
}

fn as_line(delivery: &Delivery, user: &str) -> String {
    let Delivery { id, state, event, attempts, answer, .. } = delivery;
    let (since, state) = (time(delivery.created_ms), state.name());
    let next = match delivery.state {
        DeliveryState::Owed => format!(", next {}", time(delivery.next_ms)),
        _ => String::new(),
    };
    let answer = answer.as_deref().map(|answer| format!(": {}", plain(answer)));
    let answer = answer.unwrap_or_default();
    let to = to(delivery);
    format!("{id}  {since}  {user}  {state:9}  {event}  {to}  {attempts} attempts{next}{answer}")
}

/// By RFC 3339, to the second.
fn time(ms: i64) -> String {
    let time = Timestamp::from_second(ms.div_euclid(1000));
    time.map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// Where it goes.
fn to(delivery: &Delivery) -> String {
    match delivery.webhook {
        Some(webhook) => format!("webhook {webhook}"),
        None => "mail".to_owned(),
    }
}

fn as_json(delivery: &Delivery) -> serde_json::Value {
    let is_owed = delivery.state == DeliveryState::Owed;
    serde_json::json!({
        "id": delivery.id,
        "user": delivery.user,
        "job": delivery.job,
        "webhook": delivery.webhook,
        "event": delivery.event,
        "event_id": delivery.event_id,
        "state": delivery.state.name(),
        "attempts": delivery.attempts,
        "next_ms": is_owed.then_some(delivery.next_ms),
        "answer": delivery.answer,
        "created_ms": delivery.created_ms,
        "ended_ms": delivery.ended_ms,
    })
}

/// Everything, as JSON: whoever asks looks for something.
async fn show(at: &WhereArgs, id: Uuid) -> Result<Outcome, Failure> {
    let found = at.ledger().await?.delivery(Owner::Anyone, id).await?;
    let (delivery, payload, attempts) =
        found.ok_or_else(|| Failure::usage(format!("there is no delivery {id}"), ""))?;
    let mut json = as_json(&delivery);
    json["payload"] = payload;
    json["attempt_log"] = attempts
        .into_iter()
        .map(|attempt| {
            serde_json::json!({
                "attempt": attempt.attempt,
                "started_ms": attempt.started_ms,
                "ended_ms": attempt.ended_ms,
                "answer": attempt.answer,
            })
        })
        .collect();
    Ok(if at.json { print_json(&json) } else { print_line(&format!("{json:#}")) })
}

async fn replay(at: &WhereArgs, deliveries: &[Uuid]) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let mut worst = Outcome::Done;
    for id in deliveries {
        let is_replayed = ledger.replay_delivery(Owner::Anyone, *id).await?;
        worst = worst.max(tell(at, *id, is_replayed));
    }
    Ok(worst)
}

/// From the newest to the oldest, so that one that is given up again meanwhile is not met twice.
async fn replay_all_dead(at: &WhereArgs) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let mut dead = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    let mut worst = Outcome::Done;
    loop {
        let page = ledger.list_deliveries(Owner::Anyone, &dead, PAGE).await?;
        let Some(last) = page.last() else { return Ok(worst) };
        dead.before = Some(last.id);
        for delivery in page {
            let is_replayed = ledger.replay_delivery(Owner::Anyone, delivery.id).await?;
            worst = worst.max(tell(at, delivery.id, is_replayed));
        }
    }
}

fn tell(at: &WhereArgs, id: Uuid, is_replayed: bool) -> Outcome {
    let (what, outcome) = if is_replayed {
        ("is owed again", Outcome::Done)
    } else {
        ("is owed still, or not there", Outcome::BadInput)
    };
    let told = if at.json {
        print_json(&serde_json::json!({ "delivery": id, "done": is_replayed, "told": what }))
    } else {
        print_line(&format!("{id} {what}"))
    };
    outcome.max(told)
}
