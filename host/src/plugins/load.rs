//! Opens a plugin library, once it has been inspected.
//!
//! What is opened is a copy named by its content: a file that is replaced while the server runs
//! cannot pull the code from under it, and a changed file is a new library beside the old one.
//! Libraries are never unloaded.

use super::inspect::{InspectError, inspect_bytes, read_library};
use super::tame::tame;
use barycenter_plugin_api::abi::{HEADER_SYMBOL, PluginInfo, PluginRootRef};
use barycenter_plugin_api::open::open_root;
use barycenter_plugin_api::preamble::Preamble;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A library that is open.
#[derive(Clone)]
pub struct Loaded {
    /// Its preamble.
    pub preamble: Preamble,
    /// What it says about itself now that it runs.
    pub info: PluginInfo,
    /// The file's digest, in hexadecimal.
    pub sha256: String,
    pub(super) root: PluginRootRef,
}

/// Why a library was not opened. Texts are short sentences.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no plugin for this server.
    #[error("{0}")]
    Inspect(#[from] InspectError),
    /// It is not the file that plugins.toml pins.
    #[error("the file's sha256 is {found}, plugins.toml wants {wanted}")]
    Checksum {
        /// Of the file.
        found: String,
        /// From plugins.toml.
        wanted: String,
    },
    /// The copy could not be made.
    #[error("the copy that would be loaded could not be written to {path} ({message})")]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// The dynamic linker refused it.
    #[error("the system could not open the library ({0})")]
    Open(String),
    /// Its types are not those of its version of the contract.
    #[error(
        "its types differ from those of plugin-api {0}; build it with the published crate\n{1}"
    )]
    Layout(String, String),
    /// It could not describe itself.
    #[error("the plugin could not describe itself ({0})")]
    Info(String),
}

/// Everything opened in this process, by digest.
static LOADED: LazyLock<Mutex<HashMap<String, Loaded>>> = LazyLock::new(Mutex::default);

/// A library that was inspected and copied, and not opened.
#[derive(Clone)]
pub(super) struct Stored {
    /// Its preamble.
    pub preamble: Preamble,
    /// The file's digest, in hexadecimal.
    pub sha256: String,
    /// The copy.
    pub path: PathBuf,
    /// Without a data directory the copy is in a folder that goes with the last of these.
    _folder: Option<Arc<tempfile::TempDir>>,
}

/// Opens the library at `path`, or returns it if the same content is open already.
///
/// `wanted_sha256` pins the content. The copy goes to `data_dir/plugins`; without a data directory
/// to a private temporary folder that is gone when this returns.
pub fn load(
    path: &Path,
    wanted_sha256: Option<&str>,
    data_dir: Option<&Path>,
) -> Result<Loaded, LoadError> {
    open_here(&store(path, wanted_sha256, data_dir)?)
}

/// Inspects the library at `path` and makes the copy that is opened, here or elsewhere. Runs none of it.
pub(super) fn store(
    path: &Path,
    wanted_sha256: Option<&str>,
    data_dir: Option<&Path>,
) -> Result<Stored, LoadError> {
    let (bytes, sha256) = read_pinned(path, wanted_sha256)?;
    let preamble = inspect_bytes(&bytes)?;
    let (folder, temporary) = match data_dir {
        Some(data_dir) => (data_dir.join("plugins"), None),
        None => {
            let folder = tempfile::tempdir().map_err(|error| LoadError::Copy {
                path: std::env::temp_dir(),
                message: error.to_string(),
            })?;
            (folder.path().to_owned(), Some(Arc::new(folder)))
        }
    };
    let path = copy_into(&folder, &sha256, &bytes)?;
    // A process elsewhere opens it with another working directory.
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(Stored {
        preamble,
        sha256,
        path,
        _folder: temporary,
    })
}

/// Opens a stored library in this process, or returns it if the same content is open already.
pub(super) fn open_here(stored: &Stored) -> Result<Loaded, LoadError> {
    if !stored.preamble.unwind {
        return Err(InspectError::PanicAborts.into());
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.get(&stored.sha256) {
        return Ok(known.clone());
    }
    let opened = Loaded {
        sha256: stored.sha256.clone(),
        ..open(&stored.path, stored.preamble.clone())?
    };
    loaded.insert(stored.sha256.clone(), opened.clone());
    Ok(opened)
}

/// The digests of everything that is open in this process.
pub(super) fn opened() -> Vec<String> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.keys().cloned().collect()
}

/// For a plugin's own process: opens the copy that the server made, by the same steps.
pub(super) fn open_stored(path: &Path, sha256: &str) -> Result<Loaded, LoadError> {
    let (bytes, _) = read_pinned(path, Some(sha256))?;
    let preamble = inspect_bytes(&bytes)?;
    drop(bytes);
    open(path, preamble)
}

fn read_pinned(path: &Path, wanted: Option<&str>) -> Result<(Vec<u8>, String), LoadError> {
    let bytes = read_library(path)?;
    let found = hex::encode(Sha256::digest(&bytes));
    match wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&found)) {
        Some(wanted) => Err(LoadError::Checksum {
            found,
            wanted: wanted.to_owned(),
        }),
        None => Ok((bytes, found)),
    }
}

/// Writes the copy unless it is there already, byte for byte.
fn copy_into(folder: &Path, sha256: &str, bytes: &[u8]) -> Result<PathBuf, LoadError> {
    let target = folder.join(format!("{sha256}.so"));
    let copied = || -> std::io::Result<()> {
        if std::fs::read(&target).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        // What is written here is run.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(&target)?;
        Ok(())
    };
    copied().map_err(|error| LoadError::Copy {
        path: target.clone(),
        message: error.to_string(),
    })?;
    Ok(target)
}

fn open(path: &Path, preamble: Preamble) -> Result<Loaded, LoadError> {
    let as_text = |error: libloading::Error| LoadError::Open(short(&error_chain(&error)));
    #[expect(unsafe_code, reason = "running a plugin's code is the purpose")]
    // SAFETY: opening runs the library's initialisers. The operator named this file as a plugin,
    // and its preamble says that it is one.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(as_text)?;
    // Never unloaded: thread-locals of a Rust library pin it anyway.
    let library: &'static Library = Box::leak(Box::new(library));
    #[expect(unsafe_code, reason = "a symbol has no type")]
    // SAFETY: only the address is taken.
    let header = unsafe { library.get::<*const ()>(HEADER_SYMBOL) }.map_err(as_text)?;
    #[expect(unsafe_code, reason = "a symbol has no type")]
    // SAFETY: the preamble says that this library exports the header, and it stays loaded.
    let root = unsafe { open_root(*header, preamble.api.1) }.map_err(|error| {
        let (major, minor, _) = preamble.api;
        LoadError::Layout(format!("{major}.{minor}"), error.summary)
    })?;
    let info = root.info()().into_result();
    let info = info.map_err(|error| LoadError::Info(short(&error.to_string())))?;
    Ok(Loaded {
        preamble,
        info,
        sha256: String::new(),
        root,
    })
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn short(text: &str) -> String {
    tame(text.lines().next().unwrap_or_default(), 300)
}
