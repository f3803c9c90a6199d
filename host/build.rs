//! Puts the sources of plugin-api into the binary, so that `barycenter plugin new` works for somebody who has nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let api = here.join("../plugin-api");
    let mut files = Vec::new();
    collect(&api.join("src"), &mut files);
    files.push(api.join("build.rs"));
    files.sort();
    let mut code = String::from("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&api).expect("below plugin-api");
        let full = file.canonicalize().expect("it is there");
        writeln!(code, "    ({name:?}, include_str!({full:?})),").expect("text grows");
    }
    code.push_str("];\n");
    for (name, path) in [
        ("MANIFEST", api.join("Cargo.toml")),
        ("WORKSPACE", here.join("../Cargo.toml")),
        ("LICENSE", here.join("../LICENSE")),
    ] {
        let full = path.canonicalize().expect("it is there");
        writeln!(
            code,
            "pub(super) const {name}: &str = include_str!({full:?});"
        )
        .expect("text grows");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("api_sources.rs"), code).expect("the build folder can be written");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../plugin-api/src");
    println!("cargo::rerun-if-changed=../plugin-api/build.rs");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
