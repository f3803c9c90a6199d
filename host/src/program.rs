//! Where the server's own program is, which it starts again under hidden subcommands: for plugins in processes of their own,
//! and for scripts.

use std::path::PathBuf;
use std::sync::OnceLock;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// For programs that are not the server but do its work, such as tests: where the server's program is.
pub fn use_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// This very program, even when its file was replaced meanwhile.
pub fn program() -> PathBuf {
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
