//! How jobs end, as values.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::known::ids;
use crate::model::state::{DatasetState, JobState};
use crate::store::db::{Query, StoreError, blocks, placeholders};

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
}

/// What is known of a dataset's file.
#[derive(Debug, Clone, Default)]
pub struct FileFacts {
    pub size: i64,
    pub extension: String,
    pub peek: Option<String>,
    pub blurb: Option<String>,
    pub metadata: Value,
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

/// The actions that are carried out when jobs end, by job.
pub async fn actions(
    q: &mut impl Query,
    job_ids: &[i64],
) -> Result<HashMap<i64, Vec<EndAction>>, StoreError> {
    let mut found: HashMap<i64, Vec<EndAction>> = HashMap::new();
    for block in blocks(job_ids) {
        let sql = format!(
            "SELECT a.job_id, p.action_type, p.output_name, p.action_arguments FROM post_job_action_association a
             JOIN post_job_action p ON p.id = a.post_job_action_id WHERE a.job_id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            found.entry(row.get(0)?).or_default().push(EndAction {
                action_type: row.get(1)?,
                output_name: row.get(2)?,
                arguments: row.json(3)?,
            });
        }
    }
    Ok(found)
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
