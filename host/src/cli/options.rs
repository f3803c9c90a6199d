//! Flags that several commands have, and the configuration they lead to.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Config, ConfigFaults, Environment, Flags, KEYS};
use crate::errors::chain;
use crate::store::DatabaseUrl;
use crate::store::db::schema_status;

/// Where the data are.
#[derive(Debug, Clone, Default, Args)]
pub struct DataFlags {
    /// Configuration file [BARYCENTER_CONFIG; default: barycenter.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the database, datasets and jobs are [BARYCENTER_DATA_DIR; default: $XDG_DATA_HOME/barycenter]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The database [BARYCENTER_DATABASE_URL; default: sqlite://DATA_DIR/barycenter.sqlite]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

/// What is loaded.
#[derive(Debug, Clone, Default, Args)]
pub struct LoadFlags {
    /// The list of plugins [BARYCENTER_PLUGINS; default: plugins.toml, else the built-in list]
    #[arg(long, value_name = "FILE")]
    pub plugins: Option<PathBuf>,
    /// A directory of tool files; may be repeated [BARYCENTER_TOOL_DIRS, separated by colons]
    #[arg(long = "tool-dir", value_name = "DIR")]
    pub tool_dirs: Vec<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives [BARYCENTER_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How to log: text or json [BARYCENTER_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl DataFlags {
    pub fn add_to(&self, flags: &mut Flags) {
        set_path(flags, "data_dir", self.data_dir.as_deref());
        flags.set("database_url", self.database_url.as_deref());
    }
}

impl LoadFlags {
    pub fn add_to(&self, flags: &mut Flags) {
        set_path(flags, "plugins", self.plugins.as_deref());
        for dir in &self.tool_dirs {
            set_path(flags, "tool_dirs", Some(dir));
        }
        flags.set("log_level", self.log_level.as_deref());
        flags.set("log_format", self.log_format.as_deref());
    }
}

/// Adds a path that was given. Paths that are not UTF-8 are taken as nearly as text can.
pub fn set_path(flags: &mut Flags, key: &'static str, path: Option<&Path>) {
    flags.set(key, path.map(Path::to_string_lossy).as_deref());
}

/// The configuration from all sources.
pub fn configuration(named: Option<&Path>, flags: &Flags) -> Result<Config, ConfigFaults> {
    Config::read(named, &Environment::of_process(), flags)
}

/// Whether there is a database, with tables.
pub async fn is_database(url: &DatabaseUrl) -> Result<bool, String> {
    let is_there = match url {
        DatabaseUrl::Sqlite(path) => path.is_file(),
        DatabaseUrl::Postgres(_) => true,
    };
    Ok(is_there && {
        let status = schema_status(url).await;
        status.map_err(|error| chain(&error))?.found > 0
    })
}

/// Refuses where no database is: whoever mistyped a name is not to get an empty one there. Only a server, `db migrate`, the first
/// user and what fills a database make one.
pub async fn require_database(url: &DatabaseUrl) -> Result<(), String> {
    match is_database(url).await? {
        true => Ok(()),
        false => Err(format!(
            "there is no database of Barycenter's at {url}; name another with --data-dir or --database-url, or make this one with \
             `barycenter db migrate`"
        )),
    }
}

/// The options of barycenter.toml, for `--help`.
pub fn keys_help() -> String {
    let width = KEYS.iter().map(|key| key.name.len()).max().unwrap_or(0);
    let mut text = String::from(
        "Options of barycenter.toml, each also as BARYCENTER_NAME in the environment \
         (a flag beats the environment, which beats the file):\n",
    );
    for key in KEYS {
        text.push_str(&format!(
            "  {:width$}  {} [{}]\n",
            key.name, key.meaning, key.default
        ));
    }
    text
}
