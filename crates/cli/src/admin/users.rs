//! Users, for operators.

use std::io::Read as _;

use tonemill_api::admin::{check_email, check_name};
use tonemill_api::auth::password::{MAX_BYTES, Passwords, check_new, one_time};
use tonemill_api::problem::Problem;
use tonemill_ledger::users::{NewUser, User, UserChange};
use tonemill_ledger::{Ledger, Quotas};

use crate::args::admin::{MailEvents, PasswordArgs, UsersCommand, WhereArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_line};

/// Users that are read at a time.
const PAGE: u32 = 500;

pub(super) async fn run(command: &UsersCommand) -> Result<Outcome, Failure> {
    match command {
        UsersCommand::List(at) => list(at).await,
        UsersCommand::Add { name, role, email, password, at } => {
            check_name(name).map_err(refused)?;
            let email = email.clone().map(check_email).transpose().map_err(refused)?.flatten();
            let (password, is_made) = password.read()?;
            let password_hash = hash(&password).await?;
            let new = NewUser { name: name.clone(), role: (*role).into(), password_hash, email };
            let added = at.ledger().await?.add_user(&new).await?;
            added.ok_or_else(|| Failure::usage(format!("the name {name} is taken"), ""))?;
            Ok(tell(at, name, "added", is_made.then_some(password)))
        }
        UsersCommand::Disable { name, at } => disable(at, name, true).await,
        UsersCommand::Enable { name, at } => disable(at, name, false).await,
        UsersCommand::Password { name, password, at } => {
            let (password, is_made) = password.read()?;
            let password_hash = Some(hash(&password).await?);
            change(at, name, UserChange { password_hash, ..UserChange::default() }).await?;
            Ok(tell(at, name, "has another password", is_made.then_some(password)))
        }
        UsersCommand::Role { name, role, at } => {
            let role = Some((*role).into());
            change(at, name, UserChange { role, ..UserChange::default() }).await?;
            Ok(tell(at, name, "has another role", None))
        }
        UsersCommand::Quota { name, jobs, bytes, minutes, at } => {
            let quotas = Some(Quotas {
                unfinished_jobs: *jobs,
                stored_bytes: *bytes,
                daily_audio_ms: minutes.map(|minutes| minutes.saturating_mul(60_000)),
            });
            change(at, name, UserChange { quotas, ..UserChange::default() }).await?;
            Ok(tell(at, name, "has other quotas", None))
        }
        UsersCommand::Mail { name, events, email, at } => {
            let email = email.clone().map(check_email).transpose().map_err(refused)?;
            let mail_events = events.clone().map(|MailEvents(events)| events);
            let change_of = UserChange { email, mail_events, ..UserChange::default() };
            change(at, name, change_of).await?;
            Ok(tell(at, name, "is mailed otherwise", None))
        }
    }
}

async fn disable(at: &WhereArgs, name: &str, disabled: bool) -> Result<Outcome, Failure> {
    let what = if disabled { "disabled" } else { "enabled" };
    let change_of = UserChange { disabled: Some(disabled), ..UserChange::default() };
    change(at, name, change_of).await?;
    Ok(tell(at, name, what, None))
}

async fn list(at: &WhereArgs) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let mut after: Option<String> = None;
    loop {
        let users = ledger.list_users(after.as_deref(), PAGE).await;
        let users = users?;
        let Some(last) = users.last() else { return Ok(Outcome::Done) };
        after = Some(last.name.clone());
        for user in users {
            let told = tell_user(at, &user);
            if told != Outcome::Done {
                return Ok(told);
            }
        }
    }
}

fn tell_user(at: &WhereArgs, user: &User) -> Outcome {
    let User { id, name, role, email, mail_events, disabled_ms, .. } = user;
    let role = role.name();
    let disabled = disabled_ms.is_some();
    if at.json {
        return print_json(&serde_json::json!({
            "id": id, "name": name, "role": role, "email": email, "mail_events": mail_events,
            "disabled": disabled,
        }));
    }
    let state = if disabled { "  disabled" } else { "" };
    print_line(&format!("{name}  {role}  {}{state}", email.as_deref().unwrap_or("-")))
}

async fn change(at: &WhereArgs, name: &str, change: UserChange) -> Result<(), Failure> {
    let ledger = at.ledger().await?;
    let user = find(&ledger, name).await?;
    let changed = ledger.change_user(user.id, &change).await?;
    if changed { Ok(()) } else { Err(no_user(name)) }
}

pub(super) async fn find(ledger: &Ledger, name: &str) -> Result<User, Failure> {
    let found = ledger.user_by_name(name).await?;
    found.map(|(user, _)| user).ok_or_else(|| no_user(name))
}

fn no_user(name: &str) -> Failure {
    Failure::usage(format!("there is no user {name}"), "")
}

pub(super) fn refused(problem: Problem) -> Failure {
    Failure::usage(problem.detail, "")
}

async fn hash(password: &str) -> Result<String, Failure> {
    let passwords = Passwords::new(1).map_err(refused)?;
    passwords.hash(password).await.map_err(refused)
}

fn tell(at: &WhereArgs, name: &str, what: &str, password: Option<String>) -> Outcome {
    if at.json {
        return print_json(&serde_json::json!({ "name": name, "password": password }));
    }
    let password = password.map(|password| format!(": {password} (this is told once)"));
    print_line(&format!("{name} {what}{}", password.unwrap_or_default()))
}

impl PasswordArgs {
    /// The password, and whether it was made here.
    fn read(&self) -> Result<(String, bool), Failure> {
        if !self.password_stdin {
            return Ok((one_time(), true));
        }
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_BYTES as u64 + 2).read_to_string(&mut text);
        read.map_err(|error| Failure::cannot("read standard input", error))?;
        let password = text.trim_end_matches(['\r', '\n']).to_owned();
        check_new(&password).map_err(refused)?;
        Ok((password, false))
    }
}
