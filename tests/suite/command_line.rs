//! The command line as a script uses it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use barycenter_tests::server::{clean, serve};
use barycenter_tests::{TestServer, build, workflows};
use serde_json::Value;

fn barycenter(arguments: &[&str]) -> Output {
    let mut command = Command::new(build::binary());
    clean(&mut command)
        .args(arguments)
        .current_dir(build::repository());
    command
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn told(output: &Output) -> String {
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}: {out}{error}", output.status)
}

/// Runs an example into a folder of its own.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["run"];
    all.extend(arguments);
    let results = folder.display().to_string();
    all.extend(["-o", &results]);
    barycenter(&all)
}

#[test]
fn help_and_version_are_there_for_every_command() {
    for command in [
        &[][..],
        &["serve"],
        &["run"],
        &["plugin"],
        &["plugin", "list"],
        &["plugin", "check"],
        &["admin"],
        &["admin", "create-user"],
        &["admin", "create-key"],
        &["admin", "list-users"],
        &["completions"],
    ] {
        for flag in ["--help", "-h"] {
            let output = barycenter(&[command, &[flag]].concat());
            assert!(output.status.success(), "{command:?}: {}", told(&output));
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("Usage"),
                "{command:?}: {}",
                told(&output)
            );
        }
    }
    let version = barycenter(&["--version"]);
    assert!(
        String::from_utf8_lossy(&version.stdout).starts_with("barycenter 0."),
        "{}",
        told(&version)
    );
    for shell in ["bash", "zsh", "fish"] {
        let output = barycenter(&["completions", shell]);
        assert!(
            output.status.success() && output.stdout.len() > 500,
            "{shell}"
        );
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_nothing_on_stdout() {
    for arguments in [
        &["no-such-command"][..],
        &["serve", "--no-such-flag"],
        &["run"],
        &["admin"],
        &["plugin"],
        &["admin", "create-user"],
        &["run", "a.ga", "--inputs"],
        &["completions", "no-such-shell"],
        &[
            "run",
            "examples/penguins/penguins.ga",
            "-i",
            "no equals sign",
        ],
        &[
            "run",
            "examples/penguins/penguins.ga",
            "-i",
            "No such label=x",
        ],
    ] {
        let output = barycenter(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn both_penguins_run_to_their_outputs() {
    let folder = tempfile::tempdir().expect("a folder");
    let ga = folder.path().join("ga");
    let output = run(
        &ga,
        &[
            "examples/penguins/penguins.ga",
            "--inputs",
            "examples/penguins/jobs.yml",
            "--yes",
        ],
    );
    assert!(output.status.success(), "{}", told(&output));
    let format2 = folder.path().join("format2");
    let output = run(
        &format2,
        &[
            "examples/penguins/penguins.gxwf.yml",
            "-i",
            "Measurements=examples/penguins/penguins.tsv",
            "-i",
            "Species to rank=Gentoo",
            "--yes",
        ],
    );
    assert!(output.status.success(), "{}", told(&output));
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), 4, "a line for each result: {lines:?}");
    for (label, count) in [
        ("cleaned_table", 334),
        ("counts", 5),
        ("heaviest", 10),
        ("report", 15),
    ] {
        let [one, other] = [&ga, &format2].map(|folder| read(folder, label));
        assert_eq!(one, other, "{label}");
        assert_eq!(one.lines().count(), count, "{label}");
    }
}

/// The result with this label, whatever its ending.
fn read(folder: &Path, label: &str) -> String {
    let found = fs::read_dir(folder)
        .expect("the results")
        .flatten()
        .find(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.split('.').next() == Some(label)
        });
    fs::read_to_string(
        found
            .unwrap_or_else(|| panic!("no {label} in {folder:?}"))
            .path(),
    )
    .expect("text")
}

#[test]
fn with_json_every_line_of_stdout_is_an_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        &folder.path().join("out"),
        &[
            "examples/penguins/penguins.ga",
            "--inputs",
            "examples/penguins/jobs.yml",
            "--yes",
            "--json",
        ],
    );
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().count() >= 2);
    for line in text.lines() {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value.is_object(), "{line}");
    }
    let last = text.lines().last().expect("a line");
    assert!(
        last.contains("report"),
        "the last line tells the results: {last}"
    );
}

#[test]
fn a_pause_without_anybody_to_ask_does_not_hang_and_is_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        &folder.path().join("out"),
        &[
            "examples/penguins/penguins.ga",
            "--inputs",
            "examples/penguins/jobs.yml",
        ],
    );
    assert!(!output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("--yes"), "{}", told(&output));
}

#[test]
fn a_run_that_fails_says_so_by_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let tools = build::fixture("tools").display().to_string();
    let bad = write(
        "bad.gxwf.yml",
        &workflows::script("echo broken >&2; exit 4"),
    );
    let data = format!("data={}", write("data.txt", "hello\n"));
    let output = run(
        &folder.path().join("out"),
        &[&bad, "-i", &data, "--tool-dir", &tools],
    );
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("broken"), "{}", told(&output));
    let good = write("good.gxwf.yml", &workflows::script("cat $INPUT > out.txt"));
    let output = run(
        &folder.path().join("good"),
        &[&good, "-i", &data, "--tool-dir", &tools],
    );
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(read(&folder.path().join("good"), "work_out"), "hello\n");
    for (name, text) in [
        ("empty.ga", ""),
        ("text.ga", "hello"),
        ("cut.ga", "{\"a_galaxy_workflow\": \"true\", \"steps\": {"),
        ("list.yml", "- 1\n"),
    ] {
        let path = write(name, text);
        let output = run(&folder.path().join("none"), &[&path]);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{name}: {}",
            told(&output)
        );
        assert!(!told(&output).contains("panicked"), "{}", told(&output));
    }
    let output = run(&folder.path().join("none"), &["/nowhere/workflow.ga"]);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{}",
        told(&output)
    );
    assert!(told(&output).contains("/nowhere/workflow.ga"));
    let output = run(&folder.path().join("none"), &[&good, "--tool-dir", &tools]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a missing input: {}",
        told(&output)
    );
    assert!(!folder.path().join("none").exists(), "nothing half-written");
}

#[test]
fn plugins_are_listed_and_checked() {
    let output = barycenter(&["plugin", "list", "--json"]);
    assert!(output.status.success(), "{}", told(&output));
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = listed.to_string();
    for plugin in ["default", "pause", "local"] {
        assert!(text.contains(plugin), "{listed:#}");
    }
    let output = barycenter(&["plugin", "check"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn users_and_keys_are_made_while_the_server_runs_and_while_it_does_not() {
    let mut server = TestServer::start();
    let folder = server.data_dir().display().to_string();
    let database = server.database().url.clone();
    let admin = |arguments: &[&str]| {
        let mut all = vec!["admin"];
        all.extend(arguments);
        all.extend(["--data-dir", &folder]);
        all.extend(["--database-url", &database]);
        barycenter(&all)
    };
    let output = admin(&["create-user", "grace@example.org", "--json"]);
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let first = made["api_key"].as_str().expect("a key").to_owned();
    let grace = server.client().with_key(Some(&first));
    assert_eq!(grace.get("/api/whoami").ok()["username"], "grace");
    // A new key expires the old one, at once.
    let output = admin(&["create-key", "grace"]);
    assert!(output.status.success(), "{}", told(&output));
    let second = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let with_second = server.client().with_key(Some(&second));
    assert_eq!(with_second.get("/api/whoami").ok()["username"], "grace");
    barycenter_tests::eventually("the old key expires", || {
        grace.get("/api/whoami").status == 401
    });
    let again = admin(&["create-user", "grace@example.org"]);
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
    for wrong in ["nonsense", "@", "a b@example.org"] {
        let output = admin(&["create-user", wrong]);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{wrong}: {}",
            told(&output)
        );
    }
    assert_eq!(admin(&["create-key", "nobody"]).status.code(), Some(1));
    server.stop();
    let output = admin(&["list-users", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(listed.as_array().expect("a list").len(), 3, "{listed:#}");
}

#[test]
fn a_server_without_any_plugins_file_has_the_built_in_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = serve(&folder.path().join("data"))
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let _ = child.kill();
    let _ = child.wait();
    assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
}

#[test]
fn where_no_database_is_it_is_made_by_a_migration_and_a_first_user_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("mistyped");
    let shown = wrong.display().to_string();
    let backup = folder.path().join("backup.gz").display().to_string();
    let to = format!("sqlite://{}/copy.sqlite", folder.path().display());
    let from = format!("sqlite://{shown}/barycenter.sqlite");
    let commands: [&[&str]; 9] = [
        &["admin", "list-users"],
        &["admin", "create-key", "ada"],
        &["admin", "handlers"],
        &["admin", "reassign", "main", "_default_"],
        &["admin", "seed-runs", "--user", "ada", "--tasks", "1"],
        &["db", "status"],
        &["db", "check"],
        &["db", "check", "--no-files"],
        &["db", "backup", &backup],
    ];
    let refused = |arguments: &[&str]| {
        let output = barycenter(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(&shown), "{arguments:?}: {text}");
        assert!(text.contains("db migrate"), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    };
    for command in commands {
        refused(&[command, &["--data-dir", &shown]].concat());
    }
    refused(&["db", "copy", "--from", &from, "--to", &to]);
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "nothing was made");

    // An empty directory, and one with an empty file.
    fs::create_dir(&wrong).expect("a new folder");
    refused(&["db", "check", "--data-dir", &shown]);
    fs::write(wrong.join("barycenter.sqlite"), "").expect("a file");
    refused(&["admin", "list-users", "--data-dir", &shown]);
    fs::remove_file(wrong.join("barycenter.sqlite")).expect("it was there");

    let made = barycenter(&["db", "migrate", "--data-dir", &shown]);
    assert!(made.status.success(), "{}", told(&made));
    for command in [
        &["admin", "create-user", "ada@example.org"][..],
        &["db", "check"],
    ] {
        let output = barycenter(&[command, &["--data-dir", &shown]].concat());
        assert!(output.status.success(), "{command:?}: {}", told(&output));
        assert!(!told(&output).contains("made a new"), "{}", told(&output));
    }

    // Who is made where nothing was is told so: it may be another place than was meant.
    let other = folder.path().join("other").display().to_string();
    let arguments = [
        "admin",
        "create-user",
        "ada@example.org",
        "--data-dir",
        &other,
    ];
    let output = barycenter(&arguments);
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.starts_with("made a new database at") && text.contains(&other),
        "{text}"
    );
}

#[test]
fn an_unknown_log_level_is_refused() {
    let output = barycenter(&["serve", "--log-level", "loud"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("trace") && text.contains("log"), "{text}");
}
