//! What keeps a server from starting: one clear sentence on stderr, exit code 1 (2 for wrong usage), nothing left.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use barycenter_tests::server::{clean, refused, serve, serve_on};
use barycenter_tests::{Setup, build};

/// A start with this plugins.toml.
#[track_caller]
fn with_plugins(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plugins.toml");
    fs::write(&file, text).expect("written");
    let told = refused(
        serve(&folder.path().join("data"))
            .arg("--plugins")
            .arg(&file),
        1,
    );
    let first = told.lines().next().unwrap_or_default();
    assert!(first.contains("plugins.toml"), "the place is named: {told}");
    let checked = clean(&mut Command::new(build::binary()))
        .args(["plugin", "check", "--plugins"])
        .arg(&file)
        .output();
    let checked = checked.expect("the program runs");
    assert_eq!(
        checked.status.code(),
        Some(1),
        "plugin check says the same: {checked:?}"
    );
    told
}

const RUNNER: &str = "[[job_runner]]\ntype = \"local\"\n";
const SCHEDULER: &str = "[[scheduler]]\ntype = \"default\"\n";

#[test]
fn faults_of_the_file_and_of_its_libraries_are_told_in_one_go() {
    let told = with_plugins(
        "[plugins]\ndefault_scheduler = \"default\"\nserach = []\n\
         [[scheduler]]\ntype = \"default\"\n[scheduler.config]\nmaximum_jobs = 3\n\
         [[scheduler]]\ntype = \"fair-share\"\npath = \"/nowhere/libfair.so\"\n\
         [[workflow_module]]\ntype = \"pause\"\nlibary = \"x\"\n[[job_runner]]\ntype = \"local\"\n",
    );
    for needle in ["serach", "maximum_jobs", "/nowhere/libfair.so", "libary"] {
        assert!(told.contains(needle), "{needle}: {told}");
    }
}

#[test]
fn every_fault_of_plugins_toml_is_told_with_its_place() {
    let cases = [
        ("no scheduler", RUNNER.to_owned(), "scheduler"),
        (
            "unknown default",
            format!("[plugins]\ndefault_scheduler = \"night\"\n{SCHEDULER}{RUNNER}"),
            "night",
        ),
        (
            "an id twice",
            format!("{SCHEDULER}{SCHEDULER}{RUNNER}"),
            "default",
        ),
        (
            "an unknown type",
            format!("[[scheduler]]\ntype = \"oracle\"\n{RUNNER}"),
            "oracle",
        ),
        (
            "an unknown option",
            format!("{SCHEDULER}[scheduler.config]\nmaximum_jobs = 3\n{RUNNER}"),
            "maximum_jobs",
        ),
        (
            "an option of the wrong type",
            format!("{SCHEDULER}{RUNNER}[job_runner.config]\nworkers = \"many\"\n"),
            "workers",
        ),
        (
            "an option out of range",
            format!("{SCHEDULER}{RUNNER}[job_runner.config]\nworkers = 0\n"),
            "workers",
        ),
        (
            "an unknown key",
            format!("[[scheduler]]\ntype = \"default\"\nlibary = \"x\"\n{RUNNER}"),
            "libary",
        ),
        (
            "a missing file",
            format!("[[scheduler]]\ntype = \"default\"\npath = \"/nowhere/libx.so\"\n{RUNNER}"),
            "/nowhere/libx.so",
        ),
        ("not TOML", "[[scheduler\n".to_owned(), "line 1"),
        (
            "an unknown table",
            format!("{SCHEDULER}{RUNNER}[[schedular]]\ntype = \"x\"\n"),
            "schedular",
        ),
        (
            "a wrong digest",
            format!(
                "[[scheduler]]\ntype = \"default\"\nsha256 = \"{}\"\n{RUNNER}",
                "0".repeat(64)
            ),
            "sha256",
        ),
        (
            "a fallback to nobody",
            format!(
                "[[scheduler]]\ntype = \"default\"\non_failure = \"fallback:nobody\"\n{RUNNER}"
            ),
            "nobody",
        ),
    ];
    for (what, text, needle) in cases {
        let told = with_plugins(&text);
        assert!(told.contains(needle), "{what}: {told}");
    }
    let told = with_plugins(
        "[[scheduler]]\ntype = \"oracle\"\nid = \"default\"\n[[job_runner]]\ntype = \"abacus\"\n",
    );
    assert!(
        told.contains("oracle") && told.contains("abacus"),
        "all faults in one go: {told}"
    );
}

#[test]
fn libraries_that_are_none_of_ours_are_refused_without_running_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = fs::read(build::library("default_scheduler")).expect("the library");
    let mut foreign = good.clone();
    foreign[18..20].copy_from_slice(&183u16.to_le_bytes()); // e_machine: aarch64
    let libc = [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/libc.so.6",
        "/lib64/libc.so.6",
    ];
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"#!/bin/sh\necho ran > /dev/stderr\n".to_vec()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("only a head", good[..64].to_vec()),
        ("of another machine", foreign),
    ];
    if let Some(libc) = libc.iter().find_map(|path| fs::read(path).ok()) {
        cases.push(("not a plugin", libc));
    }
    for (n, (what, bytes)) in cases.iter().enumerate() {
        let library = folder.path().join(format!("lib{n}.so"));
        fs::write(&library, bytes).expect("written");
        let told = with_plugins(&format!(
            "[[scheduler]]\ntype = \"default\"\npath = {:?}\n{RUNNER}",
            library.display().to_string()
        ));
        assert!(told.contains(&format!("lib{n}.so")), "{what}: {told}");
    }
    let module = build::library("pause_module");
    let told = with_plugins(&format!(
        "[[scheduler]]\ntype = \"default\"\npath = {:?}\n{RUNNER}",
        module.display().to_string()
    ));
    assert!(told.contains("pause"), "a plugin of another kind: {told}");
    // One that is not required is left out, and the server starts.
    let broken = folder.path().join("lib0.so").display().to_string();
    let server = Setup::default()
        .plugins(&format!("{SCHEDULER}{RUNNER}[[workflow_module]]\ntype = \"pause\"\npath = {broken:?}\nrequired = false\n"))
        .start();
    let ready = server.anonymous().get("/readyz").ok();
    assert!(ready.to_string().contains("pause"), "{ready}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, "").expect("written");
    for data in [in_the_way.clone(), in_the_way.join("below")] {
        let told = refused(&mut serve(&data), 1);
        assert!(
            told.contains("data directory") && told.lines().count() == 1,
            "{told}"
        );
    }
    // A database that is none.
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    fs::write(
        data.join("barycenter.sqlite"),
        "this is not a database, it is only a text of some length".repeat(100),
    )
    .expect("written");
    let told = refused(&mut serve(&data), 1);
    assert!(told.contains("database"), "{told}");
}

#[test]
fn a_port_in_use_and_a_wrong_address_are_told_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let data = folder.path().join("data");
    let told = refused(&mut serve_on(&address, &data), 1);
    assert!(told.contains(&address) && told.contains("in use"), "{told}");
    assert!(!data.exists(), "a data directory was made");
    for wrong in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ":"] {
        let told = refused(&mut serve_on(wrong, &data), 1);
        assert!(told.contains("listen") || told.contains(wrong), "{told}");
    }
}

#[test]
fn faults_of_barycenter_toml_and_of_the_environment_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("barycenter.toml");
    for (text, needle) in [
        ("lissten = \"x\"\n", "lissten"),
        ("log_format = \"xml\"\n", "log_format"),
        ("body_max_bytes = \"many\"\n", "body_max_bytes"),
        ("not toml [", "line 1"),
    ] {
        fs::write(&config, text).expect("written");
        let told = refused(
            serve(&folder.path().join("data"))
                .arg("--config")
                .arg(&config),
            1,
        );
        assert!(told.contains(needle), "{text}: {told}");
    }
    let told = refused(
        serve(&folder.path().join("data")).env("BARYCENTER_BODY_MAX_BYTES", "many"),
        1,
    );
    assert!(told.contains("BARYCENTER_BODY_MAX_BYTES"), "{told}");
    let told = refused(
        serve(&folder.path().join("data")).args(["--config", "/nowhere/barycenter.toml"]),
        1,
    );
    assert!(told.contains("/nowhere/barycenter.toml"), "{told}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn the_flag_beats_the_environment_which_beats_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(
        path("barycenter.toml"),
        format!("data_dir = {:?}\n", path("file").display().to_string()),
    )
    .expect("written");
    let make = |command: &mut Command| -> Output {
        clean(command)
            .args(["admin", "create-user", "ada@example.org", "--config"])
            .arg(path("barycenter.toml"))
            .output()
            .expect("the program runs")
    };
    let exists = |name: &str| Path::new(&path(name)).exists();
    make(&mut Command::new(build::binary()));
    assert!(exists("file"));
    let mut command = Command::new(build::binary());
    clean(&mut command).env("BARYCENTER_DATA_DIR", path("environment"));
    let output = command
        .args(["admin", "create-user", "ada@example.org", "--config"])
        .arg(path("barycenter.toml"))
        .output();
    assert!(output.expect("the program runs").status.success() && exists("environment"));
    let output = command.arg("--data-dir").arg(path("flag")).output();
    assert!(output.expect("the program runs").status.success() && exists("flag"));
}

#[test]
fn a_directory_of_tools_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let tools = folder.path().join("tolls");
    let told = refused(
        serve(&folder.path().join("data"))
            .arg("--tool-dir")
            .arg(&tools),
        1,
    );
    assert!(told.contains(&tools.display().to_string()), "{told}");
    assert!(told.contains("--tool-dir"), "{told}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}
