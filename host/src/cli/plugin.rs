//! `barycenter plugin …`: what is declared, what is found, what is wrong; and the kit for authors.

mod bench;
mod check;
mod inspect;
mod lock;
mod new;
mod remote;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use barycenter_plugin_api::Host;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::options;
use super::out;
use crate::config::{Config, ConfigFaults, Flags, PluginsFile};
use crate::plugins::{Fault, ListedPlugin, PluginStatus, Plugins, PluginsConfig, Wiring};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the declared plugins and whether they load; with --server those of a server that runs, and how they are
    List {
        #[command(flatten)]
        of: Which,
        /// Ask this server, such as http://127.0.0.1:8080
        #[arg(long, value_name = "URL", value_parser = remote::url, conflicts_with_all = ["config", "plugins"])]
        server: Option<String>,
        /// The environment variable that has a user's key, for --server
        #[arg(long, value_name = "NAME", default_value = remote::KEY)]
        api_key_env: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a server that runs take a plugin in anew, as plugins.toml and its library are now
    Reload(remote::One),
    /// Have a server that runs give a plugin no new work
    Disable(remote::One),
    /// Have a server that runs give a plugin work again
    Enable(remote::One),
    Check(check::Arguments),
    #[command(hide = true)]
    CheckOne(check::One),
    Inspect(inspect::Arguments),
    Lock(lock::Arguments),
    New(new::Arguments),
    Replay(replay::Arguments),
    Bench(bench::Arguments),
}

/// Which list of plugins.
#[derive(Debug, Args)]
pub struct Which {
    /// Configuration file [BARYCENTER_CONFIG; default: barycenter.toml, if there is one]
    #[arg(long, value_name = "FILE", value_parser = options::path())]
    config: Option<PathBuf>,
    /// The list of plugins [BARYCENTER_PLUGINS; default: plugins.toml, else the built-in list]
    #[arg(long, value_name = "FILE", value_parser = options::path())]
    plugins: Option<PathBuf>,
}

impl Which {
    fn read(&self) -> Result<(PluginsFile, PluginsConfig), ConfigFaults> {
        let mut flags = Flags::default();
        options::set_path(&mut flags, "plugins", self.plugins.as_deref());
        // No data are touched; without a home there is no default for where they would be.
        flags.set("data_dir", Some("."));
        let config: Config = options::configuration(self.config.as_deref(), &flags)?;
        let plugins = config.plugins.read().map_err(ConfigFaults)?;
        Ok((config.plugins, plugins))
    }
}

pub fn main(command: &Command) -> ExitCode {
    match command {
        Command::List {
            of,
            server,
            api_key_env,
            json,
        } => match server {
            Some(url) => remote::list(&remote::Server::new(url, api_key_env), *json),
            None => list(of, *json),
        },
        Command::Reload(one) => remote::order(remote::Order::Reload, one),
        Command::Disable(one) => remote::order(remote::Order::Disable, one),
        Command::Enable(one) => remote::order(remote::Order::Enable, one),
        Command::Check(arguments) => check::main(arguments),
        Command::CheckOne(arguments) => check::one(arguments),
        Command::Inspect(arguments) => inspect::main(arguments),
        Command::Lock(arguments) => lock::main(arguments),
        Command::New(arguments) => new::main(arguments),
        Command::Replay(arguments) => replay::main(arguments),
        Command::Bench(arguments) => bench::main(arguments),
    }
}

/// Every plugin with its state; a required one that does not load makes the exit code 1.
fn list(of: &Which, as_json: bool) -> ExitCode {
    let (_, mut declared) = match of.read() {
        Ok(read) => read,
        Err(faults) => return out::failure(faults),
    };
    let required: Vec<bool> = declared
        .entries
        .iter()
        .map(|entry| entry.required)
        .collect();
    for entry in &mut declared.entries {
        // So that one that does not load is listed like the others.
        entry.required = false;
    }
    // Its warnings would repeat what the list says.
    let plugins = match load(&declared) {
        Ok(plugins) => plugins,
        Err(faults) => return out::failure(faults),
    };
    let is_missing = |(plugin, required): (&ListedPlugin, &bool)| {
        *required && matches!(plugin.status, PluginStatus::Degraded(_))
    };
    let broken = plugins.list().iter().zip(&required).any(is_missing);
    match as_json {
        true => out::lines(plugins.list().iter().map(as_value)),
        false => {
            let heading = [
                "KIND",
                "ID",
                "TYPE",
                "VERSION",
                "API",
                "STATUS",
                "ISOLATION",
                "FILE",
            ];
            let rows: Vec<Vec<String>> = plugins.list().iter().map(row).collect();
            out::table(&heading, &rows);
        }
    }
    match broken {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Whether a server would start with this list.
fn check_list(of: &Which, as_json: bool) -> ExitCode {
    let loaded = of
        .read()
        .and_then(|(file, declared)| Ok((file, load(&declared)?)));
    let (file, plugins) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => {
            if as_json {
                let told = |fault: &Fault| json!({"place": fault.place, "message": fault.message, "remedy": fault.remedy});
                let told: Vec<Value> = faults.0.iter().map(told).collect();
                out::line(json!({"passed": false, "faults": told}));
            }
            return out::failure(faults);
        }
    };
    let name = match &file {
        PluginsFile::Default(path) if !path.exists() => "built-in list".to_owned(),
        PluginsFile::Default(path) | PluginsFile::Named(path) => path.display().to_string(),
    };
    let mut left_out = Vec::new();
    for plugin in plugins.list() {
        let reason = match &plugin.status {
            PluginStatus::Ready => continue,
            PluginStatus::Degraded(reason) => reason.as_str(),
            PluginStatus::Disabled => "it says `enabled = false`",
        };
        let (kind, id) = (plugin.kind, &plugin.id);
        out::note(format_args!("{kind} {id} is left out: {reason}"));
        left_out.push(json!({"kind": kind.to_string(), "id": id, "reason": reason}));
    }
    let count = plugins.list().len();
    match as_json {
        true => out::line(json!({
            "passed": true, "list": name, "plugins": count, "left_out": left_out, "faults": [],
        })),
        false => out::line(format_args!("{name}: {count} plugins, no faults")),
    }
    ExitCode::SUCCESS
}

/// Loads without a server behind: what plugins report goes nowhere.
fn load(declared: &PluginsConfig) -> Result<Plugins, ConfigFaults> {
    let (sender, _) = mpsc::unbounded_channel();
    let wiring = Wiring::new(sender, |_| {});
    let host_for = |id: &str| -> Host { wiring.host_for(id) };
    Plugins::load(declared, &host_for, None).map_err(ConfigFaults)
}

fn status(plugin: &ListedPlugin) -> String {
    match &plugin.status {
        PluginStatus::Ready => "ready".to_owned(),
        PluginStatus::Disabled => "disabled".to_owned(),
        PluginStatus::Degraded(reason) => {
            format!("not loaded: {}", reason.lines().next().unwrap_or_default())
        }
    }
}

fn api(plugin: &ListedPlugin) -> String {
    match plugin.api {
        (0, 0, 0) => String::new(),
        (major, minor, patch) => format!("{major}.{minor}.{patch}"),
    }
}

/// Where it runs, and why there.
fn isolation(plugin: &ListedPlugin) -> String {
    match plugin.isolation {
        Some((isolation, why)) => format!("{}: {why}", isolation.word()),
        None => String::new(),
    }
}

fn row(plugin: &ListedPlugin) -> Vec<String> {
    vec![
        plugin.kind.to_string(),
        plugin.id.clone(),
        plugin.type_id.clone(),
        plugin.version.clone(),
        api(plugin),
        status(plugin),
        isolation(plugin),
        plugin.path.display().to_string(),
    ]
}

fn as_value(plugin: &ListedPlugin) -> Value {
    json!({
        "kind": plugin.kind.to_string(),
        "id": plugin.id,
        "type": plugin.type_id,
        "version": plugin.version,
        "api": api(plugin),
        "file": plugin.path.display().to_string(),
        "sha256": plugin.sha256,
        "status": status(plugin),
        "isolation": plugin.isolation.map(|(isolation, _)| isolation.word()),
        "isolation_reason": plugin.isolation.map(|(_, why)| why),
    })
}
