//! Galaxy workflow files: native `.ga` JSON and format2 YAML, in and out.
//!
//! [`import`] decides what it was given, converts, checks ([`validate`]) and orders
//! ([`order`]); [`export`] writes a description in one of the [`Style`]s. Nothing here reads
//! a file or fetches anything: a workflow that refers elsewhere is refused.
//!
//! Import then export then import changes nothing in native format. Format2 has no place for
//! some facts; `format2_export` lists them.

pub mod error;
pub mod from_history;
pub mod order;
pub mod refactor;
pub mod stand_ins;
pub mod validate;

mod actions;
mod comments;
mod fields;
mod format2;
mod format2_export;
mod native;
mod native_export;
mod references;
mod state;
mod yaml;

pub use error::{ImportError, ImportErrorCode};

use crate::model::workflow::WorkflowDescription;
use fields::Object;
use native::Converted;
use serde_json::{Value, json};
use std::collections::HashMap;
use validate::Allowance;

/// What a document is, going by its outermost keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.ga`: anything that is not one of the others, as in Galaxy.
    Native,
    /// `class: GalaxyWorkflow`, or `$graph`.
    Format2,
    /// `{"class": …, "yaml_content": "…"}`.
    Format2Wrapped,
}

/// The forms a workflow is written in; Galaxy's `style` of a workflow download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `ga` or `export`: native JSON.
    Native,
    /// `editor`: native JSON with `tool_state` as an object and `upgrade_messages`.
    Editor,
    /// `format2`: YAML text.
    Format2,
    /// `format2_wrapped_yaml`: that text as `{"yaml_content"}`.
    Format2Wrapped,
}

/// An exported workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Exported {
    Json(Value),
    Yaml(String),
}

impl Style {
    /// By Galaxy's name. `instance`, `run` and `preview` describe what the server stored, not
    /// a file, and are not among them.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "ga" | "export" => Some(Self::Native),
            "editor" => Some(Self::Editor),
            "format2" => Some(Self::Format2),
            "format2_wrapped_yaml" => Some(Self::Format2Wrapped),
            _ => None,
        }
    }
}

/// What `value` is to be read as.
pub fn detect(value: &Value) -> Format {
    if value.get("yaml_content").is_some() {
        return Format::Format2Wrapped;
    }
    let is_native = value.get("a_galaxy_workflow").is_some();
    let has_class = value.get("class").is_some();
    if !is_native && (has_class || value.get("$graph").is_some()) {
        return Format::Format2;
    }
    Format::Native
}

/// Imports a document that is JSON already, such as the `workflow` of a request.
///
/// The result is checked and ordered. The name is taken as it is: the suffix ` (imported from
/// …)` is the caller's to add, by [`imported_name`].
pub fn import(value: &Value) -> Result<WorkflowDescription, ImportError> {
    validate::tree(value)?;
    let converted = convert(value, Level::default(), &mut Allowance::full())?;
    let mut workflow = converted.workflow;
    validate::description(&workflow)?;
    order::reorder(&mut workflow);
    native_export::declare_inputs(&mut workflow);
    mark_errors(&mut workflow);
    Ok(workflow)
}

/// Imports a file: JSON if it reads as such, else YAML.
pub fn import_bytes(bytes: &[u8]) -> Result<WorkflowDescription, ImportError> {
    import(&parse_bytes(bytes)?)
}

/// Reads a file: JSON if it reads as such, else YAML.
pub fn parse_bytes(bytes: &[u8]) -> Result<Value, ImportError> {
    if bytes.len() > validate::BYTES_MAX {
        let mebibytes = validate::BYTES_MAX >> 20;
        let message = format!("The workflow is larger than {mebibytes} MiB.");
        return Err(ImportError::malformed(message));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(ImportError::malformed("The workflow is not UTF-8 text."));
    };
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().starts_with(['{', '[']) {
        false => yaml::parse(text),
        // A YAML file may begin like this too; but then the JSON error tells more.
        true => match serde_json::from_str(text) {
            Ok(value) => Ok(value),
            Err(error) => yaml::parse(text)
                .map_err(|_| ImportError::malformed(format!("The JSON cannot be read: {error}."))),
        },
    }
}

/// `name (imported from source)`, once; `source` is `URL`, `uploaded file` or `WES API`.
pub fn imported_name(name: &str, source: &str) -> String {
    let suffix = format!(" (imported from {source})");
    match name.ends_with(&suffix) {
        true => name.to_owned(),
        false => format!("{name}{suffix}"),
    }
}

/// Writes `workflow`, which came from [`import`] or keeps the rules of
/// [`validate::description`].
pub fn export(workflow: &WorkflowDescription, style: Style) -> Exported {
    match style {
        Style::Native => Exported::Json(native_export::write(workflow, Style::Native)),
        Style::Editor => Exported::Json(native_export::write(workflow, Style::Editor)),
        Style::Format2 => Exported::Yaml(format2_text(workflow)),
        Style::Format2Wrapped => Exported::Json(json!({
            "class": "GalaxyWorkflow",
            "yaml_content": format2_text(workflow),
        })),
    }
}

impl Exported {
    /// As the body of a file: indented JSON, or YAML.
    pub fn into_text(self) -> String {
        match self {
            Self::Yaml(text) => text,
            Self::Json(value) => format!("{value:#}"),
        }
    }
}

fn format2_text(workflow: &WorkflowDescription) -> String {
    yaml::emit(&format2_export::write(workflow))
}

/// Sets `has_errors` where a step, or a subworkflow's, came with errors.
fn mark_errors(workflow: &mut WorkflowDescription) -> bool {
    let mut has_errors = false;
    for step in &mut workflow.steps {
        has_errors |= step.tool_errors.is_some();
        if let Some(inner) = &mut step.subworkflow {
            has_errors |= mark_errors(inner);
        }
    }
    workflow.has_errors = has_errors;
    has_errors
}

/// Where in a file a workflow stands, and what it may refer to from there.
#[derive(Clone, Copy, Default)]
struct Level<'f> {
    /// Subworkflows around this one.
    depth: usize,
    /// Native `subworkflows`, referred to as `content_id: "#id"`.
    shared: Option<&'f Object>,
    /// Format2 `$graph`, referred to as `run: "#id"`.
    graph: Option<&'f HashMap<&'f str, &'f Value>>,
}

impl Level<'_> {
    fn inside(self) -> Result<Self, ImportError> {
        let depth = self.depth + 1;
        validate::subworkflow_depth(depth)?;
        Ok(Self { depth, ..self })
    }
}

/// Converts either format, numbering steps as the file does; neither checked nor ordered.
fn convert(
    value: &Value,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    match detect(value) {
        Format::Native => native::convert(value, level, allowance),
        Format::Format2 => format2::convert(value, level, allowance),
        Format::Format2Wrapped => {
            let content = &value["yaml_content"];
            let parsed = match content {
                Value::String(text) => yaml::parse(text)?,
                Value::Object(_) => content.clone(),
                _ => return Err(ImportError::malformed("yaml_content should be YAML text.")),
            };
            convert(&parsed, level.inside()?, allowance)
        }
    }
}

#[cfg(test)]
mod tests;
