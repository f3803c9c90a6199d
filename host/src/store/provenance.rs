//! Where a dataset came from.

use serde_json::Value;

use super::db::{Query, StoreError};
use crate::args;

/// The job that made a dataset.
#[derive(Debug, Clone)]
pub struct Origin {
    pub tool_id: String,
    pub stdout: String,
    pub stderr: String,
    pub parameters: Vec<(String, Value)>,
    /// (name, HDA).
    pub inputs: Vec<(String, i64)>,
}

/// What a job was made of, in three statements.
pub async fn origin(query: &mut impl Query, job_id: i64) -> Result<Option<Origin>, StoreError> {
    let Some(job) = query
        .maybe(
            "SELECT tool_id, COALESCE(tool_stdout, '') AS out, COALESCE(tool_stderr, '') AS err FROM job WHERE id = $1",
            args![job_id],
        )
        .await?
    else {
        return Ok(None);
    };
    let mut origin = Origin {
        tool_id: job.get("tool_id")?,
        stdout: job.get("out")?,
        stderr: job.get("err")?,
        parameters: Vec::new(),
        inputs: Vec::new(),
    };
    for row in query
        .all(
            "SELECT name, value FROM job_parameter WHERE job_id = $1 ORDER BY name",
            args![job_id],
        )
        .await?
    {
        origin.parameters.push((row.get(0)?, row.json(1)?));
    }
    for row in query
        .all(
            "SELECT name, hda_id FROM job_to_input_dataset WHERE job_id = $1 ORDER BY position, id",
            args![job_id],
        )
        .await?
    {
        origin.inputs.push((row.get(0)?, row.get(1)?));
    }
    Ok(Some(origin))
}
