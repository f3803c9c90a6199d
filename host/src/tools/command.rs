//! From a tool and a state to what `sh` runs.
use serde_json::Value;
use thiserror::Error;
use super::{Tool, inputs_json::DataViews};
use super::expression::ExpressionError;

/// What one job of a tool is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct RenderInputs<'a> {
    /// Normalised state; data references as `{"src", "id"}` or `{"values": [...]}`.
    pub params: &'a Value,
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
    /// What `sh` runs.
    pub script: String,
    /// Relative path and content, to be written into the working directory first.
    pub files: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    #[error("the command of tool {tool} could not be written: {source}")]
    Command { tool: String, source: ExpressionError },
    #[error("the file {file} of tool {tool} could not be written: {source}")]
    ConfigFile { tool: String, file: String, source: ExpressionError },
    #[error("tool {tool} has no command: it is an expression tool")]
    NoCommand { tool: String },
}
pub fn render(_tool: &Tool, _inputs: &RenderInputs<'_>) -> Result<Rendered, RenderError> { todo!() }
/// One word for `sh`.
pub fn shell_quote(_text: &str) -> String { todo!() }
