//! Builds the server and every plugin library once for each test run: `cargo test` builds no cdylibs of other packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The folder with the server, the plugins and the test plugins.
pub static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let exe = std::env::current_exe().expect("this test has a path");
    // target/PROFILE/deps/suite-…
    let folder = exe.ancestors().nth(2).expect("a profile's folder");
    let target = folder.parent().expect("a target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--workspace", "--quiet", "--target-dir"])
        .arg(target)
        .current_dir(repository());
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the server and its plugins do not build");
    folder.to_owned()
});

/// The server's program.
pub fn binary() -> PathBuf {
    BUILT.join("barycenter")
}

/// A plugin's library, without `lib` and `.so`.
pub fn library(name: &str) -> PathBuf {
    BUILT.join(format!("lib{name}.so"))
}

/// The folder of the workspace.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("tests/ is in the repository")
        .to_owned()
}

/// A file below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}
