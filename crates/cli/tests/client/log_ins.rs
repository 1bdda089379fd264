//! Log-ins: who is refused and how, where tokens are kept, and how they change under many hands.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tonemill_testbed::tls::Authority;

use crate::PATIENCE;
use crate::home::{Home, complaint, mode};
use crate::service::{PASSWORD, Service};
use crate::support::process::{Finished, start};

/// No token that the client has is in what it said.
fn assert_silent(home: &Home, finished: &Finished) {
    let said = format!("{}{}", String::from_utf8_lossy(&finished.stdout), finished.stderr);
    for log_in in home.credentials()["servers"].as_object().unwrap().values() {
        for token in ["access_token", "refresh_token"] {
            assert!(!said.contains(log_in[token].as_str().unwrap()), "{said}");
        }
    }
    assert!(!said.contains(PASSWORD), "{said}");
}

fn token(home: &Home, kind: &str) -> Value {
    let credentials = home.credentials();
    credentials["servers"][credentials["current"].as_str().unwrap()][kind].clone()
}

#[test]
fn whoever_is_refused_knows_why() {
    let service = Service::embedded();
    let home = Home::new();
    let url = service.url();
    let wrong = home.log_in(&url, "not the right password").ended_with(2);
    assert_eq!(complaint(&wrong), "wrong name or password: try again");
    let nobody = home.run(&["jobs"]).ended_with(2);
    assert!(complaint(&nobody).contains("you are not logged in"));
    let unreachable = home.log_in("http://127.0.0.1:1", PASSWORD).ended_with(3);
    assert!(complaint(&unreachable).contains("cannot be reached: Connection refused"));
    assert!(unreachable.took < Duration::from_secs(5), "{:?}", unreachable.took);
    let nowhere = home.log_in(&format!("{url}/elsewhere"), PASSWORD).ended_with(1);
    assert!(complaint(&nowhere).contains("there is nothing at"), "{}", nowhere.stderr);
    let open = home.log_in("http://user:secret@localhost", PASSWORD).ended_with(2);
    assert!(!open.stderr.contains("secret"), "{}", open.stderr);
    assert!(!home.kept("credentials.json").exists());
    let unasked = start(&mut without_terminal(&home.command(&["login", &url, "--name", "admin"])));
    let unasked = unasked.finish(PATIENCE).ended_with(2);
    assert!(complaint(&unasked).contains("there is no terminal to ask on"), "{}", unasked.stderr);

    let told = home.log_in(&url, PASSWORD).succeeded();
    assert_silent(&home, &told);
    // Tokens of one service are nothing for another.
    let other = home.run(&["jobs", "--url", "http://127.0.0.1:1"]).ended_with(2);
    assert!(complaint(&other).contains("not logged in at http://127.0.0.1:1"));
    let key = home.command(&["jobs"]).env("TONEMILL_TOKEN", "tm_wrong").output().unwrap();
    assert_eq!(key.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&key.stderr).ends_with("check the API key\n"));

    home.run(&["logout"]).succeeded();
    assert!(home.credentials()["servers"].as_object().unwrap().is_empty());
    home.run(&["jobs"]).ended_with(2);
    home.run(&["logout"]).ended_with(2);
}

#[test]
fn tokens_are_for_their_user_alone() {
    let service = Service::embedded();
    let home = Home::new();
    let mut command = Command::new("sh");
    let inner = home.command(&[]);
    let environment = inner.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(environment).arg("-c");
    command.arg("umask 000; echo \"$3\" | \"$1\" login \"$2\" --name admin --password-stdin");
    command.args(["sh", env!("CARGO_BIN_EXE_tonemill"), &service.url(), PASSWORD]);
    start(&mut command).finish(PATIENCE).succeeded();
    assert_eq!(mode(&home.kept("credentials.json")), 0o600);
    assert_eq!(mode(&home.kept("")), 0o700);
    // One that others could read is made private by the next change.
    home.log_in(&service.url(), PASSWORD).succeeded();
    assert_eq!(mode(&home.kept("credentials.json")), 0o600);
    assert!(
        !home
            .kept("")
            .read_dir()
            .unwrap()
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with(".new") })
    );
    fs::write(home.kept("credentials.json"), "{").unwrap();
    let damaged = home.run(&["jobs"]).ended_with(3);
    assert!(complaint(&damaged).contains("damaged"));
}

#[test]
fn an_expired_token_is_renewed_once_for_all() {
    let service = Service::with(&["--access-token", "1"]);
    let home = Home::logged_in(&service.url());
    let first = token(&home, "refresh_token");
    sleep(Duration::from_millis(2100));
    let told = home.run(&["jobs"]).succeeded();
    assert_silent(&home, &told);
    let second = token(&home, "refresh_token");
    assert_ne!(first, second);
    sleep(Duration::from_millis(2100));
    let many: Vec<_> = (0..8).map(|_| home.start(&["jobs", "--json"])).collect();
    for running in many {
        running.finish(PATIENCE).succeeded();
    }
    // When the time of grace is over, a token that comes twice ends the log-in.
    service.change("UPDATE credentials SET used_ms = used_ms - 11000");
    home.run(&["jobs"]).succeeded();
    assert_eq!(mode(&home.kept("credentials.json")), 0o600);

    // The token of a thief, or of a copy of the file, ends it.
    let text = fs::read_to_string(home.kept("credentials.json")).unwrap();
    let (access, refresh) = (token(&home, "access_token"), token(&home, "refresh_token"));
    let old = text.replace(refresh.as_str().unwrap(), first.as_str().unwrap());
    fs::write(home.kept("credentials.json"), old.replace(access.as_str().unwrap(), "x")).unwrap();
    let ended = home.run(&["jobs"]).ended_with(2);
    assert!(complaint(&ended).contains("say `tonemill login http"), "{}", ended.stderr);
}

#[test]
fn an_authority_of_ones_own_is_named_once() {
    let authority = Authority::new();
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (certificate, key) = (path(authority.certificate_file()), path(authority.key_file()));
    let service = Service::with(&["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(service.url().starts_with("https://"));
    let home = Home::new();
    let unknown = home.log_in(&service.url(), PASSWORD).ended_with(3);
    assert!(complaint(&unknown).contains("--ca-file"), "{}", unknown.stderr);
    let wrong = home.log_in(&service.url().replace("https", "http"), PASSWORD);
    assert!(complaint(&wrong).ends_with("say https://"), "{}", wrong.stderr);

    let mut command = home.command(&["login", &service.url(), "--name", "admin"]);
    command.args(["--password-stdin", "--ca-file"]).arg(authority.ca_file());
    let password = home.put("password", PASSWORD.as_bytes());
    command.stdin(fs::File::open(password).unwrap());
    start(&mut command).finish(PATIENCE).succeeded();
    home.run(&["jobs"]).succeeded();
    let nothing = home.run(&["jobs", "--ca-file", "password"]).ended_with(2);
    assert!(complaint(&nothing).contains("--ca-file password"), "{}", nothing.stderr);
}

#[test]
fn a_token_in_the_environment_needs_no_log_in() {
    let service = Service::embedded();
    let home = Home::logged_in(&service.url());
    let access = token(&home, "access_token");
    let stranger = Home::new();
    let mut command = stranger.command(&["jobs"]);
    command.env_remove("XDG_CONFIG_HOME").env_remove("HOME");
    command.env("TONEMILL_URL", service.url()).env("TONEMILL_TOKEN", access.as_str().unwrap());
    start(&mut command).finish(PATIENCE).succeeded();
}

/// The command in a session of its own, which has no terminal, whoever runs the tests.
fn without_terminal(command: &Command) -> Command {
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    alone.stdin(Stdio::null());
    alone
}
