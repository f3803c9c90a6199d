//! `barycenter plugin new`: a project that builds, passes its tests and keeps the contract as it is.

use std::io;
use std::path::{Path, PathBuf};

use barycenter_plugin_api::PluginKind;

use super::api_sources;

/// Where the contract's crate lies below a new project.
const VENDORED: &str = "barycenter-plugin-api";

/// What is to be made.
#[derive(Debug)]
pub struct Project<'a> {
    /// What it is.
    pub kind: PluginKind,
    /// The plugin type, which is also the crate's name.
    pub name: &'a str,
    /// The folder; must not be there, or be empty.
    pub folder: &'a Path,
    /// A checkout's plugin-api, instead of the copy in this binary.
    pub api: Option<&'a Path>,
}

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// Cargo and the contract must both accept the name.
    #[error(
        "`{0}` cannot be a plugin's name: it begins with a lower-case letter and has up to 64 lower-case letters, \
         digits, `-` and `_`"
    )]
    Name(String),
    /// Names of which cargo or the compiler make something else.
    #[error("`{0}` cannot be a crate's name; choose another")]
    Reserved(String),
    /// Nobody's files are overwritten.
    #[error("{0} is there already and is not empty; name another folder with --path")]
    Exists(PathBuf),
    /// `--api-path` leads nowhere.
    #[error("{0} is not the crate barycenter-plugin-api; name the folder with its Cargo.toml")]
    Api(PathBuf),
    /// The disk.
    #[error("{0} cannot be written ({1})")]
    Write(PathBuf, io::Error),
}

/// Crate names that do not work or hide something.
const RESERVED: [&str; 12] = [
    "test",
    "core",
    "std",
    "alloc",
    "proc_macro",
    "self",
    "super",
    "crate",
    "fn",
    "type",
    "build",
    "barycenter-plugin-api",
];

impl Project<'_> {
    /// Writes it and returns the files' names.
    pub fn write(&self) -> Result<Vec<String>, NewError> {
        self.check_name()?;
        let is_taken = match std::fs::read_dir(self.folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => self.folder.exists(),
        };
        if is_taken {
            return Err(NewError::Exists(self.folder.to_owned()));
        }
        let api = match self.api {
            None => VENDORED.to_owned(),
            Some(path) => checkout(path)?,
        };
        let was_there = self.folder.exists();
        let made = self.fill(&api);
        if made.is_err() {
            // A second try would find the folder taken.
            empty(self.folder, was_there);
        }
        made
    }

    fn fill(&self, api: &str) -> Result<Vec<String>, NewError> {
        let mut names = Vec::new();
        for (name, template) in self.templates() {
            let path = self.folder.join(name);
            put(&path, &self.filled(template, api))
                .map_err(|error| NewError::Write(path, error))?;
            names.push(name.to_owned());
        }
        if self.api.is_none() {
            let folder = self.folder.join(VENDORED);
            api_sources::write_to(&folder).map_err(|error| NewError::Write(folder, error))?;
            names.push(format!("{VENDORED}/"));
        }
        Ok(names)
    }

    fn check_name(&self) -> Result<(), NewError> {
        let bytes = self.name.as_bytes();
        let is_fit = bytes.len() <= 64
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes
                .iter()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if !is_fit {
            return Err(NewError::Name(self.name.to_owned()));
        }
        let is_keyword = matches!(
            self.name,
            "as" | "async"
                | "await"
                | "break"
                | "const"
                | "continue"
                | "dyn"
                | "else"
                | "enum"
                | "extern"
                | "false"
                | "for"
                | "if"
                | "impl"
                | "in"
                | "let"
                | "loop"
                | "match"
                | "mod"
                | "move"
                | "mut"
                | "pub"
                | "ref"
                | "return"
                | "static"
                | "struct"
                | "trait"
                | "true"
                | "unsafe"
                | "use"
                | "where"
                | "while"
                | "gen"
                | "try"
                | "abstract"
                | "final"
                | "macro"
                | "virtual"
                | "yield"
                | "box"
                | "do"
                | "become"
                | "override"
                | "priv"
                | "typeof"
                | "unsized"
        );
        if is_keyword || RESERVED.contains(&self.name) {
            return Err(NewError::Reserved(self.name.to_owned()));
        }
        Ok(())
    }

    fn templates(&self) -> Vec<(&'static str, &'static str)> {
        let mut files = vec![
            ("Cargo.toml", include_str!("templates/Cargo.toml.in")),
            ("README.md", include_str!("templates/README.md.in")),
            (".gitignore", include_str!("templates/gitignore.in")),
            (
                ".github/workflows/ci.yml",
                include_str!("templates/ci.yml.in"),
            ),
            ("plugins.toml", include_str!("templates/plugins.toml.in")),
        ];
        files.extend(match self.kind {
            PluginKind::Scheduler => vec![
                ("src/lib.rs", include_str!("templates/scheduler/lib.rs")),
                (
                    "src/config.schema.json",
                    include_str!("templates/scheduler/config.schema.json"),
                ),
            ],
            PluginKind::WorkflowModule => vec![
                ("src/lib.rs", include_str!("templates/module/lib.rs")),
                (
                    "src/config.schema.json",
                    include_str!("templates/module/config.schema.json"),
                ),
            ],
            PluginKind::JobRunner => vec![
                ("src/lib.rs", include_str!("templates/runner/lib.rs")),
                (
                    "src/process.rs",
                    include_str!("templates/runner/process.rs"),
                ),
                ("src/tests.rs", include_str!("templates/runner/tests.rs")),
                (
                    "src/config.schema.json",
                    include_str!("templates/runner/config.schema.json"),
                ),
            ],
        });
        files
    }

    fn filled(&self, template: &str, api: &str) -> String {
        let crate_name = self.name.replace('-', "_");
        let api_row = match self.api {
            None => format!(
                "| `{VENDORED}/` | the contract, as the program that made this project has it; the crate is not on \
                 crates.io yet. A server of the same major version loads the plugin, older or newer |\n"
            ),
            Some(_) => String::new(),
        };
        template
            .replace("{{name}}", self.name)
            .replace("{{crate}}", &crate_name)
            .replace("{{Type}}", &type_name(self.name))
            .replace("{{api}}", api)
            .replace("{{api_row}}", &api_row)
            .replace("{{what}}", self.kind.name().replace('_', " ").as_str())
            .replace("{{plugins}}", &self.plugins(&crate_name))
    }

    /// A list of plugins that works at once: this one, and the shipped ones for the other kinds.
    fn plugins(&self, crate_name: &str) -> String {
        let library = format!("path = \"target/release/lib{crate_name}.so\"");
        let own = format!("[[{}]]\ntype = \"{}\"\n{library}\n", self.kind, self.name);
        let shipped =
            |kind: PluginKind, type_id: &str| format!("\n[[{kind}]]\ntype = \"{type_id}\"\n");
        match self.kind {
            PluginKind::Scheduler => format!(
                "[plugins]\ndefault_scheduler = \"{}\"\n\n{own}on_failure = \"fallback:default\"\n{}{}{}",
                self.name,
                shipped(PluginKind::Scheduler, "default"),
                shipped(PluginKind::WorkflowModule, "pause"),
                shipped(PluginKind::JobRunner, "local"),
            ),
            PluginKind::WorkflowModule => format!(
                "{own}{}{}{}",
                shipped(PluginKind::Scheduler, "default"),
                shipped(PluginKind::WorkflowModule, "pause"),
                shipped(PluginKind::JobRunner, "local"),
            ),
            PluginKind::JobRunner => format!(
                "{own}{}{}",
                shipped(PluginKind::Scheduler, "default"),
                shipped(PluginKind::WorkflowModule, "pause"),
            ),
        }
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

/// Takes away what was begun in a folder that was empty, or not there. What cannot be taken away stays.
fn empty(folder: &Path, was_there: bool) {
    if !was_there {
        let _ = std::fs::remove_dir_all(folder);
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = match entry.file_type().is_ok_and(|sort| sort.is_dir()) {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
    }
}

/// The crate's folder as the new manifest names it: absolute, because the project may lie anywhere.
fn checkout(path: &Path) -> Result<String, NewError> {
    let wrong = || NewError::Api(path.to_owned());
    let manifest = std::fs::read_to_string(path.join("Cargo.toml")).map_err(|_| wrong())?;
    if !manifest.contains("name = \"barycenter-plugin-api\"") {
        return Err(wrong());
    }
    let full = path.canonicalize().map_err(|_| wrong())?;
    let text = full.to_str().ok_or_else(wrong)?;
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `fair-share` becomes `FairShare`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let joined: String = words.map(capital).collect();
    match joined.as_str() {
        // What the templates import under the same name.
        "Host" | "Plan" | "PlanRequest" | "Plugin" | "PluginError" | "Scheduler" | "Value"
        | "HashMap" | "String" | "Option" | "Result" | "Vec" | "Self" | "List" | "JobRunner"
        | "WorkflowModule" | "Queue" | "Shared" | "Arc" | "Past" | "Some" | "None" | "Ok"
        | "Err" | "Box" | "Mutex" => format!("{joined}Plugin"),
        _ => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project<'a>(kind: PluginKind, name: &'a str, folder: &'a Path) -> Project<'a> {
        Project {
            kind,
            name,
            folder,
            api: None,
        }
    }

    #[test]
    fn names_that_cargo_or_the_contract_refuse_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("new");
        for name in [
            "",
            "Fair",
            "9lives",
            "a b",
            "../up",
            "-x",
            "fn",
            "test",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(
                project(PluginKind::Scheduler, name, &at).write().is_err(),
                "{name}"
            );
        }
        assert!(!at.exists());
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "x").unwrap();
        let told = project(PluginKind::Scheduler, "fair", folder.path())
            .write()
            .unwrap_err();
        assert!(matches!(told, NewError::Exists(_)), "{told}");
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for was_there in [false, true] {
            let at = folder.path().join(was_there.to_string());
            std::fs::create_dir_all(at.join("src")).unwrap();
            std::fs::write(at.join("Cargo.toml"), "x").unwrap();
            empty(&at, was_there);
            assert_eq!(at.exists(), was_there);
            assert_eq!(std::fs::read_dir(&at).into_iter().flatten().count(), 0);
        }
    }

    #[test]
    fn no_placeholder_is_left_in_any_file() {
        for kind in PluginKind::ALL {
            let folder = tempfile::tempdir().unwrap();
            let names = project(kind, "fair-share", folder.path()).write().unwrap();
            for name in names.iter().filter(|name| !name.ends_with('/')) {
                let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
                let left = text.replace("${{ vars.BARYCENTER_URL }}", "");
                assert!(
                    !left.contains("{{name}}") && !left.contains("{{T") && !left.contains("{{a"),
                    "{kind} {name}"
                );
            }
            let plugins = std::fs::read_to_string(folder.path().join("plugins.toml")).unwrap();
            let parsed =
                crate::plugins::PluginsConfig::parse(&plugins, "plugins.toml", folder.path());
            assert!(parsed.is_ok(), "{kind}: {parsed:#?}");
        }
    }

    #[test]
    fn types_are_named_as_people_would() {
        assert_eq!(type_name("fair-share"), "FairShare");
        assert_eq!(type_name("a__b2"), "AB2");
        assert_eq!(type_name("plan"), "PlanPlugin");
    }
}
