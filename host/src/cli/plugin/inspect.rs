//! `barycenter plugin inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use barycenter_plugin_api::{API_VERSION, PluginKind};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::out;
use crate::kit::check::report::REFUSED;
use crate::plugins::{inspect_bytes, read_library};

/// Tell what a library says about itself, without running any of it
///
/// Exit code 0: this server would open it. 4: it would not, and the reason is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The library
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let inspected =
        read_library(&arguments.file).and_then(|bytes| Ok((inspect_bytes(&bytes)?, bytes)));
    let (preamble, bytes) = match inspected {
        Ok(inspected) => inspected,
        Err(error) => {
            if arguments.json {
                let file = arguments.file.display().to_string();
                out::line(json!({ "file": file, "fits": false, "reason": error.to_string() }));
            }
            out::note(format_args!(
                "barycenter: {}: {error}",
                arguments.file.display()
            ));
            return ExitCode::from(REFUSED);
        }
    };
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let kinds: Vec<&str> = preamble.kinds().map(PluginKind::name).collect();
    let version = |(major, minor, patch): (u16, u16, u16)| format!("{major}.{minor}.{patch}");
    if arguments.json {
        out::line(json!({
            "file": arguments.file.display().to_string(),
            "fits": true,
            "kinds": kinds,
            "type": preamble.type_id,
            "version": preamble.version,
            "api": version(preamble.api),
            "server_api": version(API_VERSION),
            "unwinds": preamble.unwind,
            "debug_assertions": preamble.debug,
            "rustc": preamble.rustc,
            "target": preamble.target,
            "bytes": bytes.len(),
            "sha256": sha256,
        }));
        return ExitCode::SUCCESS;
    }
    let rows = [
        ("kind", kinds.join(", ")),
        ("type", preamble.type_id),
        ("version", preamble.version),
        (
            "plugin-api",
            format!(
                "{} (this server has {})",
                version(preamble.api),
                version(API_VERSION)
            ),
        ),
        ("compiler", preamble.rustc),
        ("target", preamble.target),
        (
            "build",
            if preamble.debug {
                "with debug assertions"
            } else {
                "without debug assertions"
            }
            .to_owned(),
        ),
        ("size", format!("{} bytes", bytes.len())),
        ("sha256", sha256),
    ];
    for (name, value) in rows {
        out::line(format_args!("{name:<11} {value}"));
    }
    ExitCode::SUCCESS
}
