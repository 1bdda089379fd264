//! Webhooks of users, for operators. What they are signed with is no operator's business.

use tonemill_ledger::webhooks::Webhook;
use uuid::Uuid;

use crate::args::admin::{WebhooksCommand, WhereArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_line};
use crate::text::plain;

pub(super) async fn run(command: &WebhooksCommand) -> Result<Outcome, Failure> {
    match command {
        WebhooksCommand::List { user, at } => list(at, user).await,
        WebhooksCommand::Enable { webhook, at } => enable(at, *webhook).await,
    }
}

async fn list(at: &WhereArgs, name: &str) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let user = super::users::find(&ledger, name).await?;
    for webhook in ledger.webhooks(user.id).await? {
        let told = if at.json {
            print_json(&as_json(&webhook))
        } else {
            let Webhook { id, url, events, disabled_ms, disabled_why, .. } = &webhook;
            let state = match (disabled_ms, disabled_why) {
                (None, _) => String::new(),
                (Some(_), None) => "  disabled".to_owned(),
                (Some(_), Some(why)) => format!("  disabled: {}", plain(why)),
            };
            print_line(&format!("{id}  {url}  {}{state}", events.join(",")))
        };
        if told != Outcome::Done {
            return Ok(told);
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn as_json(webhook: &Webhook) -> serde_json::Value {
    serde_json::json!({
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "job": webhook.job,
        "created_ms": webhook.created_ms,
        "disabled_ms": webhook.disabled_ms,
        "disabled_why": webhook.disabled_why,
    })
}

async fn enable(at: &WhereArgs, id: Uuid) -> Result<Outcome, Failure> {
    if !at.ledger().await?.enable_webhook(id).await? {
        return Err(Failure::usage(format!("there is no webhook {id}"), ""));
    }
    Ok(if at.json {
        print_json(&serde_json::json!({ "webhook": id, "done": true }))
    } else {
        print_line(&format!("{id} is told again"))
    })
}
