//! From a tool and a state to what `sh` runs.

use serde_json::{Value, json};
use thiserror::Error;

use super::Tool;
use super::expression::{Evaluator, ExpressionError, Limits, Scope, write_json};
use super::inputs_json::{DataViews, inputs_json};
use super::model::Action;

/// What one job of a tool is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct RenderInputs<'a> {
    /// Normalised state; data references as `{"src", "id"}` or `{"values": [...]}`.
    pub params: &'a Value,
    /// Everything `params` refers to.
    pub data: &'a DataViews,
    pub cores: u32,
    /// The job's working directory.
    pub outdir: &'a str,
    pub tmpdir: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Shown to people.
    pub command_line: String,
    /// What `sh` runs: the command line, strictly, with `GALAXY_SLOTS` set.
    pub script: String,
    /// Relative path and content, to be written into the working directory first.
    pub files: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    #[error("the command of tool {tool} could not be written: {source}")]
    Command {
        tool: String,
        source: ExpressionError,
    },
    #[error("the file {file} of tool {tool} could not be written: {source}")]
    ConfigFile {
        tool: String,
        file: String,
        source: ExpressionError,
    },
    #[error("tool {tool} has no command: the server itself does its work")]
    NoCommand { tool: String },
}

impl RenderError {
    /// Whether it says nothing of the tool: see [`ExpressionError::is_passing`].
    pub fn is_passing(&self) -> bool {
        match self {
            RenderError::Command { source, .. } | RenderError::ConfigFile { source, .. } => {
                source.is_passing()
            }
            RenderError::NoCommand { .. } => false,
        }
    }
}

/// Evaluates the command and the files of one job.
pub fn render(tool: &Tool, inputs: &RenderInputs<'_>) -> Result<Rendered, RenderError> {
    let values = inputs_json(tool, inputs.params, inputs.data);
    let runtime = json!({"outdir": inputs.outdir, "tmpdir": inputs.tmpdir});
    let scope = Scope {
        inputs: &values,
        runtime: &runtime,
        library: &tool.requirements.expression_lib,
    };
    let evaluator = Evaluator::new(scope, Limits::default());
    let command_line = command_line(tool, &evaluator)?;
    let mut files = Vec::with_capacity(tool.config_files.len());
    for file in &tool.config_files {
        let content = evaluator
            .value(&file.content)
            .map_err(|source| RenderError::ConfigFile {
                tool: tool.id.clone(),
                file: file.filename.clone(),
                source,
            })?;
        files.push((file.filename.clone(), into_text(content)));
    }
    let mut script = format!(
        "set -e\nGALAXY_SLOTS=\"{}\"; export GALAXY_SLOTS\n",
        inputs.cores
    );
    for directory in &tool.precreate_directories {
        script.push_str(&format!("mkdir -p -- {}\n", shell_quote(directory)));
    }
    script.push_str(&command_line);
    script.push('\n');
    Ok(Rendered {
        command_line,
        script,
        files,
    })
}

fn command_line(tool: &Tool, evaluator: &Evaluator<'_>) -> Result<String, RenderError> {
    let failed = |source| RenderError::Command {
        tool: tool.id.clone(),
        source,
    };
    match &tool.action {
        Action::Shell(template) => evaluator.text(template).map_err(failed),
        Action::Arguments {
            base_command,
            arguments,
        } => {
            let mut words = base_command.clone();
            for argument in arguments {
                let word = if argument.is_literal() {
                    evaluator.text(argument).map_err(failed)?
                } else {
                    let value = evaluator.value(argument).map_err(failed)?;
                    shell_quote(&into_text(value))
                };
                words.push(word);
            }
            Ok(words.join(" "))
        }
        Action::Expression(_) | Action::Collection(_) => Err(RenderError::NoCommand {
            tool: tool.id.clone(),
        }),
    }
}

fn into_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => {
            let mut text = String::new();
            write_json(&other, &mut text);
            text
        }
    }
}

/// `text` as exactly one word of `sh`, as Python's `shlex.quote` writes it.
pub fn shell_quote(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&byte);
    if !text.is_empty() && text.bytes().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
