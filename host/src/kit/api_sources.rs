//! The sources of plugin-api as they went into this binary: the contract is not on crates.io, and whoever has the
//! server's program has the contract that fits it.

use std::path::Path;

use toml_edit::{DocumentMut, Item};

include!(concat!(env!("OUT_DIR"), "/api_sources.rs"));

/// Writes the crate into a new folder, independent of any workspace.
pub fn write_to(folder: &Path) -> std::io::Result<()> {
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    std::fs::write(folder.join("LICENSE"), LICENSE)?;
    std::fs::write(folder.join("Cargo.toml"), manifest()?)
}

/// The manifest with what it inherits from our workspace written out.
fn manifest() -> std::io::Result<String> {
    let broken = |error: toml_edit::TomlError| std::io::Error::other(error.to_string());
    let mut manifest: DocumentMut = MANIFEST.parse().map_err(broken)?;
    let workspace: DocumentMut = WORKSPACE.parse().map_err(broken)?;
    let shared = &workspace["workspace"];
    inherit(&mut manifest["package"], &shared["package"]);
    inherit(&mut manifest["dependencies"], &shared["dependencies"]);
    // Our rules for our own code.
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    Ok(manifest.to_string())
}

/// Replaces `key.workspace = true` by what the workspace says of `key`.
fn inherit(section: &mut Item, shared: &Item) {
    let Some(table) = section.as_table_like_mut() else {
        return;
    };
    for (key, value) in table.iter_mut() {
        let inherits = value
            .as_table_like()
            .and_then(|value| value.get("workspace"))
            .and_then(Item::as_bool);
        if inherits == Some(true) {
            let mut own = shared[key.get()].clone();
            if let Some(value) = own.as_value_mut() {
                value.decor_mut().clear();
            }
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_is_whole_and_names_no_workspace() {
        let folder = tempfile::tempdir().unwrap();
        write_to(folder.path()).unwrap();
        let manifest = std::fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(manifest.contains("abi_stable = {"), "{manifest}");
        assert!(manifest.contains("edition = \"20"), "{manifest}");
        for file in ["src/lib.rs", "src/abi.rs", "build.rs", "LICENSE"] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
    }
}
