//! `barycenter admin stub-tools`: tools that stand in for missing ones, so that a workflow can be tried dry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::cli::out;
use crate::formats::{self, stand_ins};
use crate::tools::{Toolbox, datatypes, unreadable};

#[derive(Debug, Args)]
pub struct StubTools {
    /// Workflow files, .ga or format 2
    #[arg(required = true, value_name = "WORKFLOW")]
    workflows: Vec<PathBuf>,
    /// Where the tool files are written; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A directory of tools that the server has; may be repeated
    #[arg(long = "tool-dir", value_name = "DIR")]
    tool_dirs: Vec<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub fn stub_tools(wanted: &StubTools) -> Result<(), String> {
    if let Some((path, error)) = unreadable(&wanted.tool_dirs) {
        return Err(format!(
            "The directory of tools {} cannot be read: {error}.",
            path.display()
        ));
    }
    let toolbox = Toolbox::new(wanted.tool_dirs.clone());
    let is_there = |id: &str, version: &str| {
        let version = Some(version).filter(|version| !version.is_empty());
        toolbox.get(id, version).is_some_and(|found| found.exact)
    };
    let mut found = BTreeMap::new();
    for path in &wanted.workflows {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = std::fs::read(path).map_err(|error| told(&error))?;
        let workflow = formats::import_bytes(&bytes).map_err(|error| told(&error))?;
        stand_ins::add(&workflow, &is_there, &mut found);
    }
    let told =
        |path: &std::path::Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&wanted.out).map_err(|error| told(&wanted.out, error))?;
    // All or none: which of them are missing is not to be puzzled out.
    let at = |name: &stand_ins::ToolName| wanted.out.join(stand_ins::file_name(name));
    if let Some(path) = found.keys().map(at).find(|path| path.exists())
        && !wanted.force
    {
        return Err(format!(
            "{} is there already; name another folder with --out, or replace what is there with --force",
            path.display()
        ));
    }
    let is_datatype = |name: &str| datatypes::datatype(name).is_some();
    for (name, stand_in) in &found {
        let path = at(name);
        let text = format!("{:#}\n", stand_ins::write(name, stand_in, &is_datatype));
        let mut options = std::fs::File::options();
        options.write(true).create(true).truncate(true);
        if !wanted.force {
            options.create_new(true);
        }
        let file = options.open(&path);
        let written =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|error| told(&path, error))?;
        out::line(path.display().to_string());
    }
    Ok(())
}
