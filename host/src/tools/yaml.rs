//! Galaxy's YAML tools.
use serde_json::Value;
use thiserror::Error;
use super::Tool;
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct YamlToolError { pub message: String }
/// `file` is for messages only.
pub fn parse(_text: &str, _file: &str) -> Result<Tool, YamlToolError> { todo!() }
/// A tool sent as JSON (`representation` of `POST /api/unprivileged_tools`).
pub fn parse_representation(_representation: &Value) -> Result<Tool, YamlToolError> { todo!() }
