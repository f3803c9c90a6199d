//! Where options come from, and reading one of them from whichever source wins.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::KEYS;
use crate::plugins::{Fault, did_you_mean};

/// Variables of the environment. The only place that reads them.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process, as far as it matters here. Text that is not UTF-8 is left out.
    pub fn of_process() -> Environment {
        let matters =
            |name: &str| name.starts_with(PREFIX) || matches!(name, "HOME" | "XDG_DATA_HOME");
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| matters(name))?;
            Some((name, value.into_string().ok()?))
        });
        Environment(variables.collect())
    }

    /// The value of an option; an empty one counts as absent.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.get(&variable(key))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Environment(pairs.into_iter().map(owned).collect())
    }
}

const PREFIX: &str = "BARYCENTER_";
/// Variables that are no options, and whose they are: ours, tests', the examples'.
const OTHER_VARIABLES: [&str; 4] = [
    "BARYCENTER_CONFIG",
    "BARYCENTER_CRASH_AT",
    "BARYCENTER_CLOCK_SHIFT_FILE",
    "BARYCENTER_API_KEY",
];

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// What was given on the command line, by the option's name.
#[derive(Debug, Clone, Default)]
pub struct Flags(BTreeMap<&'static str, Vec<String>>);

impl Flags {
    /// Adds a flag if it was given.
    pub fn set(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.entry(key).or_default().push(value.to_owned());
        }
    }
}

/// The text of a configuration file that somebody named or that is there.
pub(super) fn read_file(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|error| {
        Fault::new(
            path.display().to_string(),
            format!("the configuration cannot be read ({error})"),
            "Correct the path, or leave it out.",
        )
    })
}

/// All sources, and what is found wrong with them.
pub(super) struct Options<'a> {
    name: String,
    folder: PathBuf,
    text: &'a str,
    table: Option<DeTable<'a>>,
    environment: &'a Environment,
    flags: &'a Flags,
    faults: &'a mut Vec<Fault>,
}

/// A value and where it was found.
struct Given {
    values: Vec<String>,
    sort: Sort,
    place: String,
    /// What relative paths are relative to.
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sort {
    Text,
    Number,
    Flag,
    List,
    /// From where everything is text.
    Any,
}

impl<'a> Options<'a> {
    pub fn new(
        file: Option<(&Path, &'a str)>,
        environment: &'a Environment,
        flags: &'a Flags,
        faults: &'a mut Vec<Fault>,
    ) -> Options<'a> {
        let name = file.map_or_else(String::new, |(path, _)| path.display().to_string());
        let folder = file
            .and_then(|(path, _)| path.parent())
            .unwrap_or(Path::new(""));
        let text = file.map_or("", |(_, text)| text);
        let table = match DeTable::parse(text) {
            Ok(table) => Some(table.into_inner()),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_at(text, span.start));
                faults.push(Fault::new(
                    format!("{name} line {line}"),
                    error.message().to_owned(),
                    "Correct the TOML syntax.",
                ));
                None
            }
        };
        Options {
            name,
            folder: folder.to_owned(),
            text,
            table,
            environment,
            flags,
            faults,
        }
    }

    /// The value of an option from the source that wins.
    fn given(&mut self, key: &'static str) -> Option<Given> {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key}");
        if let Some(values) = self.flags.0.get(key) {
            return Some(Given {
                values: values.clone(),
                sort: Sort::Any,
                place: format!("--{}", key.trim_end_matches('s').replace('_', "-")),
                folder: PathBuf::new(),
            });
        }
        if let Some(value) = self.environment.option(key) {
            let values = match key {
                "tool_dirs" | "export_directories" => value
                    .split(':')
                    .filter(|v| !v.is_empty())
                    .map(str::to_owned)
                    .collect(),
                "fetch_url_prefixes" | "fetch_url_allowlist" | "webhook_url_prefixes" => value
                    .split(',')
                    .map(str::trim)
                    .filter(|v| !v.is_empty())
                    .map(str::to_owned)
                    .collect(),
                _ => vec![value.to_owned()],
            };
            return Some(Given {
                values,
                sort: Sort::Any,
                place: variable(key),
                folder: PathBuf::new(),
            });
        }
        let value = self.table.as_ref()?.get(key)?;
        let place = format!(
            "{} line {}",
            self.name,
            line_at(self.text, value.span().start)
        );
        let given = |values, sort| Given {
            values,
            sort,
            place: place.clone(),
            folder: self.folder.clone(),
        };
        let one = |text: &str, sort| Some(given(vec![text.to_owned()], sort));
        let read = match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => one(text, Sort::Text),
            DeValue::Integer(number) if number.radix() == 10 => {
                one(&number.as_str().replace('_', ""), Sort::Number)
            }
            DeValue::Boolean(flag) => one(&flag.to_string(), Sort::Flag),
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
                    _ => None,
                });
                texts
                    .collect::<Option<Vec<_>>>()
                    .map(|values| given(values, Sort::List))
            }
            _ => None,
        };
        if read.is_none() {
            self.wrong(&place, key, "Give a value of the right sort.");
        }
        read
    }

    fn single(&mut self, key: &'static str, sort: Sort, remedy: &str) -> Option<(String, Given)> {
        let given = self.given(key)?;
        match given.values.last() {
            Some(value) if given.sort == sort || given.sort == Sort::Any => {
                Some((value.clone(), given))
            }
            _ => {
                self.wrong(&given.place, key, remedy);
                None
            }
        }
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.single(key, Sort::Text, "Give a text in quotes.")
            .map(|(text, _)| text)
    }

    /// A text that `check` understands; its error says what to do.
    pub fn checked<T, E: Display>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, given) = self.single(key, Sort::Text, "Give a text in quotes.")?;
        match check(&text) {
            Ok(value) => Some(value),
            Err(remedy) => {
                self.wrong(&given.place, key, &remedy.to_string());
                None
            }
        }
    }

    pub fn number(&mut self, key: &'static str, min: i64, max: i64) -> Option<i64> {
        let (text, given) = self.single(key, Sort::Number, "Give a whole number.")?;
        let number = text.parse().ok().filter(|n| (min..=max).contains(n));
        if number.is_none() {
            let remedy = match (min, max) {
                (i64::MIN, _) => "Give a whole number.".to_owned(),
                (min, i64::MAX) => format!("Give a whole number from {min}."),
                (min, max) => format!("Give a whole number from {min} to {max}."),
            };
            self.wrong(&given.place, key, &remedy);
        }
        number
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (text, given) = self.single(key, Sort::Flag, "Give true or false.")?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                self.wrong(&given.place, key, "Give true or false.");
                None
            }
        }
    }

    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let (text, given) = self.single(key, Sort::Text, "Give a path in quotes.")?;
        Some(given.folder.join(text))
    }

    pub fn paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let Some(given) = self.given(key) else {
            return Vec::new();
        };
        if !matches!(given.sort, Sort::List | Sort::Any) {
            self.wrong(&given.place, key, "Give a list of paths: `[\"…\"]`.");
            return Vec::new();
        }
        given
            .values
            .iter()
            .map(|text| given.folder.join(text))
            .collect()
    }

    /// A list of texts, each of which `read` understands.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Vec<T> {
        let Some(given) = self.given(key) else {
            return Vec::new();
        };
        let is_list = matches!(given.sort, Sort::List | Sort::Any);
        let values: Option<Vec<T>> = given.values.iter().map(|text| read(text)).collect();
        match values.filter(|_| is_list) {
            Some(values) => values,
            None => {
                self.wrong(&given.place, key, remedy);
                Vec::new()
            }
        }
    }

    /// A path that was inside the value of `key`, taken relative to where that was written.
    pub fn resolved(&mut self, key: &'static str, path: &Path) -> PathBuf {
        match self.given(key) {
            Some(given) => given.folder.join(path),
            None => path.to_owned(),
        }
    }

    /// A file in the folder of the configuration file.
    pub fn beside_file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The default data directory.
    pub fn home(&mut self) -> Option<PathBuf> {
        let absolute = |text: &&str| Path::new(text).is_absolute();
        if let Some(data) = self.environment.get("XDG_DATA_HOME").filter(absolute) {
            return Some(Path::new(data).join("barycenter"));
        }
        match self.environment.get("HOME").filter(absolute) {
            Some(home) => Some(Path::new(home).join(".local/share/barycenter")),
            None => {
                self.faults.push(Fault::new(
                    "data_dir",
                    "no data directory is named, and there is no HOME to put one into",
                    "Give --data-dir DIR.",
                ));
                None
            }
        }
    }

    /// Complains about keys that do not exist. Answers what is to be warned of.
    pub fn finish(self) -> Vec<String> {
        let known = || KEYS.iter().map(|key| key.name);
        for (key, _) in self.table.iter().flatten() {
            let name: &str = key.get_ref();
            if !known().any(|known| known == name) {
                let line = line_at(self.text, key.span().start);
                self.faults.push(Fault::new(
                    format!("{} line {line}", self.name),
                    format!("there is no option `{name}`{}", did_you_mean(name, known())),
                    "`barycenter serve --help` lists the options.",
                ));
            }
        }
        let variables: Vec<String> = known().map(variable).collect();
        let strange = self.environment.0.keys().filter(|name| {
            name.starts_with(PREFIX)
                && !variables.contains(name)
                && !OTHER_VARIABLES.contains(&name.as_str())
        });
        strange
            .map(|name| {
                let hint = did_you_mean(name, variables.iter().map(String::as_str));
                format!("the environment variable {name} means nothing to this server{hint}")
            })
            .collect()
    }

    fn wrong(&mut self, place: &str, key: &str, remedy: &str) {
        self.faults.push(Fault::new(
            place,
            format!("the value of `{key}` cannot be used"),
            remedy,
        ));
    }
}

/// The line, from 1, of a byte.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
