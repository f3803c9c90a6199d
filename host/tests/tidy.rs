//! Who may know whom, checked in the sources, so that the code map in ARCHITECTURE.md stays true.

use std::path::{Path, PathBuf};

/// Every source file below a folder of host/src, with its path from there and its text without tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut waiting = vec![root.join(folder)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(&path).expect("a folder of the sources");
            waiting.extend(inside.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((name(&root, &path), code(&path)));
        }
    }
    assert!(!found.is_empty(), "nothing below {folder}");
    found
}

fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .map(PathBuf::from)
        .unwrap_or_default()
        .display()
        .to_string()
}

/// The lines that are code, up to the file's own tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a readable source");
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn assert_free_of(folder: &str, words: &[&str]) {
    for (file, text) in sources(folder) {
        for word in words {
            assert!(!text.contains(word), "{file} says {word}");
        }
    }
}

fn assert_only_in(word: &str, allowed: &[&str]) {
    for (file, text) in sources("") {
        let is_allowed = allowed.iter().any(|place| file.starts_with(place));
        assert!(
            is_allowed || !text.contains(word),
            "{file} says {word}; only {allowed:?} may"
        );
    }
}

#[test]
fn decisions_know_no_database_no_http_no_async_and_no_clock() {
    for folder in ["model", "invoker", "formats", "tools", "invocation_request"] {
        assert_free_of(
            folder,
            &[
                "sqlx",
                "axum",
                "tokio",
                "crate::http",
                "crate::scheduling",
                "SystemTime::now",
                "crate::clock",
            ],
        );
    }
    assert_free_of("model", &["crate::store", "crate::invoker", "crate::tools"]);
    assert_free_of("invoker", &["crate::store", "crate::plugins"]);
}

#[test]
fn only_the_store_names_the_database_driver() {
    // The log's filter has the names of its targets.
    assert_only_in("sqlx::", &["store/", "logging.rs"]);
}

#[test]
fn only_the_doors_name_the_web_framework() {
    assert_only_in("axum::", &["http/", "server"]);
}

#[test]
fn only_the_plugin_host_opens_libraries() {
    assert_only_in("libloading", &["plugins/"]);
    assert_only_in("abi_stable", &["plugins/"]);
}

#[test]
fn scripts_are_evaluated_in_one_place_that_knows_nobody() {
    assert_only_in("rquickjs", &["javascript/"]);
    assert_free_of(
        "javascript",
        &[
            "crate::tools",
            "crate::invoker",
            "crate::store",
            "crate::plugins",
        ],
    );
}

#[test]
fn the_kit_of_authors_is_no_part_of_a_server() {
    for folder in [
        "http",
        "scheduling",
        "server",
        "store",
        "plugins",
        "invoker",
        "model",
    ] {
        assert_free_of(folder, &["crate::kit"]);
    }
    assert_free_of(
        "kit",
        &[
            "crate::http",
            "crate::scheduling",
            "crate::store",
            "crate::server",
            "libloading",
        ],
    );
}

#[test]
fn only_fetching_makes_requests() {
    assert_only_in("ureq::", &["fetch/", "cli/plugin/remote"]);
    assert_free_of("fetch", &["crate::", "tokio", "sqlx", "axum"]);
}

#[test]
fn the_plugin_host_does_not_know_who_uses_it() {
    assert_free_of(
        "plugins",
        &[
            "crate::store",
            "crate::scheduling",
            "crate::http",
            "crate::cli",
        ],
    );
    // Nobody else starts processes for plugins, or speaks to them.
    assert_only_in("PR_SET_PDEATHSIG", &["plugins/process/"]);
}

#[test]
fn the_store_does_not_know_who_uses_it() {
    assert_free_of(
        "store",
        &[
            "crate::http",
            "crate::scheduling",
            "crate::plugins",
            "crate::cli",
        ],
    );
}

#[test]
fn the_upkeep_of_the_database_is_for_the_command_line_alone() {
    assert_only_in("store::upkeep", &["cli/", "store/upkeep/"]);
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    for (file, text) in sources("") {
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!text.contains(word), "{file} says {word}");
        }
    }
}

#[test]
fn tests_that_open_a_store_run_on_both_databases() {
    // What these test is SQLite's, or no store at all.
    const APART: [&str; 6] = [
        "http/again.rs",
        "http/layers.rs",
        "server/pairing.rs",
        "store/db/session.rs",
        "store/files.rs",
        "store/scheduling/objects/tests.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, _) in sources("") {
        let text = std::fs::read_to_string(root.join(&file)).expect("a readable source");
        let (_, listed) = text.split_once("on_postgres_too!(").unwrap_or((&text, ""));
        // Those after the list count as well.
        for part in text.split("#[tokio::test").skip(1) {
            let name = part.split("async fn ").nth(1).unwrap_or_default();
            let name = name.split('(').next().unwrap_or_default();
            let is_listed = listed.lines().any(|line| line.trim() == format!("{name},"));
            assert!(
                is_listed || APART.contains(&file.as_str()),
                "{file}: {name} is not named in on_postgres_too!"
            );
        }
    }
}

/// The names of the tests in a file.
fn tests_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("#[t") {
        let rest = &text[at..];
        if !rest.starts_with("#[test]") && !rest.starts_with("#[tokio::test") {
            continue;
        }
        let name = rest.split_once("fn ").map_or("", |(_, after)| after);
        found.extend(name.split('(').next().map(str::to_owned));
    }
    found
}

#[test]
fn the_table_of_semantics_names_tests_that_exist_and_all_of_the_engines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("docs/galaxy-semantics.md")).expect("the table");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
    let named: Vec<&str> = cells
        .flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 100, "{} tests are named", named.len());
    let mut there = Vec::new();
    let mut of_engine = Vec::new();
    let mut waiting: Vec<PathBuf> = ["host/src", "host/tests", "plugins", "tests/suite"]
        .map(|folder| root.join(folder))
        .into();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(&path).expect("a folder of the sources");
            waiting.extend(inside.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            let tests = tests_in(&text);
            if path
                .parent()
                .is_some_and(|p| p.ends_with("engine/semantics"))
            {
                of_engine.extend(tests.clone());
            }
            there.extend(tests);
        }
    }
    for name in &named {
        assert!(there.iter().any(|t| t == name), "there is no test {name}");
    }
    for name in &of_engine {
        assert!(
            named.contains(&name.as_str()),
            "the table does not name {name}"
        );
    }
}
