//! Notes which compiler and target build the plugin, for the preamble that
//! a host reads without running the library.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    let target = std::env::var("TARGET").unwrap_or_default();
    println!(
        "cargo::rustc-env=BARYCENTER_PLUGIN_RUSTC={}",
        version.trim()
    );
    println!("cargo::rustc-env=BARYCENTER_PLUGIN_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
