//! Reading what a job left in its working directory.
use std::path::{Path, PathBuf};
use serde_json::Value;
use thiserror::Error;
use super::{Tool, inputs_json::DataViews, model::Output};

/// What a job left behind. Files are not moved: the caller moves or links `path`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// One per declared data and scalar output that has a file.
    pub datasets: Vec<CollectedDataset>,
    pub collections: Vec<CollectedCollection>,
}
#[derive(Debug, Clone, PartialEq)]
pub struct CollectedDataset {
    /// The declared output this is, or belongs to.
    pub output_name: String,
    /// Absolute, inside the working directory, symbolic links resolved.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub ext: String,
    /// Set for a discovered dataset.
    pub name: Option<String>,
    pub designation: Option<String>,
    pub dbkey: Option<String>,
    pub visible: bool,
    /// Discovered beside the declared one: becomes a dataset of its own.
    pub extra: bool,
}
#[derive(Debug, Clone, PartialEq)]
pub struct CollectedCollection {
    pub output_name: String,
    pub elements: Vec<CollectedElement>,
}
#[derive(Debug, Clone, PartialEq)]
pub struct CollectedElement {
    /// Outermost first; as many as the collection type has ranks.
    pub identifiers: Vec<String>,
    pub path: PathBuf,
    pub size: u64,
    pub ext: String,
    pub dbkey: Option<String>,
}
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CollectError {
    #[error("output {output}: the command did not write {path}")]
    Missing { output: String, path: String },
    #[error("{0}")]
    Other(String),
}
/// Finds the files of every declared output below `working_dir`.
pub fn collect(_tool: &Tool, _working_dir: &Path, _state: &Value, _data: &DataViews) -> Result<Collected, CollectError> { todo!() }
/// The extension an output gets when its job is created.
pub fn output_extension(_tool: &Tool, _output: &Output, _state: &Value, _data: &DataViews) -> String { todo!() }
/// `None` when it depends on what the job writes.
pub fn output_collection_type(_tool: &Tool, _output: &Output, _state: &Value, _data: &DataViews) -> Option<String> { todo!() }
/// The name an output gets: its label, else "Tool name on data 1 and data 2".
pub fn output_label(_tool: &Tool, _output: &Output, _on_string: &str, _state: &Value, _data: &DataViews) -> String { todo!() }
/// "data 1", "data 1 and data 2", "data 1, data 2, and others".
pub fn on_string(_hids: &[i64]) -> String { todo!() }
