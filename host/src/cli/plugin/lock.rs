//! `barycenter plugin lock`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::Which;
use crate::cli::out;
use crate::config::{ConfigFaults, PluginsFile};
use crate::kit::lock::{Pin, lock};

/// Write the digests of the libraries that are there now into plugins.toml
///
/// Comments and order stay. With `trust = "pinned"` in [plugins] the server then loads these files and no others.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    of: Which,
    /// Write nothing; exit code 1 if something is not pinned, or pinned to another file
    #[arg(long)]
    check: bool,
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let (file, config) = match arguments.of.read() {
        Ok(read) => read,
        Err(faults) => return out::failure(faults),
    };
    let (PluginsFile::Named(path) | PluginsFile::Default(path)) = &file;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            return out::failure(format_args!(
                "{}: the file cannot be read ({error})\n  Only a plugins.toml can hold pins; name it with --plugins.",
                path.display()
            ));
        }
    };
    let (new, pins) = match lock(&text, &config) {
        Ok(locked) => locked,
        Err(faults) => return out::failure(ConfigFaults(faults)),
    };
    for pin in &pins {
        out::line(format_args!(
            "{:<9} {} {} {} {}",
            word(pin, arguments.check),
            pin.kind,
            pin.id,
            pin.sha256,
            pin.path.display()
        ));
    }
    if !pins.iter().any(Pin::is_new) {
        return ExitCode::SUCCESS;
    }
    if arguments.check {
        return out::failure(format_args!(
            "{}: not every plugin is pinned to its file\n  Run `barycenter plugin lock` if the files are as they should be.",
            path.display()
        ));
    }
    match replace(path, &new) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::failure(format_args!(
            "{}: the file cannot be written ({error})",
            path.display()
        )),
    }
}

/// What is done about a pin, or with `--check` would have to be.
fn word(pin: &Pin, check: bool) -> &'static str {
    match (&pin.before, pin.is_new()) {
        (_, false) => "unchanged",
        (None, true) if check => "unpinned",
        (None, true) => "pinned",
        (Some(_), true) => "changed",
    }
}

/// Whole or not at all, with the rights that the file had.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let target = path.canonicalize()?;
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(std::fs::metadata(&target)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok(())
}
