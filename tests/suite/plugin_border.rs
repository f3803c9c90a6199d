//! The border to plugins as somebody would attack it: files that are no libraries, names that steer terminals, a list that is
//! nonsense, files that change between two looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use barycenter_tests::client::Answer;
use barycenter_tests::server::clean;
use barycenter_tests::wait::until;
use barycenter_tests::{Client, Setup, build};
use serde_json::{Value, json};

fn barycenter(arguments: &[&str]) -> (Option<i32>, String) {
    let mut program = Command::new(build::binary());
    let begin = Instant::now();
    let output = clean(&mut program)
        .args(arguments)
        .output()
        .expect("the program runs");
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "{arguments:?} took {:?}",
        begin.elapsed()
    );
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Nothing that steers a terminal or turns its text round, and not more than somebody reads.
#[track_caller]
fn assert_tame(said: &str) {
    let bad = |letter: &char| {
        letter.is_control() && *letter != '\n' || ('\u{202a}'..='\u{202e}').contains(letter)
    };
    assert_eq!(said.chars().find(bad), None, "{said:?}");
    assert!(said.len() < 20_000, "{} bytes are said", said.len());
}

fn order(client: &Client, plugin: &str, word: &str) -> Answer {
    client.post(&format!("/api/plugins/{plugin}/{word}"), &json!({}))
}

#[test]
fn what_is_no_library_is_refused_at_once_and_never_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::File::create(at("huge.so"))
        .and_then(|file| file.set_len(10 << 30))
        .expect("a file of 10 GB without bytes");
    std::os::unix::fs::symlink("/dev/zero", at("zero.so")).expect("a link");
    let made = Command::new("mkfifo").arg(at("pipe.so")).status();
    assert!(made.expect("mkfifo").success());
    fs::create_dir(at("folder.so")).expect("a folder");
    for name in ["huge.so", "zero.so", "pipe.so", "folder.so", "nothing.so"] {
        let path = at(name).display().to_string();
        for command in ["inspect", "check", "bench"] {
            let (code, said) = barycenter(&["plugin", command, &path]);
            assert_eq!(code, Some(4), "{command} {name}: {said}");
            assert!(said.contains(name), "{said}");
            assert!(said.lines().count() <= 5, "{said}");
        }
    }
}

#[test]
fn what_a_file_says_about_itself_steers_no_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = build::library("faulty_scheduler");
    let mut bytes = fs::read(library).expect("the library");
    let magic = b"BARYCENTERPLUGIN";
    let preamble = bytes.windows(magic.len()).position(|some| some == magic);
    // Behind 36 bytes of numbers and the type, which has 64: the version, of 32.
    let version = preamble.expect("a preamble") + 36 + 64;
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}";
    bytes[version..version + hostile.len()].copy_from_slice(hostile.as_bytes());
    let path = folder.path().join("libevil.so");
    fs::write(&path, bytes).expect("written");
    let path = path.display().to_string();
    let (code, said) = barycenter(&["plugin", "inspect", &path]);
    assert_eq!(code, Some(0), "{said}");
    assert_tame(&said);
    let (_, said) = barycenter(&["plugin", "inspect", &path, "--json"]);
    let told: Value = serde_json::from_str(&said).expect("JSON");
    assert!(told["version"].to_string().contains("owned"), "{told}");
    assert_tame(told["version"].as_str().expect("a version"));
}

#[test]
fn a_list_of_nonsense_is_refused_in_words_that_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("plugins.toml");
    let long = "x".repeat(1 << 20);
    let scheduler = "[[scheduler]]\ntype = \"default\"\n";
    let cases = [
        format!("{scheduler}{scheduler}"),
        format!("{scheduler}id = \"\\u001b[2J\\u202e\"\n"),
        format!("{scheduler}id = \"{long}\"\n"),
        format!("{scheduler}{long} = 1\n"),
        format!("{scheduler}[[job_runner]]\ntype = \"../../../etc/passwd\"\n"),
        format!("{scheduler}[[job_runner]]\ntype = \"local\"\npath = \"/dev/zero\"\n"),
        format!("{scheduler}[[job_runner]]\ntype = \"local\"\npath = \"/etc/passwd\"\n"),
        format!("{scheduler}limits = {{ memory = \"99999999999999999999TiB\" }}\n"),
        format!("{scheduler}limits = {{ call_timeout = \"-5s\", restarts = \"0/0s\" }}\n"),
        format!("{scheduler}sha256 = \"{}\"\n", "0".repeat(64)),
        format!("{scheduler}sha256 = \"\\u001b[2J\"\n"),
        format!("{scheduler}on_failure = \"fallback:default\"\n"),
        format!("{scheduler}on_failure = \"rm -rf\"\n"),
        format!(
            "{scheduler}config = {{ a = {}1{} }}\n",
            "[".repeat(5_000),
            "]".repeat(5_000)
        ),
        "\u{0}\u{1}\u{2}".to_owned(),
        "[plugins]\ndefault_scheduler = \"\\u001b[2J\"\n".to_owned() + scheduler,
    ];
    for text in cases {
        fs::write(&list, &text).expect("written");
        let path = list.display().to_string();
        let (code, said) = barycenter(&["plugin", "check", "--plugins", &path]);
        let head: String = text.chars().take(120).collect();
        assert_eq!(code, Some(1), "{head:?}: {said:.500}");
        assert!(said.contains("plugins.toml"), "{head:?}: {said:.500}");
        assert_tame(&said);
    }
}

/// plugins.toml with a scheduler besides the default one.
fn with(table: &str) -> String {
    format!(
        "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n[[job_runner]]\ntype = \"local\"\n{table}"
    )
}

#[test]
fn a_file_that_changes_between_two_looks_is_never_the_wrong_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut good = fs::read(build::library("default_scheduler")).expect("the library");
    fs::write(at("good.so"), &good).expect("written");
    // The same code, and another digest.
    good.push(0);
    fs::write(at("other.so"), &good).expect("written");
    let link = at("libnight.so");
    let swap_to = |target: &Path| {
        let next = at("next");
        let _ = fs::remove_file(&next);
        std::os::unix::fs::symlink(target, &next).expect("a link");
        fs::rename(&next, &link).expect("swapped");
    };
    swap_to(&at("good.so"));
    let (_, inspected) = barycenter(&[
        "plugin",
        "inspect",
        &at("good.so").display().to_string(),
        "--json",
    ]);
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let pin = inspected["sha256"].as_str().expect("a digest").to_owned();
    let server = Setup::default()
        .plugins(&with(&format!(
            "[[scheduler]]\ntype = \"default\"\nid = \"night\"\npath = {link:?}\nsha256 = \"{pin}\"\nisolation = \"process\"\n"
        )))
        .start();
    let admin = server.admin();
    let done = AtomicBool::new(false);
    let (mut taken, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let targets: [PathBuf; 2] = [at("other.so"), at("good.so")];
            for target in targets.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                swap_to(target);
            }
        });
        for _ in 0..40 {
            let answer = order(&admin, "night", "reload");
            match answer.status {
                200 => taken += 1,
                409 => {
                    refused += 1;
                    let why = answer.text();
                    assert!(why.contains("sha256"), "{why}");
                }
                other => panic!("{other}: {}", answer.text()),
            }
            let shown = admin.get("/api/plugins/night").ok();
            assert_eq!(shown["sha256"], pin.as_str(), "{shown:#}");
            assert_eq!(shown["state"], "ready", "{shown:#}");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(taken + refused, 40);
}

#[test]
fn reloads_of_what_is_gone_or_another_or_crashing_leave_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libnight.so");
    fs::copy(build::library("faulty_scheduler"), &library).expect("copied");
    let marker = folder.path().join("marker");
    let table = format!(
        "[[scheduler]]\ntype = \"faulty\"\nid = \"night\"\npath = {library:?}\nisolation = \"process\"\n\
         limits = {{ restarts = \"1000/1m\" }}\nconfig = {{ fault = \"abort\", at = \"snapshot_state\", times = 100000, marker = {marker:?} }}\n"
    );
    let mut server = Setup::default().plugins(&with(&table)).start();
    let admin = server.admin();
    // It is in a loop: its state is asked for every few seconds, and each time it is the end of it.
    until("it has crashed", || {
        let shown = admin.get("/api/plugins/night").ok();
        (shown["supervision"]["losses"].as_i64() > Some(0)).then_some(())
    });
    // A reload in the middle of it works: an old one that cannot tell its state does not hold up what replaces it.
    for _ in 0..5 {
        order(&admin, "night", "reload").ok();
    }
    let digest = admin.get("/api/plugins/night").ok()["sha256"].clone();
    fs::copy(build::library("default_scheduler"), &library).expect("copied");
    let refused = order(&admin, "night", "reload").refused(409, 409_001);
    assert!(refused.to_string().contains("`default`"), "{refused}");
    fs::remove_file(&library).expect("removed");
    let refused = order(&admin, "night", "reload").refused(409, 409_001);
    assert!(
        refused.to_string().contains("there is no file"),
        "{refused}"
    );
    let shown = admin.get("/api/plugins/night").ok();
    assert_eq!(shown["sha256"], digest, "{shown:#}");
    // What is loaded is a copy: it can be started again though its file is gone.
    until("it is back after the next crash", || {
        let shown = admin.get("/api/plugins/night").ok();
        (shown["state"] == "ready" && shown["report"]["code"] == "reload_refused").then_some(())
    });
    assert!(server.is_running());
}
