//! `barycenter plugin new`.

use std::path::PathBuf;
use std::process::ExitCode;

use barycenter_plugin_api::PluginKind;
use clap::{Args, ValueEnum};

use crate::cli::out;
use crate::kit::new::Project;

/// Begin a plugin: a folder that builds, has tests and passes `plugin check` as it is
///
/// The contract's crate is written into the folder, so nothing but Rust is needed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What it is to be
    kind: Kind,
    /// The plugin type and the crate's name, such as fair-share
    name: String,
    /// Where to; default: a new folder of that name
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Use the plugin-api of a checkout, instead of the copy in this program
    #[arg(long, value_name = "DIR")]
    api_path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Decides which steps are expanded and which jobs go where
    Scheduler,
    /// A step type
    Module,
    /// Executes jobs
    Runner,
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let folder = arguments
        .path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&arguments.name));
    let project = Project {
        kind: match arguments.kind {
            Kind::Scheduler => PluginKind::Scheduler,
            Kind::Module => PluginKind::WorkflowModule,
            Kind::Runner => PluginKind::JobRunner,
        },
        name: &arguments.name,
        folder: &folder,
        api: arguments.api_path.as_deref(),
    };
    match project.write() {
        Ok(names) => {
            for name in names {
                out::line(folder.join(name).display());
            }
            let library = format!("target/release/lib{}.so", arguments.name.replace('-', "_"));
            out::note(format_args!(
                "Next: cd {} && cargo test && cargo build --release && barycenter plugin check {library}",
                folder.display()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => out::failure(error),
    }
}
