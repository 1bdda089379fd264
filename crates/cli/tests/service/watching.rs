//! Dashboards and alert rules are about metrics that the processes really tell, and promtool takes
//! them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tonemill_testbed::tls::Authority;

use crate::PATIENCE;
use crate::exposition::{Page, admin_port};
use crate::jobs::clip;
use crate::promql::{mentions, strange_labels};
use crate::separate::Separate;
use crate::service::{PASSWORD, Service};
use crate::support::process::start;

const RULES: &str = "prometheus/alerts.yaml";
const CASES: &str = "prometheus/alerts_test.yaml";
/// About what Kubernetes does: of metrics that are not ours.
const BACKUP: &str = "prometheus/backup.yaml";
const BACKUP_CASES: &str = "prometheus/backup_test.yaml";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deployed(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `make setup-test` installs it.
fn promtool(what: &str, path: &Path) {
    let ended = start(Command::new("promtool").args([what, "rules"]).arg(path)).finish(PATIENCE);
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.code, Some(0), "{said}{}", ended.stderr);
}

/// Every dashboard, by the name of its file.
fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(deployed("grafana")).expect("dashboards").flatten();
    let parse = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let board = serde_json::from_str(&read(&path));
        (name.clone(), board.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    let boards: Vec<_> = files.map(|file| parse(file.path())).collect();
    assert!(boards.len() > 1, "{boards:?}");
    boards
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let text = value[field].as_str().filter(|text| !text.is_empty());
    text.unwrap_or_else(|| panic!("there is no {field}: {value:#}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("there are no {field}: {value:#}"))
}

/// The panels of a dashboard that show something: not the titles of its rows.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "panels").iter().filter(|panel| panel["type"] != "row")
}

/// Every string in it, however deep.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// The rules, each from its name to the next.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let alerts = rules.split("- alert: ").skip(1);
    alerts.map(|alert| alert.split_once('\n').expect("a name")).collect()
}

#[test]
fn promtool_takes_the_rules() {
    promtool("check", &deployed(RULES));
    promtool("test", &deployed(CASES));
    promtool("check", &deployed(BACKUP));
    promtool("test", &deployed(BACKUP_CASES));
}

#[test]
fn each_alert_is_explained_and_has_cases() {
    let rules = read(&deployed(RULES)) + &read(&deployed(BACKUP));
    let cases = read(&deployed(CASES)) + &read(&deployed(BACKUP_CASES));
    let page = read(&root().join("docs/watching.md"));
    let runbooks = read(&root().join("docs/operate.md"));
    let cases: Vec<&str> = cases.split("expr: ").skip(1).collect();
    let is_word = |letter: char| letter.is_ascii_alphanumeric();
    let alerts = alerts(&rules);
    assert!(alerts.len() > 10, "{alerts:?}");
    for (name, alert) in alerts {
        for part in ["expr: ", "for: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        let severity = ["page", "ticket"].map(|to| alert.contains(&format!("severity: {to} }}")));
        assert_ne!(severity[0], severity[1], "{name}: a page or a ticket");
        let row = format!("\n| [`{name}`](operate.md#{}) |", name.to_lowercase());
        assert!(page.contains(&row), "{name} is not in docs/watching.md");
        let title = format!("\n### {name}\n");
        assert!(runbooks.contains(&title), "{name} has no runbook in docs/operate.md");
        let of_it = cases.iter().copied().filter(|case| {
            case.contains("alertname") && case.split(|l| !is_word(l)).any(|word| word == name)
        });
        let (silent, firing): (Vec<&str>, _) =
            of_it.partition(|case| case.contains("exp_samples: []"));
        assert!(!silent.is_empty(), "{name} has no case in which it is silent");
        let fires = firing.iter().any(|case| case.contains("alertstate=\"firing\""));
        assert!(fires, "{name} has no case in which it fires");
    }
}

/// What Grafana needs of a dashboard, and what a reader does.
#[test]
fn dashboards_are_whole() {
    let mut names = BTreeSet::new();
    for (file, board) in dashboards() {
        assert!(names.insert(text(&board, "uid").to_owned()), "{file}: the uid is another's");
        assert!(names.insert(text(&board, "title").to_owned()), "{file}: the title is another's");
        assert!(board["schemaVersion"].as_u64() >= Some(39), "{file}");
        assert_eq!(board["refresh"], "30s", "{file}");
        assert_eq!(board["tags"], json!(["tonemill"]), "{file}");
        let variables = list(&board["templating"], "list");
        let source = variables.iter().find(|variable| variable["name"] == "datasource");
        assert_eq!(source.expect("a variable")["query"], "prometheus", "{file}");
        let ids: BTreeSet<_> =
            list(&board, "panels").iter().map(|panel| panel["id"].as_u64()).collect();
        assert!(!ids.contains(&None), "{file}: a panel has no id");
        assert_eq!(ids.len(), list(&board, "panels").len(), "{file}: an id is there twice");
        for panel in panels(&board) {
            let title = text(panel, "title");
            text(panel, "description");
            let uid = &panel["datasource"]["uid"];
            assert_eq!(uid, "${datasource}", "{file}, {title}");
            text(&panel["fieldConfig"]["defaults"], "unit");
            let targets = list(panel, "targets");
            assert!(!targets.is_empty(), "{file}, {title}: shows nothing");
            for target in targets {
                text(target, "refId");
                let (expression, legend) = (text(target, "expr"), text(target, "legendFormat"));
                let strange = strange_labels(expression, legend);
                assert!(strange.is_empty(), "{file}, {title}: {strange:?} in {expression}");
            }
        }
    }
}

/// As rules, for promtool to read: Grafana's variables have become what they may stand for.
#[test]
fn promtool_takes_what_dashboards_ask() {
    let mut rules = Vec::new();
    for (_, board) in dashboards() {
        for target in panels(&board).flat_map(|panel| list(panel, "targets")) {
            let expression = text(target, "expr").replace("$__rate_interval", "5m");
            let expression = expression.replace("$route", ".*");
            assert!(!expression.contains('$'), "which variable is it? {expression}");
            let name = format!("panel_{}", rules.len());
            rules.push(json!({"record": name, "expr": expression}));
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    // Any JSON is YAML.
    let groups = json!({"groups": [{"name": "dashboards", "rules": rules}]});
    std::fs::write(file.path(), groups.to_string()).unwrap();
    promtool("check", file.path());
}

/// The metrics that rules and dashboards mention.
fn watched() -> BTreeSet<String> {
    let rules = read(&deployed(RULES));
    let boards = dashboards();
    let texts = boards.iter().flat_map(|(_, board)| strings(board)).chain([rules.as_str()]);
    let families = texts.flat_map(mentions).map(|mention| mention.family().map(str::to_owned));
    families.collect::<Result<_, _>>().unwrap_or_else(|why| panic!("{why}"))
}

/// One process of each kind, and one job that somebody is mailed about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_is_told() {
    let authority = Authority::new();
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (certificate, key) = (path(authority.certificate_file()), path(authority.key_file()));
    // In one process it has a folder as its store.
    let service = Service::with(&["--tls-cert", &certificate, "--tls-key", &key]);
    let ca = reqwest::Certificate::from_pem(&std::fs::read(authority.ca_file()).unwrap()).unwrap();
    let https = reqwest::Client::builder().add_root_certificate(ca).build().unwrap();

    let (mut all, mails) = (Separate::without_processes(None), tempfile::tempdir().unwrap());
    let admin = ("TONEMILL_ADMIN", "127.0.0.1:0");
    all.add_api(&[]);
    all.add_worker(&[admin]);
    let folder = ("TONEMILL_MAIL_FOLDER", mails.path().to_str().unwrap());
    let notifier = all.notifier(&[admin, folder]);
    let (worker, notifier) = (admin_port(&all.workers[0]).await, admin_port(&notifier).await);
    let client = all.nobody(0).log_in("admin", PASSWORD).await;
    let address = json!({"email": "admin@example.org"});
    client.patch("/v1/me").json(&address).send().await.expect(200);
    let job = client.submit(&clip(), "").await;
    client.finished(&job).await;

    let (mut missing, start) = (watched(), Instant::now());
    while !missing.is_empty() {
        let embedded = https.get(format!("{}/metrics", service.url())).send().await.unwrap();
        let embedded = Page::parse(&embedded.text().await.unwrap());
        let (api, worker) = (Page::of(all.apis[0].1).await, Page::of(worker).await);
        for page in [embedded, api, worker, Page::of(notifier).await] {
            missing.retain(|family| !page.types.contains_key(family));
        }
        crate::pause(&format!("a process that tells {missing:?}"), start).await;
    }
}
