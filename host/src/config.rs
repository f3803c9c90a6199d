//! What an operator decides: flags, the environment, barycenter.toml, and what holds without any of them.
//!
//! Every option has one name: `listen` in the file, `BARYCENTER_LISTEN` in the environment and, for some,
//! `--listen` on the command line. A flag beats the environment, which beats the file. [`KEYS`] lists them all.
//! Nothing else in the server reads the environment, but for two seams that only tests use: crash points
//! (`BARYCENTER_CRASH_AT`, `store/crash.rs`) and a clock that is off (`BARYCENTER_CLOCK_SHIFT_FILE`, `clock.rs`).

mod sources;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fetch::{Local, Prefix, Purpose, Rules};
use crate::http::{MetricsFor, Settings};
use crate::model::handler::{Roles, check_name};
use crate::plugins::{Fault, PluginsConfig};
use crate::scheduling::EngineSettings;
use crate::store::DatabaseUrl;
use sources::{Options, read_file};

pub use sources::{Environment, Flags};

/// Everything that was decided, checked. Nobody checks it again.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host and port to listen on; port 0 picks a free one.
    pub listen: String,
    /// Where datasets, job directories and copies of plugins are.
    pub data_dir: PathBuf,
    /// The database.
    pub database: DatabaseUrl,
    pub plugins: PluginsFile,
    /// Directories of tool files, beside the stock tools.
    pub tool_dirs: Vec<PathBuf>,
    /// Where the calls of schedulers are recorded, if they are.
    pub record: Option<PathBuf>,
    pub doors: Settings,
    pub workflows: WorkflowOptions,
    pub engine: EngineSettings,
    pub process: ProcessOptions,
    pub log: LogOptions,
    /// What an operator should hear about although it is no fault.
    pub warnings: Vec<String>,
}

/// Which plugins to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginsFile {
    /// This file, which must be there.
    Named(PathBuf),
    /// This file if it is there, else the built-in list.
    Default(PathBuf),
}

impl PluginsFile {
    /// Reads and checks it.
    pub fn read(&self) -> Result<PluginsConfig, Vec<Fault>> {
        match self {
            PluginsFile::Named(path) => PluginsConfig::read(path),
            PluginsFile::Default(path) => PluginsConfig::read_or_built_in(path),
        }
    }
}

/// Galaxy's options about workflows, by Galaxy's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowOptions {
    /// Editors are offered pause and other step types beyond the stable ones.
    pub enable_beta_workflow_modules: bool,
    /// A submission by the old form of `POST /api/workflows` goes to the background if it has more steps.
    pub force_beta_workflow_scheduled_min_steps: usize,
    /// So it does if it has a collection input.
    pub force_beta_workflow_scheduled_for_collections: bool,
}

impl Default for WorkflowOptions {
    fn default() -> Self {
        WorkflowOptions {
            enable_beta_workflow_modules: false,
            force_beta_workflow_scheduled_min_steps: 250,
            force_beta_workflow_scheduled_for_collections: false,
        }
    }
}

/// This process among those that share a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOptions {
    /// None: `main`, or the next free one of `main-2`, `main-3` …
    pub name: Option<String>,
    pub roles: Roles,
    /// The tags it serves; none: the default tag.
    pub tags: Vec<String>,
    /// How long it may be silent before others take its work over.
    pub lease: Duration,
}

/// What is logged, and how. Logs go to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    pub format: LogFormat,
    /// A level, or directives such as `info,barycenter::scheduling=debug`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object to a line.
    Json,
}

/// One option, for `--help` and the reference.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

macro_rules! keys {
    ($($name:literal, $default:literal, $meaning:literal;)+) => {
        /// Every option there is.
        pub const KEYS: &[Key] = &[$(Key { name: $name, default: $default, meaning: $meaning }),+];
    };
}
keys! {
    "listen", "127.0.0.1:8080", "Host and port; port 0 picks a free one.";
    "data_dir", "$XDG_DATA_HOME/barycenter", "Where the database, datasets and jobs are.";
    "database_url", "sqlite://DATA_DIR/barycenter.sqlite", "The database: sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE.";
    "plugins", "plugins.toml", "The list of plugins; built-in if that file is not there.";
    "tool_dirs", "none", "Directories of tool files (in the environment separated by colons).";
    "record", "none", "A directory into which every call of a scheduler is written, for `barycenter plugin replay`; 16 files of 64 MiB at most.";
    "name", "main, or the next of main-2, main-3 that is free", "This server among those that share a database; what it holds carries it.";
    "role", "web,handler,runner", "What this server does: answer requests, advance invocations, run jobs.";
    "handler_tags", "_default_", "The tags whose invocations this server takes (in the environment separated by commas).";
    "handler_lease_seconds", "15", "A server that is silent for so long is taken for dead, and others take its work over.";
    "lost_machine_seconds", "600", "How long a job is waited for that was started on a machine whose server is gone, before it counts as lost.";
    "brand", "Barycenter", "The server's name for people.";
    "public_url", "as requests say", "How clients reach this server, for the complete URLs in its answers.";
    "bootstrap_admin_api_key", "none", "A key that acts as an administrator without being a user.";
    "metrics", "loopback", "Who may read `/metrics` without an administrator's key: `loopback` (programs on this machine), `public` (everybody), `admin` (nobody).";
    "body_max_bytes", "67108864", "The longest request other than an upload.";
    "upload_max_bytes", "107374182400", "The longest upload.";
    "fetch_url_prefixes", "none", "What the server may fetch by URL for its users: beginnings such as `https://example.org/data/`, `https://` (every host) or `file:///srv/data/` (in the environment separated by commas). Without any, nothing is fetched.";
    "fetch_url_allowlist", "none", "Addresses, networks (`10.0.1.0/24`) and hosts that may be asked although they are not public (in the environment separated by commas).";
    "fetch_max_bytes", "107374182400", "The longest content that is fetched.";
    "fetch_time_limit_seconds", "3600", "The longest time that fetching one may take.";
    "fetch_at_once", "4", "How many are fetched at once, shared by all users.";
    "webhook_url_prefixes", "none", "What the server may call when an invocation is completed: beginnings of URLs as in `fetch_url_prefixes`; `fetch_url_allowlist` holds here too. Without any, nobody is called.";
    "export_directories", "none", "Directories in which users may have archives of their invocations put, as `file://` URLs say (in the environment separated by colons).";
    "job_time_limit_seconds", "0", "For tools that name no limit of their own; 0 is no limit.";
    "job_log_limit_bytes", "67108864", "What is kept of a job's stdout, and of its stderr.";
    "shell", "/bin/sh", "What runs a job's script.";
    "sendmail", "none", "The command that sends mail, as `sendmail -t` reads it; without one mail is only logged.";
    "maximum_workflow_invocation_duration", "2678400", "Seconds after which an invocation that is still being scheduled fails; 0: never.";
    "history_local_serial_workflow_scheduling", "false", "Only the oldest active invocation of a history proceeds.";
    "force_beta_workflow_scheduled_min_steps", "250", "Old-style submissions with more steps go to the background.";
    "force_beta_workflow_scheduled_for_collections", "false", "Old-style submissions with collection inputs go to the background.";
    "enable_beta_workflow_modules", "false", "Offer pause and other step types of plugins to editors.";
    "enable_user_defined_tools", "true on a loopback address without public_url, else false", "Users may define tools; their commands run as the server's own user, uncontained.";
    "log_level", "info", "error, warn, info, debug or trace, or directives such as info,plugin=debug.";
    "log_format", "text", "text or json.";
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl std::error::Error for ConfigFaults {}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// The file that is read when none is named, if it is there.
const FILE: &str = "barycenter.toml";

impl Config {
    /// Reads the file (`named`, else `BARYCENTER_CONFIG`, else [`FILE`] if there is one) and puts everything
    /// together. All faults of all sources are told at once.
    pub fn read(
        named: Option<&Path>,
        environment: &Environment,
        flags: &Flags,
    ) -> Result<Config, ConfigFaults> {
        let from_environment = environment.option("config").map(PathBuf::from);
        let path = match named.map(Path::to_owned).or(from_environment) {
            Some(path) => Some(path),
            None => Some(PathBuf::from(FILE)).filter(|path| path.exists()),
        };
        let text = path
            .as_deref()
            .map(read_file)
            .transpose()
            .map_err(|fault| ConfigFaults(vec![fault]))?;
        let place = path.as_deref().zip(text.as_deref());
        Config::assemble(place, environment, flags)
    }

    /// As [`Config::read`], with the text of the file already read.
    fn assemble(
        file: Option<(&Path, &str)>,
        environment: &Environment,
        flags: &Flags,
    ) -> Result<Config, ConfigFaults> {
        let mut faults = Vec::new();
        let mut options = Options::new(file, environment, flags, &mut faults);
        let config = decide(&mut options);
        let warnings = options.finish();
        match config {
            Some(config) if faults.is_empty() => Ok(Config { warnings, ..config }),
            _ => Err(ConfigFaults(faults)),
        }
    }
}

/// None only if there is a fault.
fn decide(options: &mut Options<'_>) -> Option<Config> {
    let listen = options.checked("listen", |text| match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("Give host and port, such as `127.0.0.1:8080` or `[::1]:0`."),
    });
    let data_dir = options.path("data_dir").or_else(|| options.home());
    let database = options.checked("database_url", |url| url.parse::<DatabaseUrl>());
    let plugins = match options.path("plugins") {
        Some(path) => PluginsFile::Named(path),
        None => PluginsFile::Default(options.beside_file("plugins.toml")),
    };
    let tool_dirs = options.paths("tool_dirs");
    let record = options.path("record");
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let doors = doors(options, &listen);
    let engine = engine(options);
    let workflows = workflows(options);
    let process = process(options);
    let log = log(options);
    let data_dir = data_dir?;
    Some(Config {
        listen,
        database: match database {
            Some(DatabaseUrl::Sqlite(path)) => {
                DatabaseUrl::Sqlite(options.resolved("database_url", &path))
            }
            Some(server) => server,
            None => DatabaseUrl::Sqlite(data_dir.join("barycenter.sqlite")),
        },
        data_dir,
        plugins,
        tool_dirs,
        record,
        doors,
        workflows,
        engine,
        process,
        log,
        warnings: Vec::new(),
    })
}

fn doors(options: &mut Options<'_>, listen: &str) -> Settings {
    let usual = Settings::default();
    let key = options.checked("bootstrap_admin_api_key", |key| {
        // What is easily guessed is worse than none.
        let fits = key.len() >= BOOTSTRAP_KEY_MIN && !key.contains(char::is_whitespace);
        fits.then(|| key.to_owned())
            .ok_or("Give at least 8 characters without blanks.")
    });
    let public_url = options.checked("public_url", |url| {
        let url = url.trim_end_matches('/');
        let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
        rest.filter(|rest| !rest.is_empty() && !rest.contains([' ', '?', '#']))
            .map(|_| url.to_owned())
            .ok_or("Give a URL such as https://example.org.")
    });
    let user_tools = options.flag("enable_user_defined_tools");
    // Who has an address for clients has clients elsewhere, behind whatever proxy.
    let is_private = public_url.is_none() && is_loopback(listen);
    let fetch = fetch(options);
    let webhooks = Rules {
        purpose: Purpose::Webhook,
        prefixes: options.list(
            "webhook_url_prefixes",
            |text| Prefix::parse(text).filter(|prefix| matches!(prefix, Prefix::Web { .. })),
            "Give beginnings of http and https URLs, such as `https://example.org/hooks/`.",
        ),
        ..fetch.clone()
    };
    Settings {
        brand: options.text("brand").unwrap_or(usual.brand),
        bootstrap_admin_api_key: key,
        public_url,
        body_max_bytes: options
            .number("body_max_bytes", 1024, i64::MAX)
            .map_or(usual.body_max_bytes, |n| n as usize),
        upload_max_bytes: options
            .number("upload_max_bytes", 1024, i64::MAX)
            .map_or(usual.upload_max_bytes, |n| n as u64),
        enable_user_defined_tools: user_tools.unwrap_or(is_private),
        fetch,
        webhooks,
        export_directories: options.paths("export_directories"),
        metrics: options
            .checked("metrics", |word| {
                MetricsFor::from_word(word).ok_or("Give loopback, public or admin.")
            })
            .unwrap_or_default(),
        ..usual
    }
}

fn fetch(options: &mut Options<'_>) -> Rules {
    let usual = Rules::default();
    Rules {
        purpose: Purpose::Fetch,
        prefixes: options.list(
            "fetch_url_prefixes",
            Prefix::parse,
            "Give beginnings of URLs, such as `https://example.org/data/` or `file:///srv/data/`.",
        ),
        local: options.list(
            "fetch_url_allowlist",
            Local::parse,
            "Give addresses, networks such as `10.0.1.0/24`, or names of hosts.",
        ),
        max_bytes: options
            .number("fetch_max_bytes", 1, i64::MAX)
            .map_or(usual.max_bytes, |n| n as u64),
        time_limit: options
            .number("fetch_time_limit_seconds", 1, 7 * 24 * 3600)
            .map_or(usual.time_limit, |n| Duration::from_secs(n as u64)),
        at_once: options
            .number("fetch_at_once", 1, 256)
            .map_or(usual.at_once, |n| n as usize),
    }
}

/// Whether only this machine's own users reach the server, who can run commands on it anyway.
fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

const BOOTSTRAP_KEY_MIN: usize = 8;

fn engine(options: &mut Options<'_>) -> EngineSettings {
    let usual = EngineSettings::default();
    let duration = options.number("maximum_workflow_invocation_duration", i64::MIN, i64::MAX);
    let serial = options.flag("history_local_serial_workflow_scheduling");
    let limit = options.number("job_time_limit_seconds", 0, i64::MAX / 1000);
    EngineSettings {
        maximum_workflow_invocation_duration: duration
            .unwrap_or(usual.maximum_workflow_invocation_duration),
        history_local_serial_workflow_scheduling: serial
            .unwrap_or(usual.history_local_serial_workflow_scheduling),
        job_time_limit_seconds: match limit {
            Some(0) => None,
            Some(seconds) => Some(seconds as u64),
            None => usual.job_time_limit_seconds,
        },
        job_log_limit_bytes: options
            .number("job_log_limit_bytes", 0, i64::MAX)
            .map_or(usual.job_log_limit_bytes, |n| n as u64),
        shell: options.text("shell").unwrap_or(usual.shell),
        sendmail: options.text("sendmail").filter(|text| !text.is_empty()),
        lost_machine: options
            .number("lost_machine_seconds", 0, 365 * 24 * 3600)
            .map_or(usual.lost_machine, |n| Duration::from_secs(n as u64)),
        ..EngineSettings::default()
    }
}

fn process(options: &mut Options<'_>) -> ProcessOptions {
    let name = options.checked("name", |name| check_name(name).map(|()| name.to_owned()));
    let roles = options.checked("role", Roles::parse);
    let tags = options.checked("handler_tags", |text| {
        let tags: Vec<String> = text
            .split([',', ' '])
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect();
        (!tags.is_empty())
            .then_some(tags)
            .ok_or("Give one tag or several, separated by commas.")
    });
    let lease = options.number("handler_lease_seconds", 1, 24 * 3600);
    ProcessOptions {
        name,
        roles: roles.unwrap_or(Roles::ALL),
        tags: tags.unwrap_or_default(),
        lease: Duration::from_secs(lease.unwrap_or(15) as u64),
    }
}

fn workflows(options: &mut Options<'_>) -> WorkflowOptions {
    let usual = WorkflowOptions::default();
    let steps = options.number(
        "force_beta_workflow_scheduled_min_steps",
        0,
        i64::from(u32::MAX),
    );
    let collections = options.flag("force_beta_workflow_scheduled_for_collections");
    let modules = options.flag("enable_beta_workflow_modules");
    WorkflowOptions {
        enable_beta_workflow_modules: modules.unwrap_or(usual.enable_beta_workflow_modules),
        force_beta_workflow_scheduled_min_steps: steps
            .map_or(usual.force_beta_workflow_scheduled_min_steps, |n| {
                n as usize
            }),
        force_beta_workflow_scheduled_for_collections: collections
            .unwrap_or(usual.force_beta_workflow_scheduled_for_collections),
    }
}

/// Whether every directive without a target is a level. (The parser takes any other word for a target of which all is logged.)
fn names_levels(text: &str) -> bool {
    let is_level = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        matches!(
            word.as_str(),
            "off" | "error" | "warn" | "info" | "debug" | "trace"
        )
    };
    !text.trim().is_empty()
        && text
            .split(',')
            .all(|directive| directive.contains(['=', '[']) || is_level(directive))
}

fn log(options: &mut Options<'_>) -> LogOptions {
    let level = options.checked("log_level", |text| {
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) if names_levels(text) => Ok(text.to_owned()),
            _ => Err("Give error, warn, info, debug or trace, or directives such as `info,plugin=debug`."),
        }
    });
    let format = options.checked("log_format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("Give text or json."),
    });
    LogOptions {
        format: format.unwrap_or(LogFormat::Text),
        level: level.unwrap_or_else(|| "info".to_owned()),
    }
}

#[cfg(test)]
mod tests;
