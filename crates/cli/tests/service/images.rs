//! Images, compose file and workflow name only what there is: commands, variables, ports, files,
//! targets of make. `make images` holds them against schemas, `make images-try` builds the images.

use std::collections::BTreeSet;
use std::process::Command;

use crate::PATIENCE;
use crate::support::process::{program, start};
use crate::watching::{read, root};

/// The variables that a command reads.
fn variables_of(command: &str) -> BTreeSet<String> {
    let help = start(program().args([command, "--help"])).finish(PATIENCE);
    assert_eq!(help.code, Some(0), "{help:?}");
    let help = String::from_utf8(help.stdout).expect("text");
    // However wide the lines are.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let variables = help.split("[env: ").skip(1);
    variables.map(|rest| rest.split(['=', ']']).next().unwrap_or_default().to_owned()).collect()
}

/// What in a text looks like one of our variables.
fn variables_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("TONEMILL_")).map(str::to_owned).collect()
}

/// The text without its comments.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let comment = if line.starts_with('#') { Some(0) } else { line.find(" #") };
        &line[..comment.unwrap_or(line.len())]
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The services of the compose file with what they say, merged parts included.
fn services(compose: &str) -> Vec<(String, String)> {
    let merged = |name: &str| {
        let rest = compose.split(&format!("x-{name}: &{name}\n")).nth(1).expect("it is defined");
        rest.split("\n\n").next().unwrap_or_default()
    };
    let (_, services) = compose.split_once("\nservices:\n").expect("services");
    let (services, _) = services.split_once("\nnetworks:\n").expect("networks after them");
    let mut all: Vec<(String, String)> = Vec::new();
    for line in services.lines() {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(name) if !name.starts_with(' ') => all.push((name.to_owned(), String::new())),
            _ => {
                let (_, text) = all.last_mut().expect("a service");
                text.extend([line, "\n"]);
                let names = line.split('*').skip(1).filter(|_| line.contains("<<: "));
                let names = names.map(|rest| rest.split([',', ']']).next().unwrap_or_default());
                text.extend(names.map(merged));
            }
        }
    }
    all
}

/// The command that a container runs.
fn command(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("command: [")?;
    rest.split(']').next()
}

#[test]
fn containers_are_told_what_the_program_understands() {
    let compose = uncommented(&read(&root().join("deploy/compose.yaml")));
    let mut ours = Vec::new();
    for (name, text) in services(&compose) {
        if !text.contains("image: tonemill") {
            assert_eq!(variables_in(&text), BTreeSet::new(), "{name}");
            continue;
        }
        let command = command(&text).expect("a command");
        let (said, known) = (variables_in(&text), variables_of(command));
        assert!(said.len() > 2 && said.is_subset(&known), "{name}: {said:?}");
        for hardening in ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"] {
            assert!(text.contains(hardening), "{name} lacks {hardening}");
        }
        ours.push(name);
    }
    assert_eq!(ours, ["api", "worker", "notifier"]);
}

/// Who decodes what strangers upload must not reach the ledger, nor the world.
#[test]
fn a_worker_knows_of_queue_and_store_alone() {
    let compose = uncommented(&read(&root().join("deploy/compose.yaml")));
    let services = services(&compose);
    let text = |wanted: &str| &services.iter().find(|(name, _)| name == wanted).expect("it").1;
    let worker = variables_in(text("worker"));
    let is_fine = |name: &String| name.starts_with("TONEMILL_S3_") || name == "TONEMILL_REDIS_URL";
    assert!(worker.iter().all(is_fine), "{worker:?}");
    assert!(
        text("worker").contains("networks: [work]") && compose.contains("work: { internal: true }")
    );
    assert!(text("mariadb").contains("networks: [back]"));
}

#[test]
fn the_dockerfile_names_what_there_is() {
    let file = uncommented(&read(&root().join("deploy/Dockerfile")));
    let images: Vec<&str> = file.split("\nFROM image AS ").skip(1).collect();
    let base = file.split("AS image\n").nth(1).expect("the image").split("\nFROM").next();
    let base = base.expect("the image");
    assert!(base.contains("USER 10001:10001") && base.contains("EXPOSE 8080 9464"), "{base}");
    let said = variables_in(base);
    let known = &variables_of("api") | &variables_of("worker");
    assert!(said.len() == 2 && said.is_subset(&known), "{said:?}");
    assert_eq!(images.len(), 2);
    for (image, (name, command, port)) in
        images.iter().zip([("tonemill\n", "api", "8080"), ("tonemill-worker\n", "worker", "9464")])
    {
        assert!(image.starts_with(name), "{image}");
        let health =
            format!(r#"["/usr/bin/tonemill", "health", "http://127.0.0.1:{port}/readyz"]"#);
        assert!(image.contains(&health), "{image}");
        assert!(image.contains(&format!("CMD [\"{command}\"]")), "{image}");
        assert!(base.contains(&format!("=0.0.0.0:{port}")), "{base}");
    }
    // Files that are copied from the repository.
    let copied = file.lines().filter_map(|line| line.strip_prefix("COPY "));
    for line in copied.filter(|line| !line.starts_with("--from") && *line != ". .") {
        let files: Vec<&str> = line.split(' ').collect();
        for name in &files[..files.len() - 1] {
            assert!(root().join(name).exists(), "{name}");
        }
    }
    let rust = read(&root().join("Cargo.toml"));
    let version = file.split("library/rust:").nth(1).and_then(|rest| rest.split('-').next());
    assert!(rust.contains(&format!("rust-version = {:?}", version.expect("a version"))));
}

/// Every secret is made up, and each that is made up is used; every file that is mounted is there.
#[test]
fn the_compose_file_is_complete() {
    let compose = read(&root().join("deploy/compose.yaml"));
    let used: BTreeSet<&str> = compose
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once(":?"))
        .map(|(n, _)| n)
        .collect();
    let script = read(&root().join("deploy/compose/secrets.sh"));
    let made =
        script.lines().filter_map(|line| line.split_once("=$(secret ").or(line.split_once("=GK")));
    let made: BTreeSet<&str> = made.map(|(name, _)| name).collect();
    assert!(made.len() > 5);
    assert_eq!(used, made);
    let mounted = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
    let mounted: Vec<&str> = mounted.filter_map(|line| line.split(':').next()).collect();
    assert!(mounted.len() > 5, "{mounted:?}");
    for file in mounted {
        assert!(root().join("deploy").join(file).exists(), "{file}");
    }
}

#[test]
fn without_the_codec_nothing_of_it_is_linked() {
    let tree = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--locked", "-p", "tonemill", "-e", "no-dev", "--prefix", "none"]);
        let ended = start(cargo.args(arguments).current_dir(root())).finish(PATIENCE);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        String::from_utf8(ended.stdout).expect("text")
    };
    let codec =
        ["ffmpeg-sys-next", "mp3lame-sys", "symphonia", "tonemill-codec", "tonemill-worker"];
    let (whole, slim) = (tree(&[]), tree(&["--no-default-features"]));
    for name in codec {
        let is_there = |tree: &str| tree.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert!(is_there(&whole) && !is_there(&slim), "{name}");
    }
}

#[test]
fn the_workflow_runs_what_make_has() {
    let workflow = read(&root().join(".github/workflows/ci.yaml"));
    let makefile = read(&root().join("Makefile"));
    let targets = workflow.lines().filter_map(|line| line.trim().split_once("run: make "));
    let targets: Vec<&str> = targets.map(|(_, target)| target).collect();
    assert!(targets.len() > 3, "{targets:?}");
    for target in targets.iter().flat_map(|targets| targets.split(' ')) {
        assert!(makefile.contains(&format!("\n{target}:")), "{target}");
    }
}
