//! `tonemill admin import`: the users of the tutorial's system and of what others made of it come
//! over, and log in as before.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tonemill_testbed::mariadb::MariaDb;
use tonemill_testbed::postgres::Postgres;

use crate::client::file;
use crate::jobs::clip;
use crate::ledger::Ledger;
use crate::separate::NOWHERE;
use crate::service::Service;
use crate::support::process::{Finished, program};

/// The table of the tutorial, and its kind of password: too short for a new one of ours.
const TUTORIAL: [&str; 2] = [
    "CREATE TABLE user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
     email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)",
    "INSERT INTO user (email, password) VALUES ('ada@example.org', 'Admin123'), \
     ('Eve@example.org', 'pass word:with äöü $ and more')",
];
const HASH: &str = "$2b$12$saltsaltsaltsaltsaltsOhashhashhashhashhashhashhashha";

/// More columns, other names, hashes, nothing, bytes that are no text.
const STRANGE: [&str; 2] = [
    "CREATE TABLE `the ``users` (id INT PRIMARY KEY, Username VARBINARY(400), \
     email VARCHAR(255) CHARACTER SET latin1, PASSWD LONGTEXT, is_admin BIT(1), \
     is_active TINYINT DEFAULT 1, created_at TIMESTAMP, note JSON)",
    "INSERT INTO `the ``users` (id, Username, email, PASSWD, is_admin, is_active) VALUES \
     (9, 'admin', NULL, 'another password', 1, 1), \
     (1, 'ada', 'ada@example.org', 'a good password', b'1', 1), \
     (2, 'Ada', 'ad\u{e4}@example.org', '$2b$12$abcdefghijklmnopqrstuu', NULL, NULL), \
     (3, 'ada', NULL, 'twice', 0, 1), \
     (4, NULL, NULL, 'no name at all', 0, 1), \
     (5, X'ff61', NULL, 'no text at all', 0, 1), \
     (6, 'a:b', NULL, 'no name for Basic', 0, 1), \
     (7, REPEAT('n', 190), NULL, REPEAT('p', 1024), 0, 1), \
     (8, REPEAT('m', 191), NULL, 'too long a name', 0, 1), \
     (10, 'long', NULL, REPEAT('p', 1025), 0, 1), \
     (11, 'none', '', NULL, 0, 1), \
     (12, 'empty', NULL, '', 0, 1), \
     (13, 'gone', NULL, 'not any more', 0, 0), \
     (14, ' space ', NULL, 'space around', 0, 1), \
     (15, CONCAT('esc', CHAR(27), '[2J'), NULL, 'a trick', 0, 1)",
];

/// What the ledger holds of its users.
const BOOK: &str = "SELECT name || ' ' || role || ' ' || password_hash || ' ' || COALESCE(email, '-') \
                    FROM users ORDER BY name";

async fn made(url: &str, statements: &[&'static str]) {
    let mut table = Ledger::open(url).await;
    for statement in statements {
        table.change(statement, &[]).await;
    }
}

async fn import(service: &Service, from: &str, more: &[&str]) -> Finished {
    service.operate(&[&["import", "--from", from], more].concat()).await
}

/// What was told of each user, in short.
fn outcomes(finished: &Finished) -> Vec<(String, String)> {
    let text = |user: &Value, member: &str| user[member].as_str().unwrap_or_default().to_owned();
    let lines = finished.json_lines();
    lines.iter().map(|user| (text(user, "name"), text(user, "outcome"))).collect()
}

/// Whether a name and a password are good for a log-in, as clients of the tutorial do it.
async fn logs_in(service: &Service, name: &str, password: &str) -> bool {
    let reply = service.nobody().post("/login").basic(name, password).send().await;
    assert!(matches!(reply.status, 200 | 401), "{reply:?}");
    reply.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_the_tutorial_go_on_as_before() {
    let (server, service) = (MariaDb::start(), Service::embedded());
    let from = server.fresh_database();
    made(&from, &TUTORIAL).await;
    let mut ledger = Ledger::of(&service).await;
    let before = ledger.texts(BOOK).await;
    let tried = import(&service, &from, &["--dry-run"]).await.succeeded();
    assert_eq!(ledger.texts(BOOK).await, before, "nothing is changed");
    let told = String::from_utf8(tried.stdout).unwrap();
    let due = "ada@example.org would be added; its password is shorter than 10 characters\n\
               Eve@example.org would be added\n\
               2 would be added, 2 with their password and 0 with a new one; 0 there already; 0 \
               left out; 0 not taken\n";
    assert_eq!(told, due);

    let done = import(&service, &from, &[]).await.succeeded();
    let told = String::from_utf8(done.stdout).unwrap();
    assert_eq!(told, due.replace("would be added", "added"));
    let name = "ada@example.org";
    let reply = service.nobody().post("/login").basic(name, "Admin123").send().await.expect(200);
    let ada = service.nobody().with(reply.text());
    let me = ada.get("/v1/me").send().await.expect(200).json();
    assert_eq!((&me["role"], &me["email"]), (&json!("user"), &json!(name)));
    let video = clip();
    let form = [file("video.mp4", &video)];
    let reply = ada.post("/upload").form(&form).send().await.expect(200);
    let job = reply.header("x-job-id").expect("the job").to_owned();
    ada.finished(&job).await;
    ada.get(format!("/download?fid={job}")).send().await.expect(200);
    // An id of the old system is one that is not there.
    ada.get("/download?fid=61f1c2d3e4a5b6c7d8e9f0a1").send().await.problem(404);
    assert!(logs_in(&service, "Eve@example.org", "pass word:with äöü $ and more").await);
    assert!(!logs_in(&service, "eve@example.org", "pass word:with äöü $ and more").await);

    let book = ledger.texts(BOOK).await;
    assert!(!book.concat().contains("Admin123"));
    let again = import(&service, &from, &["--json"]).await.succeeded();
    let there = |name: &str| (name.to_owned(), "there".to_owned());
    assert_eq!(outcomes(&again), [there(name), there("Eve@example.org")]);
    let new = import(&service, &from, &["--new-passwords"]).await.succeeded();
    assert!(String::from_utf8(new.stdout).unwrap().contains("2 there already"));
    assert_eq!(ledger.texts(BOOK).await, book, "a second time changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_user_of_a_strange_table_is_told_of() {
    let (server, service) = (MariaDb::start(), Service::embedded());
    let from = server.fresh_database();
    made(&from, &STRANGE).await;
    let more = ["--table", "the `users", "--name-column", "username", "--json"];
    let done = import(&service, &from, &more).await.ended_with(1);
    let users = done.json_lines();
    let (n, m) = ("n".repeat(190), "m".repeat(191));
    let outcome = |name: &str, outcome: &str| (name.to_owned(), outcome.to_owned());
    let due = [
        outcome("ada", "added"),
        outcome("Ada", "added"),
        outcome("ada", "refused"),
        outcome("", "refused"),
        outcome("\u{fffd}a", "refused"),
        outcome("a:b", "refused"),
        outcome(&n, "added"),
        outcome(&m, "refused"),
        outcome("admin", "there"),
        outcome("long", "added"),
        outcome("none", "added"),
        outcome("empty", "added"),
        outcome("gone", "inactive"),
        outcome(" space ", "refused"),
        outcome("esc\u{1b}[2J", "refused"),
    ];
    assert_eq!(outcomes(&done), due);
    assert_eq!(
        (&users[0]["role"], &users[0]["email"]),
        (&json!("admin"), &json!("ada@example.org"))
    );
    assert_eq!((&users[1]["role"], &users[1]["email"]), (&json!("user"), &Value::Null));
    let notes = ["only case tells it from ada", "no mails can go to its address"];
    assert_eq!(users[1]["notes"], json!(notes));
    assert!(logs_in(&service, "ada", "a good password").await);
    assert!(logs_in(&service, &n, &"p".repeat(1024)).await);
    for (row, why) in
        [(1, "its own is hashed"), (9, "its own is too long"), (10, "it has none there")]
    {
        assert_eq!(users[row]["password_made"], why);
        let [name, password] = ["name", "password"].map(|key| users[row][key].as_str().unwrap());
        assert!(logs_in(&service, name, password).await, "{name}");
    }
    assert!(!logs_in(&service, "Ada", "$2b$12$abcdefghijklmnopqrstuu").await);
    assert!(
        !logs_in(&service, "empty", "").await && !logs_in(&service, "gone", "not any more").await
    );
    let told = import(&service, &from, &more[..4]).await.ended_with(1);
    let told = String::from_utf8(told.stdout).unwrap();
    for line in ["ada not taken: an earlier row has this name", "row 4 not taken: it has no name"] {
        assert!(told.lines().any(|told| told == line), "{told}");
    }
    assert!(
        !told.contains('\u{1b}') && told.ends_with("7 there already; 1 left out; 7 not taken\n")
    );
}

/// As with `| head`: who was added would have a password that nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_added_when_nobody_reads() {
    let service = Service::embedded();
    let from = format!("sqlite://{}", service.scratch("users.db").display());
    made(
        &format!("{from}?mode=rwc"),
        &[
            "CREATE TABLE user (email TEXT, password TEXT)",
            "INSERT INTO user VALUES ('a@example.org', NULL), ('b@example.org', NULL), \
             ('c@example.org', NULL)",
        ],
    )
    .await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["admin", "import", "--from", &from, "--data"]).arg(service.data());
    let ended = tokio::task::spawn_blocking(move || command.stdout(writer).output().unwrap());
    assert_eq!(ended.await.unwrap().status.code(), Some(3));
    let mut ledger = Ledger::of(&service).await;
    assert_eq!(ledger.number("SELECT COUNT(*) FROM users").await, 2, "and the administrator");
}

/// Forks keep them in PostgreSQL, hashed and with a role; small ones in a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_databases_will_do() {
    let service = Service::embedded();
    let server = Postgres::start();
    let from = server.fresh_database();
    made(
        &from,
        &[
            "CREATE TABLE auth_user (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             email VARCHAR (255) NOT NULL UNIQUE, password VARCHAR (255) NOT NULL, \
             role VARCHAR (32) NOT NULL DEFAULT 'user', is_active BOOLEAN DEFAULT TRUE, \
             created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
            "CREATE TABLE \"user\" (email TEXT, password CHAR(60))",
        ],
    )
    .await;
    let mut table = Ledger::open(&from).await;
    let insert = "INSERT INTO auth_user (email, password, role, is_active) VALUES \
                  ($1, $2, 'admin', NULL), ('b@example.org', 'plain enough', 'user', TRUE), \
                  ('c@example.org', 'plain enough', 'user', FALSE)";
    table.change(insert, &["a@example.org", HASH]).await;
    let done = import(&service, &from, &["--table", "auth_user", "--json"]).await.succeeded();
    let users = done.json_lines();
    let [outcomes, roles] =
        ["outcome", "role"].map(|key| users.iter().map(|u| u[key].clone()).collect::<Vec<_>>());
    assert_eq!(outcomes, ["added", "added", "inactive"]);
    assert_eq!(roles, [json!("admin"), json!("user"), Value::Null]);
    assert!(logs_in(&service, "a@example.org", users[0]["password"].as_str().unwrap()).await);
    assert!(logs_in(&service, "b@example.org", "plain enough").await);
    assert!(users[1]["password"].is_null());

    let file = service.scratch("users.db");
    let from = format!("sqlite://{}", file.display());
    made(
        &format!("{from}?mode=rwc"),
        &[
            "CREATE TABLE users (name TEXT, password_hash BLOB)",
            "INSERT INTO users VALUES ('d@example.org', 'plain enough'), (X'ff', 'plain enough'), \
             (12, X'ff'), ('e' || char(0), 'plain enough')",
        ],
    )
    .await;
    let arguments = ["--table", "users", "--new-passwords", "--json"];
    let done = import(&service, &from, &arguments).await.ended_with(1).json_lines();
    let made = |row: usize| (done[row]["outcome"].clone(), done[row]["password_made"].clone());
    assert_eq!(made(0), (json!("added"), json!("as asked")));
    assert_eq!(
        (made(1).0, done[1]["why"].clone()),
        (json!("refused"), json!("its name is no text"))
    );
    assert_eq!((made(2).0, done[2]["name"].clone()), (json!("added"), json!("12")));
    // Not as "e".
    assert_eq!(made(3).0, json!("refused"));
    assert!(!logs_in(&service, "d@example.org", "plain enough").await);
    assert!(logs_in(&service, "d@example.org", done[0]["password"].as_str().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_said_without_passwords() {
    let (server, service) = (MariaDb::start(), Service::embedded());
    let good = server.fresh_database();
    made(&good, &["CREATE TABLE other (id INT, login TEXT, password TEXT)", TUTORIAL[0]]).await;
    let port = server.port();
    let at = |rest: &str| format!("mysql://tonemill:s3cret@{rest}");
    let missing = service.scratch("missing.db");
    let no_book = service.scratch("no.db");
    std::fs::write(&no_book, "no database".repeat(100)).unwrap();
    let strange = nobody_of_a_database();
    let no_database = format!("{good}_not");
    let sqlite = |path: &Path| format!("sqlite://{}", path.display());
    for (from, table, code, why) in [
        ("mongodb://me:s3cret@h/auth", "user", 2, "starts with mysql:"),
        ("mysql://me:s3cret#x@h/auth", "user", 2, "%23 for a #"),
        ("s3cret", "user", 2, "starts with mysql:"),
        (&at(&format!("{NOWHERE}/auth")), "user", 3, "cannot be read: Connection refused"),
        (&at(&format!("127.0.0.1:{port}/auth")), "user", 3, "Access denied"),
        (&at(&format!("{strange}/auth")), "user", 3, "it does not answer as such a database does"),
        (&no_database, "user", 3, "Unknown database"),
        (&good, "nobody", 2, "has no table nobody that may be read: name it with --table"),
        (&good, "other", 2, "has no column email or username or name, but id, login, password"),
        (&good, "user` WHERE 1=0 -- ", 2, "has no table"),
        (&sqlite(&missing), "user", 3, "cannot be read: unable to open"),
        (&sqlite(&no_book), "user", 3, "file is not a database"),
    ] {
        let ended = import(&service, from, &["--table", table]).await.ended_with(code);
        assert!(ended.stderr.contains(why), "{from}: {}", ended.stderr);
        for word in ["s3cret", "sqlx", "Error"] {
            assert!(!ended.stderr.contains(word), "{from}: {}", ended.stderr);
        }
        let password = good.split([':', '@']).nth(2).unwrap();
        assert!(!ended.stderr.contains(password) && ended.stdout.is_empty());
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert!(!missing.exists());
    import(&service, &good, &["--name-column", "password"]).await.succeeded();
    let none = import(&service, &good, &["--name-column", "login"]).await.ended_with(2);
    assert!(
        none.stderr.contains("has no column login, but id, email, password"),
        "{}",
        none.stderr
    );
}

/// Where somebody answers once, in another language.
fn nobody_of_a_database() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 hello\r\n").unwrap());
    address
}

/// As many as are read, and one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_has_a_size() {
    let service = Service::embedded();
    let from = format!("sqlite://{}", service.scratch("users.db").display());
    made(
        &format!("{from}?mode=rwc"),
        &[
            "CREATE TABLE user (email TEXT, password TEXT)",
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT 100000) \
             INSERT INTO user SELECT NULL, 'password of somebody' FROM number",
        ],
    )
    .await;
    let most = import(&service, &from, &["--dry-run"]).await.ended_with(1);
    assert!(String::from_utf8(most.stdout).unwrap().ends_with("; 100000 not taken\n"));
    made(&from, &["INSERT INTO user VALUES ('one@example.org', 'more')"]).await;
    let ended = import(&service, &from, &[]).await.ended_with(2);
    assert!(ended.stderr.contains("has more than 100000 users"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
}
