//! Plugins in processes of their own.
//!
//! The process is the server's own program under a hidden subcommand. It opens the same library by the same steps and
//! answers calls over sockets; what the plugin asks of the host comes back over the same.
//!
//! ```text
//! keeper ─► starts, greets, reads, reaps, starts again      child ─► loads, makes
//!    └─ link ═══ first words, signs of life, services ════════┘
//! who calls ─► writes, waits, reads                         a thread ─► reads, calls, writes
//!    └─ lane ═══ one call at a time, and what it asks ════════┘
//! ```

mod capture;
mod child;
mod crash;
mod frame;
mod greeting;
mod keeper;
mod lane;
mod limits;
mod link;
mod pass;
mod services;

pub use child::main;
pub(super) use keeper::{Process, Spec, StartError};

use super::codec::{Codec, Compact};
use barycenter_plugin_api::{Plan, PlanRequest};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The hidden subcommand.
pub const COMMAND: &str = "plugin-process";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// For measurements: how many bytes a request for a plan and its answer are, on their way into a process and back.
pub fn plan_bytes(request: &PlanRequest, plan: &Plan) -> Result<(usize, usize), String> {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    Compact::write_request(request, &mut there)?;
    Compact::write_answer(plan, &mut back)?;
    Ok((there.len(), back.len()))
}

/// For programs that are not the server but load its plugins, such as tests: where the server's program is.
pub fn use_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// The program that is started for a plugin: this very one, even when its file was replaced meanwhile.
pub(super) fn program() -> PathBuf {
    if let Some(program) = PROGRAM.get() {
        return program.clone();
    }
    let own = PathBuf::from("/proc/self/exe");
    let Ok(exe) = std::env::current_exe() else {
        return own;
    };
    let is_ours = exe
        .file_stem()
        .is_some_and(|name| name.to_string_lossy().starts_with("barycenter"));
    let beside = exe
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("barycenter"));
    match is_ours && !exe.components().any(|part| part.as_os_str() == "deps") {
        true => own,
        false => beside
            .into_iter()
            .find(|path| path.is_file())
            .unwrap_or(own),
    }
}
