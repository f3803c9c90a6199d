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

/// What `--json` prints: an object to a line.
fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let object = |line: &str| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value.is_object(), "{line}");
        value
    };
    text.lines().map(object).collect()
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
    let events = objects(&output);
    assert!(events.len() >= 2);
    let last = events.last().expect("an event").to_string();
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
    let listed = objects(&output);
    for plugin in ["default", "pause", "local"] {
        assert!(listed.iter().any(|one| one["id"] == plugin), "{listed:#?}");
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
    assert_eq!(objects(&output).len(), 3, "{}", told(&output));
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

#[test]
fn with_json_every_command_prints_an_object_to_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let library = build::library("default_scheduler").display().to_string();
    let other = format!("sqlite://{}", at("other.sqlite"));
    let (backup, copy) = (at("backup"), format!("sqlite://{}", at("copy.sqlite")));
    let commands: [&[&str]; 14] = [
        &["db", "migrate", "--data-dir", &data],
        &[
            "admin",
            "create-user",
            "ada@example.org",
            "--data-dir",
            &data,
        ],
        &["admin", "create-key", "ada", "--data-dir", &data],
        &["admin", "list-users", "--data-dir", &data],
        &[
            "admin",
            "seed-runs",
            "--user",
            "ada",
            "--tasks",
            "1",
            "--data-dir",
            &data,
        ],
        &["db", "status", "--data-dir", &data],
        &["db", "check", "--no-files", "--data-dir", &data],
        &["db", "backup", &backup, "--data-dir", &data],
        &["db", "restore", &backup, "--database-url", &other],
        &["db", "copy", "--from", &other, "--to", &copy],
        &["plugin", "list"],
        &["plugin", "check"],
        &["plugin", "check", &library, "--only", "L"],
        &["plugin", "inspect", &library],
    ];
    for command in commands {
        let output = barycenter(&[command, &["--json"]].concat());
        assert!(output.status.success(), "{command:?}: {}", told(&output));
        assert!(!objects(&output).is_empty(), "{command:?}");
    }
    // Nothing to list is no line.
    let output = barycenter(&[
        "admin",
        "list-users",
        "--deleted",
        "--json",
        "--data-dir",
        &data,
    ]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        told(&output)
    );
    let missing = at("missing.toml");
    let output = barycenter(&["plugin", "check", "--json", "--plugins", &missing]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let found = objects(&output);
    assert_eq!(found[0]["passed"], false, "{found:#?}");
    assert!(!output.stderr.is_empty());
}

#[test]
fn a_run_whose_results_could_not_be_written_is_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken");
    fs::write(&taken, "mine").expect("written");
    for output in [taken.clone(), taken.join("below")] {
        let output = run(
            &output,
            &[
                "examples/penguins/penguins.ga",
                "--inputs",
                "examples/penguins/jobs.yml",
                "--yes",
            ],
        );
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("-o") && text.lines().count() == 1, "{text}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_to_string(&taken).expect("there"), "mine");
}

#[test]
fn what_cannot_be_restored_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let nothing = folder.path().join("nothing");
    let text = folder.path().join("text");
    fs::write(&text, "no backup").expect("written");
    for file in [&nothing, &text] {
        let output = barycenter(&[
            "db",
            "restore",
            &file.display().to_string(),
            "--data-dir",
            &data.display().to_string(),
        ]);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(
            told(&output).contains(&file.display().to_string()),
            "{}",
            told(&output)
        );
        assert!(!data.exists());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    assert!(
        barycenter(&["db", "migrate", "--data-dir", &data])
            .status
            .success()
    );
    for arguments in [
        &["plugin", "list"][..],
        &["--help"],
        &["completions", "bash"],
        &["db", "status", "--data-dir", &data],
    ] {
        let mut command = Command::new(build::binary());
        let mut child = clean(&mut command)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
        assert!(output.status.success(), "{arguments:?}: {text}");
    }
}

#[test]
fn what_waits_can_be_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    // By Ctrl-C, by whoever stops services, by the end of the terminal.
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        // Whoever runs the tests with nohup runs what they start so.
        if signals("self", "SigIgn:") >> (number - 1) & 1 == 0 {
            interrupted(folder.path(), &pipe, signal, number);
        }
    }
}

/// A mask in the status of a process.
fn signals(process: &str, mask: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let found = status.lines().find_map(|line| line.strip_prefix(mask));
    found.map_or(0, |mask| {
        u64::from_str_radix(mask.trim(), 16).expect("a mask")
    })
}

fn interrupted(folder: &Path, pipe: &Path, signal: &str, number: u32) {
    let _ = fs::remove_file(pipe);
    let made = Command::new("mkfifo").arg(pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let data = folder.join("data");
    let mut command = Command::new(build::binary());
    // Nobody ever writes into the pipe.
    let mut child = clean(&mut command)
        .args(["db", "restore"])
        .arg(pipe)
        .arg("--data-dir")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let process = child.id().to_string();
    barycenter_tests::eventually("it listens to signals", || {
        signals(&process, "SigCgt:") >> (number - 1) & 1 == 1
    });
    let sent = Command::new("kill").args(["-s", signal, &process]).status();
    assert!(sent.expect("kill runs").success());
    let code = child.wait().expect("it ends").code();
    assert_eq!(code, Some(130), "{signal}");
    assert!(!data.exists(), "nothing was made");
}
