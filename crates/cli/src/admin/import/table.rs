//! The table of users of another system, read whole before anything is done with it.
//!
//! Its columns are found by their names. Every value comes as bytes, cut where it is too long for us
//! anyway: whether it is text is decided for each user, not for the table.

use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _, ValueRef as _};
use tokio::time::timeout;
use tonemill_api::auth::password::MAX_BYTES;
use url::Url;

use crate::failure::Failure;
use crate::text::plain;

/// Most users that are read; with names and passwords of usual length some 30 MB.
pub(super) const MAX_USERS: usize = 100_000;
/// How long the database may take to answer, and to send the next row.
const PATIENCE: Duration = Duration::from_secs(20);
/// Columns that users log in with, the likeliest first: the tutorial has `email`.
const NAMES: [&str; 3] = ["email", "username", "name"];
const PASSWORDS: [&str; 4] = ["password", "password_hash", "hashed_password", "passwd"];

/// What the table says of a user; `None` where it says nothing.
pub(super) struct Row {
    pub(super) name: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
    /// Where mails go.
    pub(super) email: Option<Vec<u8>>,
    pub(super) is_admin: bool,
    /// Whether it may log in there.
    pub(super) is_active: bool,
}

/// Reads the users of `table` in the database at `url`, in the order of their ids.
pub(super) async fn read(
    url: &str,
    table: &str,
    name_column: Option<&str>,
) -> Result<Vec<Row>, Failure> {
    let dialect = Dialect::of(url)?;
    let place = place(url, dialect)?;
    let failed = |error: sqlx::Error| told_by(&place, &error);
    let late = |_| Failure::fault(format!("{place} does not answer"), "");
    sqlx::any::install_default_drivers();
    let connecting = timeout(PATIENCE, AnyConnection::connect(url)).await;
    let mut connection = connecting.map_err(late)?.map_err(failed)?;
    let known = timeout(PATIENCE, dialect.columns(&mut connection, table)).await;
    let columns = Columns { dialect, table, known: known.map_err(late)?.map_err(failed)? };
    let query = columns.query(name_column, &place)?;
    let mut found = sqlx::query(AssertSqlSafe(query)).fetch(&mut connection);
    let mut rows = Vec::new();
    while let Some(row) = timeout(PATIENCE, found.next()).await.map_err(late)? {
        if rows.len() == MAX_USERS {
            let advice = "import them in parts, each a view that --table names";
            let message = format!("the table {} has more than {MAX_USERS} users", plain(table));
            return Err(Failure::usage(message, advice));
        }
        rows.push(read_row(&row.map_err(failed)?).map_err(failed)?);
    }
    Ok(rows)
}

fn read_row(row: &AnyRow) -> Result<Row, sqlx::Error> {
    let [name, password, email] = [value(row, 0)?, value(row, 1)?, value(row, 2)?];
    let [flag, role, active] = [value(row, 3)?, value(row, 4)?, value(row, 5)?];
    let says = |value: Option<Vec<u8>>, words: &[&str]| {
        let value = value.unwrap_or_default().to_ascii_lowercase();
        words.iter().any(|word| word.as_bytes() == value)
    };
    // MySQL's BIT is the byte itself.
    let is_admin = says(flag, &["1", "t", "true", "y", "yes", "on", "\u{1}"])
        || says(role, &["admin", "administrator"]);
    let is_active = !says(active, &["0", "f", "false", "n", "no", "off", "\0"]);
    Ok(Row { name, password, email, is_admin, is_active })
}

fn value(row: &AnyRow, index: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    if row.try_get_raw(index)?.is_null() {
        return Ok(None);
    }
    let text = row.try_get::<String, _>(index).map(String::into_bytes);
    text.or_else(|_| row.try_get(index)).map(Some)
}

/// What the databases say differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    MySql,
    Postgres,
    Sqlite,
}

impl Dialect {
    fn of(url: &str) -> Result<Self, Failure> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("mysql" | "mariadb") => Ok(Self::MySql),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            Some("sqlite") => Ok(Self::Sqlite),
            _ => Err(Failure::usage(
                "--from is the address of no database",
                "it starts with mysql:, mariadb:, postgres: or sqlite:, as \
                 mysql://USER:PASSWORD@HOST/auth",
            )),
        }
    }

    /// The columns of a table; none if it is not there, or nobody to be seen by us.
    async fn columns(
        self,
        connection: &mut AnyConnection,
        table: &str,
    ) -> Result<Vec<String>, sqlx::Error> {
        let (text, table) = match self {
            Self::MySql => (
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ?",
                table.to_owned(),
            ),
            Self::Postgres => (
                "SELECT CAST(attname AS TEXT) FROM pg_attribute \
                 WHERE attrelid = to_regclass(CAST($1 AS TEXT)) AND attnum > 0 \
                 AND NOT attisdropped",
                self.quoted(table),
            ),
            Self::Sqlite => ("SELECT name FROM pragma_table_info(?)", table.to_owned()),
        };
        let rows = sqlx::query(text).bind(table).fetch_all(connection).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// A name as it stands in statements.
    fn quoted(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres | Self::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A column's value as text, or as bytes where it may be none, cut behind the longest password.
    fn value(self, column: &str) -> String {
        let (column, most) = (self.quoted(column), MAX_BYTES + 1);
        match self {
            Self::MySql => format!("SUBSTR({column}, 1, {most})"),
            Self::Postgres => format!("SUBSTR(CAST({column} AS TEXT), 1, {most})"),
            // Of a text it would take what is before a NUL.
            Self::Sqlite => format!("SUBSTR(CAST({column} AS BLOB), 1, {most})"),
        }
    }
}

/// A table's columns.
struct Columns<'a> {
    dialect: Dialect,
    table: &'a str,
    known: Vec<String>,
}

impl Columns<'_> {
    /// The first that is called by one of these names.
    fn find(&self, names: &[&str]) -> Option<&str> {
        let called = |name: &&str| self.known.iter().find(|known| known.eq_ignore_ascii_case(name));
        names.iter().find_map(called).map(String::as_str)
    }

    /// Asks for what a [`Row`] has, in this order.
    fn query(&self, name_column: Option<&str>, place: &str) -> Result<String, Failure> {
        let shown = plain(self.table);
        if self.known.is_empty() {
            let message = format!("{place} has no table {shown} that may be read");
            return Err(Failure::usage(message, "name it with --table"));
        }
        let name = name_column.as_ref().map_or(&NAMES[..], std::slice::from_ref);
        let needed = |names: &[&str]| {
            self.find(names).ok_or_else(|| {
                let known = plain(&self.known.join(", "));
                Failure::usage(
                    format!("the table {shown} has no column {}, but {known}", names.join(" or ")),
                    "name another with --table, or a view with the columns email and password",
                )
            })
        };
        let of = |column: &str| self.dialect.value(column);
        let [name, password] = [of(needed(name)?), of(needed(&PASSWORDS)?)];
        let or_nothing = |names: &[&str]| self.find(names).map_or("NULL".to_owned(), of);
        let [email, flag] = [or_nothing(&["email"]), or_nothing(&["is_admin", "admin"])];
        let [role, active] = [or_nothing(&["role"]), or_nothing(&["is_active", "active"])];
        let quoted = |column: &str| self.dialect.quoted(column);
        let order = self.find(&["id"]).map(|id| format!(" ORDER BY {}", quoted(id)));
        Ok(format!(
            "SELECT {name}, {password}, {email}, {flag}, {role}, {active} FROM {}{}",
            quoted(self.table),
            order.unwrap_or_default()
        ))
    }
}

/// Where the database is, without user and password.
fn place(url: &str, dialect: Dialect) -> Result<String, Failure> {
    if dialect == Dialect::Sqlite {
        return Ok(plain(url.split('?').next().unwrap_or_default()));
    }
    // What the parser says may quote the password.
    let parsed = Url::parse(url).ok().filter(Url::has_host);
    let parsed = parsed.ok_or_else(|| {
        Failure::usage(
            "--from cannot be read",
            "it is like mysql://USER:PASSWORD@HOST/auth, with %40 for an @ in the password, %2F \
             for a slash, %23 for a #",
        )
    })?;
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(plain(&format!("the database {host}{port}{}", parsed.path())))
}

/// What the database said, or why it did not.
fn told_by(place: &str, error: &sqlx::Error) -> Failure {
    let why = match error {
        sqlx::Error::Database(error) => plain(error.message()),
        sqlx::Error::Io(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            plain(&error.to_string())
        }
        sqlx::Error::Tls(_) => "it has no TLS that can be trusted".to_owned(),
        sqlx::Error::Configuration(_) => {
            return Failure::usage(format!("{place}: --from asks for what it cannot have"), "");
        }
        _ => "it does not answer as such a database does".to_owned(),
    };
    Failure::fault(format!("{place} cannot be read: {why}"), "")
}
