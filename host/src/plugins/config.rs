//! plugins.toml, parsed and checked. All faults of a file are told at once.

use super::declared::library_faults;
use super::fault::{Fault, did_you_mean};
use super::isolation::Isolation;
use super::limits::{self, Limits};
use super::options::{Lines, Reader};
use super::tame::tame;
use super::trust::Trust;
use barycenter_plugin_api::PluginKind;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What plugins.toml says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginsConfig {
    /// The file's name in messages.
    pub name: String,
    /// Folders to search after those beside the executable.
    pub search: Vec<PathBuf>,
    /// The scheduler of requests that name none.
    pub default_scheduler: String,
    /// Which files may be opened.
    pub trust: Trust,
    /// The plugins, in the file's order.
    pub entries: Vec<Entry>,
    /// How handlers take invocations.
    pub handlers: Handlers,
}

/// One declared plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it is.
    pub kind: PluginKind,
    /// The plugin type that the library exports.
    pub type_id: String,
    /// The instance's name.
    pub id: String,
    /// Where it is declared, for messages.
    pub place: String,
    /// The library, instead of a search.
    pub path: Option<PathBuf>,
    /// The digest that the library must have.
    pub sha256: Option<String>,
    /// It is to be loaded at all.
    pub enabled: bool,
    /// Which files may be opened for it.
    pub trust: Trust,
    /// The server does not start without it.
    pub required: bool,
    /// The scheduler that plans when this one fails.
    pub fallback: Option<String>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What it may use.
    pub limits: Limits,
    /// Handed to the plugin.
    pub config: Value,
    /// The lines of the values in `config`, by JSON pointer.
    pub(super) config_lines: Vec<(String, usize)>,
}

/// How handlers take invocations (Galaxy's `handlers` element).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handlers {
    /// The methods, in the order in which they are tried; empty for the server's own choice.
    pub assign_with: Vec<String>,
    /// The most invocations taken at once.
    pub max_grab: Option<u32>,
    /// The tag under which invocations wait that are not given to a process by name.
    pub default: Option<String>,
}

/// The longest id of an instance.
const ID_MAX: usize = 100;

const ASSIGN_METHODS: [&str; 5] = [
    "mem-self",
    "db-self",
    "db-preassign",
    "db-transaction-isolation",
    "db-skip-locked",
];

impl PluginsConfig {
    /// Without a file: Galaxy's scheduler, the pause step, the local runner.
    pub fn built_in() -> Self {
        let entry = |kind, type_id: &str| Entry {
            kind,
            type_id: type_id.to_owned(),
            id: type_id.to_owned(),
            place: format!("built-in plugin list, {kind} {type_id}"),
            path: None,
            sha256: None,
            enabled: true,
            trust: Trust::Any,
            required: true,
            fallback: None,
            isolation: Isolation::Auto,
            limits: Limits::default(),
            config: Value::Object(serde_json::Map::new()),
            config_lines: Vec::new(),
        };
        Self {
            name: "built-in plugin list".to_owned(),
            search: Vec::new(),
            default_scheduler: "default".to_owned(),
            trust: Trust::Any,
            entries: vec![
                entry(PluginKind::Scheduler, "default"),
                entry(PluginKind::WorkflowModule, "pause"),
                entry(PluginKind::JobRunner, "local"),
            ],
            handlers: Handlers::default(),
        }
    }

    /// Reads a file. One that does not exist is an error: who names a file wants it.
    pub fn read(path: &Path) -> Result<Self, Vec<Fault>> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let folder = path.parent().unwrap_or(Path::new("."));
                let (config, mut faults) = Self::parse_all(&text, &name, folder)?;
                if faults.is_empty() {
                    return Ok(config);
                }
                // Who corrects the file wants to know about its libraries in the same go.
                faults.extend(library_faults(&config));
                Err(faults)
            }
            Err(error) => Err(vec![Fault::new(
                name,
                format!("the file cannot be read ({error})"),
                "Correct the path, or leave it out to use the built-in list.",
            )]),
        }
    }

    /// Reads a file if it exists, else gives the built-in list.
    pub fn read_or_built_in(path: &Path) -> Result<Self, Vec<Fault>> {
        if path.exists() {
            Self::read(path)
        } else {
            Ok(Self::built_in())
        }
    }

    /// Parses and checks. `name` is for messages, relative paths are relative to `folder`.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self, Vec<Fault>> {
        match Self::parse_all(text, name, folder)? {
            (config, faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(faults),
        }
    }

    /// What could be read, and every fault; an error when nothing could.
    fn parse_all(text: &str, name: &str, folder: &Path) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let lines = Lines::of(text);
        let root = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| lines.at(span.start));
            vec![Fault::new(
                format!("{name} line {line}"),
                error.message().to_owned(),
                "Correct the TOML syntax.",
            )]
        })?;
        let mut parser = Parser {
            name,
            folder,
            lines,
            faults: Vec::new(),
        };
        let config = parser.root(root.get_ref());
        Ok((config, parser.faults))
    }
}

struct Parser<'a> {
    name: &'a str,
    folder: &'a Path,
    lines: Lines,
    faults: Vec<Fault>,
}

impl Parser<'_> {
    fn root(&mut self, root: &DeTable<'_>) -> PluginsConfig {
        let mut config = PluginsConfig {
            name: self.name.to_owned(),
            search: Vec::new(),
            default_scheduler: "default".to_owned(),
            trust: Trust::Any,
            entries: Vec::new(),
            handlers: Handlers::default(),
        };
        let mut default_line = None;
        let mut faults = std::mem::take(&mut self.faults);
        let mut reader = Reader::new(self.name.to_owned(), root, &self.lines, &mut faults);
        if let Some(general) = reader.table("plugins") {
            let mut options = reader.inner("[plugins]", general);
            config.search = options
                .texts("search")
                .into_iter()
                .map(|at| self.folder.join(at))
                .collect();
            let trust = options.checked("trust", |word| {
                Trust::from_word(word).ok_or("`any` or `pinned`".to_owned())
            });
            config.trust = trust.unwrap_or_default();
            if let Some((id, line)) = options.text_and_line("default_scheduler") {
                config.default_scheduler = id;
                default_line = Some(line);
            }
            options.finish();
        }
        if let Some(handlers) = reader.table("handlers") {
            let mut options = reader.inner("[handlers]", handlers);
            config.handlers = read_handlers(&mut options);
            options.finish();
        }
        for kind in PluginKind::ALL {
            for (line, table) in reader.tables(kind.name()) {
                let entry = self.entry(kind, line, table, &mut reader);
                config
                    .entries
                    .extend(entry.map(|entry| (line, entry)).map(|(_, entry)| entry));
            }
        }
        reader.finish();
        for entry in &mut config.entries {
            entry.trust = config.trust;
        }
        self.faults = faults;
        self.check_whole(&config, default_line);
        config
    }

    fn entry(
        &self,
        kind: PluginKind,
        line: usize,
        table: &DeTable<'_>,
        reader: &mut Reader<'_, '_>,
    ) -> Option<Entry> {
        let label = |name: &str| format!("[[{kind}]] {name}");
        let first = ["id", "type"]
            .into_iter()
            .find_map(|key| match table.get(key)?.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
        let mut options = reader.inner(label(&first.unwrap_or_default()).trim(), table);
        options.set_line(line);
        let type_id = options.text("type");
        let id = options.checked("id", |text| {
            let is_good =
                (1..=ID_MAX).contains(&text.chars().count()) && tame(text, ID_MAX) == text;
            let wanted = format!("a name of 1 to {ID_MAX} characters that can be printed");
            is_good.then(|| text.to_owned()).ok_or(wanted)
        });
        let path = options.text("path").map(|path| self.folder.join(path));
        let sha256 = options.checked("sha256", |text| {
            let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest
                .then(|| text.to_ascii_lowercase())
                .ok_or("64 hexadecimal digits".to_owned())
        });
        let isolation = options
            .checked("isolation", |text| {
                Isolation::from_word(text).ok_or("`auto`, `inproc` or `process`".to_owned())
            })
            .unwrap_or_default();
        let enabled = options.flag("enabled").unwrap_or(true);
        let required = options.flag("required").unwrap_or(true);
        let fallback = options.checked("on_failure", |text| {
            let id = text.strip_prefix("fallback:").filter(|id| !id.is_empty());
            id.map(str::to_owned)
                .ok_or("`fallback:` and the id of a scheduler".to_owned())
        });
        if fallback.is_some() && kind != PluginKind::Scheduler {
            options.fault(
                "on_failure",
                "`on_failure` is only for schedulers",
                "Take the line out.",
            );
        }
        let mut allowed = Limits::default();
        if let Some(table) = options.table("limits") {
            let mut table = options.inner(&options.place_name(), table);
            allowed = limits::read(&mut table, kind, isolation != Isolation::InProcess);
            table.finish();
        }
        let (config, config_lines) = options.json("config");
        let place = options.place();
        if type_id.is_none() {
            options.fault_here("it has no `type`", "Add `type = \"…\"`.");
        }
        options.finish();
        let type_id = type_id?;
        Some(Entry {
            kind,
            id: id.unwrap_or_else(|| type_id.clone()),
            type_id,
            place,
            path,
            sha256,
            enabled,
            trust: Trust::Any, // set once the whole file is read
            required,
            fallback,
            isolation,
            limits: allowed,
            config,
            config_lines,
        })
    }

    fn check_whole(&mut self, config: &PluginsConfig, default_line: Option<usize>) {
        let of = |kind| {
            config
                .entries
                .iter()
                .filter(move |entry: &&Entry| entry.kind == kind)
        };
        let schedulers: Vec<&str> = of(PluginKind::Scheduler)
            .map(|entry| entry.id.as_str())
            .collect();
        let mut faults = Vec::new();
        for kind in PluginKind::ALL {
            let (mut ids, mut names) = (HashSet::new(), HashSet::new());
            for entry in of(kind) {
                // A step has one module, so modules are told apart by their types.
                let (what, id) = match kind {
                    PluginKind::WorkflowModule => ("type", &entry.type_id),
                    _ => ("id", &entry.id),
                };
                // What a person names to reload or disable it must be one plugin, though.
                if !names.insert(&entry.id) && kind == PluginKind::WorkflowModule && ids.insert(id)
                {
                    faults.push(Fault::new(
                        &entry.place,
                        format!("the id `{}` is used twice", entry.id),
                        "Give one of the two another `id`.",
                    ));
                } else if !ids.insert(id) {
                    faults.push(Fault::new(
                        &entry.place,
                        format!("the {what} `{id}` is used twice"),
                        match kind {
                            PluginKind::WorkflowModule => "Take one of the two out.".to_owned(),
                            _ => "Give one of the two another `id`.".to_owned(),
                        },
                    ));
                }
            }
        }
        if schedulers.is_empty() {
            faults.push(Fault::new(
                self.name,
                "no scheduler is declared",
                "Add a table [[scheduler]] with `type = \"default\"`.",
            ));
        } else if !schedulers.contains(&config.default_scheduler.as_str()) {
            let place = match default_line {
                Some(line) => format!("{} line {line}", self.name),
                None => self.name.to_owned(),
            };
            let hint = did_you_mean(&config.default_scheduler, schedulers.iter().copied());
            faults.push(Fault::new(
                place,
                format!(
                    "there is no scheduler with the id `{}`{hint}",
                    config.default_scheduler
                ),
                format!(
                    "Set default_scheduler in [plugins] to one of: {}.",
                    schedulers.join(", ")
                ),
            ));
        }
        for entry in of(PluginKind::Scheduler) {
            let Some(fallback) = &entry.fallback else {
                continue;
            };
            if !schedulers.contains(&fallback.as_str()) || *fallback == entry.id {
                let others = schedulers.iter().copied().filter(|id| *id != entry.id);
                let hint = did_you_mean(fallback, others);
                faults.push(Fault::new(
                    &entry.place,
                    format!("on_failure names no other scheduler: `{fallback}`{hint}"),
                    "Name the id of another scheduler.",
                ));
            }
        }
        self.faults.append(&mut faults);
    }
}

fn read_handlers(options: &mut Reader<'_, '_>) -> Handlers {
    let assign_with = options.texts("assign_with");
    for method in &assign_with {
        if !ASSIGN_METHODS.contains(&method.as_str()) {
            let hint = did_you_mean(method, ASSIGN_METHODS);
            options.fault(
                "assign_with",
                format!("there is no method `{method}`{hint}"),
                format!("Use some of: {}.", ASSIGN_METHODS.join(", ")),
            );
        }
    }
    Handlers {
        assign_with,
        max_grab: options.positive("max_grab"),
        default: options.text("default"),
    }
}

/// A table with the place of each value, as the toml crate hands it out.
pub(super) type Table<'i> = DeTable<'i>;
/// A value with its place.
pub(super) type Placed<'i> = Spanned<DeValue<'i>>;

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
