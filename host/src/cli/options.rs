//! Flags that several commands have, and the configuration they lead to.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};

use super::out;
use crate::config::{Config, ConfigFaults, Environment, Flags, KEYS};
use crate::errors::chain;
use crate::server::machine::make_private;
use crate::store::DatabaseUrl;
use crate::store::db::schema_status;

/// Where the data are.
#[derive(Debug, Clone, Default, Args)]
pub struct DataFlags {
    /// Configuration file [BARYCENTER_CONFIG; default: barycenter.toml, if there is one]
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub config: Option<PathBuf>,
    /// Where the database, datasets and jobs are [BARYCENTER_DATA_DIR; default: $XDG_DATA_HOME/barycenter]
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub data_dir: Option<PathBuf>,
    /// The database [BARYCENTER_DATABASE_URL; default: sqlite://DATA_DIR/barycenter.sqlite]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

/// What every command about the data takes.
#[derive(Debug, Args)]
pub struct Common {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    data: DataFlags,
}

impl Common {
    /// Where the data are, from all sources.
    pub fn config(&self) -> Result<Config, String> {
        let mut flags = Flags::default();
        self.data.add_to(&mut flags);
        configuration(self.data.config.as_deref(), &flags).map_err(|faults| faults.to_string())
    }

    /// Where a database must be.
    pub async fn existing(&self) -> Result<Config, String> {
        let config = self.config()?;
        warn(&config);
        require_database(&config.database).await?;
        Ok(config)
    }

    /// Where a database may have to be made: the data directory is made if that is to hold it.
    pub fn place(&self) -> Result<Config, String> {
        let config = self.config()?;
        warn(&config);
        if is_inside(&config.database, &config.data_dir) {
            make_private(&config.data_dir).map_err(|error| {
                let path = config.data_dir.display();
                format!("the data directory {path} cannot be used; choose another with --data-dir: {error}")
            })?;
        }
        Ok(config)
    }
}

/// Says what looks like a mistake, such as a misspelled variable: another database may be meant than the one that is found.
pub fn warn(config: &Config) {
    for warning in &config.warnings {
        out::note(format_args!("barycenter: {warning}"));
    }
}

/// Whether the database is a file below this directory.
fn is_inside(database: &DatabaseUrl, directory: &Path) -> bool {
    match database {
        DatabaseUrl::Sqlite(file) => file.starts_with(directory),
        DatabaseUrl::Postgres(_) => false,
    }
}

/// What is loaded.
#[derive(Debug, Clone, Default, Args)]
pub struct LoadFlags {
    /// The list of plugins [BARYCENTER_PLUGINS; default: plugins.toml, else the built-in list]
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub plugins: Option<PathBuf>,
    /// A directory of tool files; may be repeated [BARYCENTER_TOOL_DIRS, separated by colons]
    #[arg(long = "tool-dir", value_name = "DIR", value_parser = path())]
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

/// Reads a path that becomes an option, which is text: an empty one, and one that is not UTF-8, would name another place than
/// was meant.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    NonEmptyStringValueParser::new().map(PathBuf::from)
}

/// Adds a path that was given and read by [`path`].
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

#[cfg(test)]
mod tests {
    use super::*;

    fn common(directory: &Path, database: Option<&str>) -> Common {
        Common {
            json: false,
            data: DataFlags {
                config: None,
                data_dir: Some(directory.to_owned()),
                database_url: database.map(str::to_owned),
            },
        }
    }

    #[test]
    fn the_directory_is_made_for_a_database_in_it_and_for_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let new = folder.path().join("a/new");
        let elsewhere = format!("sqlite://{}/b.sqlite", folder.path().display());
        for database in [elsewhere.as_str(), "postgres://u@h/d"] {
            common(&new, Some(database)).place().expect("a place");
            assert!(!new.exists(), "{database}");
        }
        let config = common(&new, None).place().expect("a place");
        assert!(new.is_dir());
        assert_eq!(
            config.database,
            DatabaseUrl::Sqlite(new.join("barycenter.sqlite"))
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let told = common(&file, None).place().expect_err("it is a file");
        assert!(
            told.starts_with("the data directory ")
                && told.contains("file cannot be used; choose another with --data-dir: "),
            "{told}"
        );
    }

    #[test]
    fn where_a_database_must_be_nothing_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing");
        let looked = crate::cli::block_on(common(&missing, None).existing());
        let told = looked.expect_err("there is none");
        assert!(
            told.starts_with("there is no database of Barycenter's at sqlite://"),
            "{told}"
        );
        assert!(!missing.exists());
    }
}
