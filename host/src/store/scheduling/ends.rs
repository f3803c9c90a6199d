//! How jobs end, as values.

use serde_json::{Value, json};

use crate::model::state::{DatasetState, JobState};
use crate::tools::datatypes::Validity;

/// How a job ended.
#[derive(Debug, Clone)]
pub struct JobEnd {
    pub job_id: i64,
    /// Ok or error; or paused, for a job that was about to start. A job that was to be stopped ends as deleted
    /// whatever stands here.
    pub state: JobState,
    pub exit_code: Option<i64>,
    pub stdout: String,
    pub stderr: String,
    /// A sentence for people, where the exit code does not say it all.
    pub info: Option<String>,
    pub started_ms: Option<i64>,
    pub ended_ms: i64,
    pub external_id: Option<String>,
    pub outputs: Vec<OutputEnd>,
    pub collections: Vec<CollectionEnd>,
    /// Datasets that the job made beside the declared ones.
    pub extra: Vec<NewDataset>,
    /// What its step wants done now.
    pub actions: Vec<EndAction>,
}

/// What became of a declared output.
#[derive(Debug, Clone)]
pub struct OutputEnd {
    pub hda_id: i64,
    pub dataset_id: i64,
    pub state: DatasetState,
    pub file: FileFacts,
    pub visible: bool,
    pub info: Option<String>,
    /// It is another name for the data of this dataset in a history, and has none of its own.
    pub share: Option<i64>,
}

/// What is known of a dataset's file.
#[derive(Debug, Clone, Default)]
pub struct FileFacts {
    pub size: i64,
    pub extension: String,
    pub peek: Option<String>,
    pub blurb: Option<String>,
    pub metadata: Value,
    /// Whether it is what its datatype says, if somebody wanted to know.
    pub validity: Option<Validity>,
}

/// What became of a collection whose elements the job found out.
#[derive(Debug, Clone)]
pub struct CollectionEnd {
    pub collection_id: i64,
    pub collection_type: String,
    /// None: the job failed.
    pub elements: Option<Vec<NewElement>>,
}

/// An element with its dataset: identifiers outermost first.
#[derive(Debug, Clone)]
pub struct NewElement {
    pub identifiers: Vec<String>,
    pub dataset: NewDataset,
}

/// A dataset that exists only now.
#[derive(Debug, Clone)]
pub struct NewDataset {
    pub hda_id: i64,
    pub dataset_id: i64,
    pub name: String,
    pub visible: bool,
    pub file: FileFacts,
    pub output_name: String,
}

/// A post-job action that is carried out when a job ends.
#[derive(Debug, Clone)]
pub struct EndAction {
    pub action_type: String,
    /// Empty: every output.
    pub output_name: String,
    pub arguments: Value,
}

impl EndAction {
    /// Whether it is for this output.
    pub fn is_for(&self, output_name: &str) -> bool {
        self.output_name.is_empty() || self.output_name == output_name
    }
}

/// A dataset's metadata with what its file says, keeping the reference genome it was created with.
pub fn merge_metadata(stored: &str, found: Value) -> Value {
    let mut merged = serde_json::from_str(stored).unwrap_or_else(|_| json!({}));
    if let (Value::Object(merged), Value::Object(found)) = (&mut merged, found) {
        merged.extend(found);
    }
    merged
}
