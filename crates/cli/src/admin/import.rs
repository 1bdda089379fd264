//! `tonemill admin import`: the users of another system, which keeps them in a table as the Flask
//! tutorial does.
//!
//! The table is read and looked at as a whole first. Then each user is added in one step, or not at
//! all; who is in the ledger already is left alone, so that the command can be given again. A
//! password in plain text goes on being good, hashed as ours are. Of a hash nobody can tell the
//! password: such users get one that is made here.

mod table;

use std::collections::HashMap;
use std::thread::available_parallelism;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tonemill_api::admin::{check_email, check_name};
use tonemill_api::auth::password::{MAX_BYTES, MIN_CHARS, Passwords, check_new, one_time};
use tonemill_ledger::Ledger;
use tonemill_ledger::users::{NewUser, Role};

use crate::args::admin::ImportArgs;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_line, print_line_to_somebody};
use crate::text::plain;

use super::users::refused;
use table::Row;

/// Most passwords that are hashed at a time: each takes 19 MiB.
const MAX_THREADS: usize = 8;

pub(super) async fn run(args: &ImportArgs) -> Result<Outcome, Failure> {
    let rows = table::read(&args.from, &args.table, args.name_column.as_deref()).await?;
    let config = args.at.ledger_config()?;
    let ledger = if args.dry_run {
        Ledger::open_to_look(config).await?
    } else {
        Ledger::open(config).await?
    };
    let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let passwords = Passwords::new(threads).map_err(refused)?;
    let mut seen = Seen::default();
    let wanted: Vec<Wanted> = rows.into_iter().map(|row| seen.look(row, args)).collect();
    let prepared = stream::iter(wanted).map(|wanted| prepare(wanted, args, &ledger, &passwords));
    let mut prepared = prepared.buffered(2 * threads);
    let mut counts = Counts::default();
    let mut worst = Outcome::Done;
    while let Some(mut user) = prepared.next().await.transpose()? {
        // Added one by one: should the ledger go away, only of one it is not known whether it is in.
        if let Some(new) = user.new.take()
            && ledger.add_user(&new).await?.is_none()
        {
            user.end = End::There;
        }
        // Passwords are told once: who is added when nobody reads them any more is the last.
        let told = user.tell(args);
        if told != Outcome::Done {
            return Ok(told);
        }
        worst = worst.max(counts.count(&user));
    }
    let told = if args.at.json { Outcome::Done } else { print_line(&counts.text(args)) };
    Ok(worst.max(told))
}

/// What becomes of a user.
enum End {
    /// Added, or would be.
    Added(Added),
    /// In the ledger before.
    There,
    /// May not log in there, and so not here.
    Inactive,
    /// Cannot be here, and why.
    Refused(String),
}

struct Added {
    role: Role,
    email: Option<String>,
    password: Password,
    /// What somebody should know.
    notes: Vec<String>,
}

enum Password {
    /// The one that it had.
    Kept(String),
    /// A new one, since that cannot be.
    Made(String, &'static str),
}

impl Password {
    /// `asked`: a new one in any case.
    fn of(found: Option<Vec<u8>>, asked: bool) -> Self {
        let made = |why| Self::Made(one_time(), why);
        match found.map(String::from_utf8) {
            _ if asked => made("as asked"),
            None => made("it has none there"),
            Some(Err(_)) => made("its own is no text"),
            Some(Ok(text)) if text.is_empty() => made("it has none there"),
            Some(Ok(text)) if text.len() > MAX_BYTES => made("its own is too long"),
            Some(Ok(text)) if is_hash(&text) => made("its own is hashed"),
            Some(Ok(text)) => Self::Kept(text),
        }
    }
}

/// A user of the table, by number and name there.
struct Wanted {
    row: usize,
    name: String,
    end: End,
}

/// The same, with what is to be written down.
struct User {
    row: usize,
    name: String,
    end: End,
    new: Option<NewUser>,
}

/// The users that were looked at so far.
#[derive(Default)]
struct Seen {
    rows: usize,
    /// Names, by what they are in small letters.
    names: HashMap<String, Vec<String>>,
}

impl Seen {
    /// What is to become of a user, as far as the table tells.
    fn look(&mut self, found: Row, args: &ImportArgs) -> Wanted {
        self.rows += 1;
        let name = found.name.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let name = name.into_owned();
        let end = self.decide(&name, found, args).unwrap_or_else(End::Refused);
        Wanted { row: self.rows, name, end }
    }

    fn decide(&mut self, name: &str, found: Row, args: &ImportArgs) -> Result<End, String> {
        let bytes = found.name.ok_or("it has no name")?;
        if bytes != name.as_bytes() {
            return Err("its name is no text".to_owned());
        }
        check_name(name).map_err(|problem| problem.detail)?;
        let alike = self.names.entry(name.to_lowercase()).or_default();
        if alike.iter().any(|other| other == name) {
            return Err("an earlier row has this name".to_owned());
        }
        let twin = alike.first().cloned();
        alike.push(name.to_owned());
        if !found.is_active {
            return Ok(End::Inactive);
        }
        let mut notes = Vec::new();
        notes.extend(twin.map(|twin| format!("only case tells it from {}", plain(&twin))));
        let password = Password::of(found.password, args.new_passwords);
        if let Password::Kept(text) = &password
            && check_new(text).is_err()
        {
            notes.push(format!("its password is shorter than {MIN_CHARS} characters"));
        }
        let said = found
            .email
            .map_or(name.to_owned(), |email| String::from_utf8_lossy(&email).into_owned());
        let email = check_email(said.clone()).ok().flatten();
        if email.is_none() && said.contains('@') {
            notes.push("no mails can go to its address".to_owned());
        }
        let role = if found.is_admin { Role::Admin } else { Role::User };
        Ok(End::Added(Added { role, email, password, notes }))
    }
}

/// Looks whether a user is in the ledger, and hashes the password of one that is not.
async fn prepare(
    Wanted { row, name, end }: Wanted,
    args: &ImportArgs,
    ledger: &Ledger,
    passwords: &Passwords,
) -> Result<User, Failure> {
    let user = |name, end, new| Ok(User { row, name, end, new });
    let End::Added(added) = &end else { return user(name, end, None) };
    if ledger.user_by_name(&name).await?.is_some() {
        return user(name, End::There, None);
    }
    if args.dry_run {
        return user(name, end, None);
    }
    let (Password::Kept(password) | Password::Made(password, _)) = &added.password;
    let password_hash = passwords.hash(password).await.map_err(refused)?;
    let (role, email) = (added.role, added.email.clone());
    let new = NewUser { name: name.clone(), role, password_hash, email };
    user(name, end, Some(new))
}

impl User {
    fn tell(&self, args: &ImportArgs) -> Outcome {
        let text = if args.at.json { self.as_json(args).to_string() } else { self.text(args) };
        print_line_to_somebody(&text)
    }

    fn as_json(&self, args: &ImportArgs) -> serde_json::Value {
        let Self { row, name, end, .. } = self;
        match end {
            End::Added(Added { role, email, password, notes }) => {
                let (made, why) = match password {
                    Password::Kept(_) => (None, None),
                    Password::Made(text, why) => ((!args.dry_run).then_some(text), Some(why)),
                };
                let outcome = if args.dry_run { "would_be_added" } else { "added" };
                json!({
                    "row": row, "name": name, "outcome": outcome, "role": role.name(),
                    "email": email, "password": made, "password_made": why, "notes": notes,
                })
            }
            End::There => json!({ "row": row, "name": name, "outcome": "there" }),
            End::Inactive => json!({ "row": row, "name": name, "outcome": "inactive" }),
            End::Refused(why) => {
                json!({ "row": row, "name": name, "outcome": "refused", "why": why })
            }
        }
    }

    fn text(&self, args: &ImportArgs) -> String {
        let name = match plain(&self.name) {
            name if name.is_empty() => format!("row {}", self.row),
            name => name,
        };
        let added = match &self.end {
            End::Added(added) => added,
            End::There => return format!("{name} is there already, and left as it is"),
            End::Inactive => return format!("{name} left out: it may not log in there either"),
            End::Refused(why) => return format!("{name} not taken: {why}"),
        };
        let done = if args.dry_run { "would be added" } else { "added" };
        let role = if added.role == Role::Admin { " as administrator" } else { "" };
        let password = match &added.password {
            Password::Kept(_) => String::new(),
            Password::Made(_, why) if args.dry_run => format!(" with a new password: {why}"),
            Password::Made(made, why) => format!(": {made} (this is told once; {why})"),
        };
        let told = format!("{name} {done}{role}{password}");
        [vec![told], added.notes.clone()].concat().join("; ")
    }
}

#[derive(Default)]
struct Counts {
    kept: usize,
    made: usize,
    there: usize,
    inactive: usize,
    refused: usize,
}

impl Counts {
    fn count(&mut self, user: &User) -> Outcome {
        let counter = match &user.end {
            End::Added(Added { password: Password::Kept(_), .. }) => &mut self.kept,
            End::Added(_) => &mut self.made,
            End::There => &mut self.there,
            End::Inactive => &mut self.inactive,
            End::Refused(_) => &mut self.refused,
        };
        *counter += 1;
        if self.refused > 0 { Outcome::BadInput } else { Outcome::Done }
    }

    fn text(&self, args: &ImportArgs) -> String {
        let Self { kept, made, there, inactive, refused } = self;
        let added = if args.dry_run { "would be added" } else { "added" };
        format!(
            "{} {added}, {kept} with their password and {made} with a new one; {there} there \
             already; {inactive} left out; {refused} not taken",
            kept + made
        )
    }
}

/// Whether a password looks like a hash of one. What looks like one and is none costs its user a new
/// password; a hash that was taken for a password would be good to log in with for whoever saw the
/// table.
fn is_hash(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // crypt(3) and PHC: $2b$12$…; Werkzeug: scrypt:32768:8:1$salt$hash; Django:
    // pbkdf2_sha256$1000$salt$hash.
    let methods = ["$", "pbkdf2", "scrypt", "bcrypt", "argon2", "sha", "md5", "SCRAM"];
    let is_method = methods.iter().any(|method| text.starts_with(method));
    // MD5, SHA-1, SHA-2, SHA-3.
    let is_digest = matches!(text.len(), 32 | 40 | 56 | 64 | 96 | 128) && is_hex(text);
    // MySQL's own, PostgreSQL's way to show bytes, LDAP's and Spring's {SSHA}…
    let is_mysqls = text.len() == 41 && text.strip_prefix('*').is_some_and(is_hex);
    let is_bytes = ["\\x", "0x"].iter().any(|x| text.strip_prefix(x).is_some_and(is_hex));
    // PostgreSQL's own; and MD5 with its salt, as Joomla has it.
    let is_md5 = |text: &str| text.len() == 32 && is_hex(text);
    let is_md5 = text.strip_prefix("md5").is_some_and(is_md5)
        || text.split_once(':').is_some_and(|(digest, _)| is_md5(digest));
    let is_named = text.starts_with('{') && text.contains('}');
    is_method && text.matches('$').count() >= 2
        || is_digest
        || is_base64_digest(text)
        || is_mysqls
        || is_bytes
        || is_md5
        || is_named
}

/// Whether a text is as long as MD5, SHA-1, SHA-256 or SHA-512 is in base64, and ends like it.
fn is_base64_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    let digits = text.trim_end_matches('=');
    let lengths = (digits.len(), text.len() - digits.len());
    matches!(lengths, (22 | 86, 2) | (27 | 43, 1)) && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_from_passwords() {
        let hex = |digits: usize| "0a".repeat(digits / 2);
        for hash in [
            "$2b$12$saltsaltsaltsaltsaltsOhashhashhashhashhashhashhashha",
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
            "$6$salt$hash",
            "pbkdf2:sha256:600000$salt$0a0a",
            "scrypt:32768:8:1$salt$0a0a",
            "sha256$salt$0a0a",
            "pbkdf2_sha256$216000$salt$hash=",
            "bcrypt_sha256$$2b$12$hash",
            "{SSHA}aGFzaA==",
            "{bcrypt}$2a$10$hash",
            "\\x24326224",
            "0x24326224",
            "md55f4dcc3b5aa765d61d8327deb882cf99",
            "5f4dcc3b5aa765d61d8327deb882cf99:salt",
            "SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5",
            "X03MO1qnZdYdgyfeuILPmQ==",
            "W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=",
        ] {
            assert!(is_hash(hash), "{hash}");
        }
        for digits in [32, 40, 56, 64, 96, 128] {
            assert!(is_hash(&hex(digits)), "{digits}");
            assert!(!is_hash(&hex(digits + 2)), "{digits}");
        }
        assert!(is_hash(&format!("*{}", hex(40))) && !is_hash(&format!("*{}", hex(38))));
        for password in [
            "Admin123",
            "123456",
            "Winter2021//",
            "a$b$c",
            "$x",
            "md5$x",
            "sha256",
            "{",
            "*0a",
            "äö",
            "X03MO1qnZdYdgyfeuILPmQ",
            "a b c d e f g h i j k ==",
            "==",
        ] {
            assert!(!is_hash(password), "{password}");
        }
    }
}
