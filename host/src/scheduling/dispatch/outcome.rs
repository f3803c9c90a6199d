//! The ends of jobs that left no results.

use crate::model::state::{DatasetState, JobState};
use crate::store::scheduling::ends::{CollectionEnd, FileFacts, JobEnd, OutputEnd, merge_metadata};
use crate::store::scheduling::jobs::{Dispatch, OutputSlot};

/// A job that failed without having run, or whose results cannot be used: all its outputs are in error.
pub(super) fn failed(job: &Dispatch, message: &str, now: i64) -> JobEnd {
    JobEnd {
        job_id: job.id,
        state: JobState::Error,
        exit_code: None,
        stdout: String::new(),
        stderr: String::new(),
        info: Some(message.to_owned()),
        started_ms: None,
        ended_ms: now,
        external_id: None,
        outputs: job
            .outputs
            .iter()
            .map(|output| broken_output(output, Some(message)))
            .collect(),
        collections: broken_collections(job),
        extra: Vec::new(),
        actions: job.actions.clone(),
    }
}

/// A job that cannot start for now, and its outputs with it.
pub(super) fn paused(job: &Dispatch, info: &'static str, now: i64) -> JobEnd {
    JobEnd {
        state: JobState::Paused,
        outputs: Vec::new(),
        collections: Vec::new(),
        ..failed(job, info, now)
    }
}

/// An output of a job that failed.
pub(super) fn broken_output(output: &OutputSlot, info: Option<&str>) -> OutputEnd {
    OutputEnd {
        hda_id: output.hda_id,
        dataset_id: output.dataset_id,
        state: DatasetState::Error,
        file: FileFacts {
            size: 0,
            extension: output.extension.clone(),
            peek: None,
            blurb: Some("error".into()),
            metadata: merge_metadata(&output.metadata, serde_json::json!({})),
            validity: None,
        },
        visible: output.visible,
        info: info.map(str::to_owned),
        share: None,
    }
}

pub(super) fn broken_collections(job: &Dispatch) -> Vec<CollectionEnd> {
    job.output_collections
        .iter()
        .map(|output| CollectionEnd {
            collection_id: output.collection_id,
            collection_type: output.collection_type.clone(),
            elements: None,
        })
        .collect()
}
