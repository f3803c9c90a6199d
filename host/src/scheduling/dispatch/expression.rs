//! Expression tools: the host evaluates them itself, where other jobs are handed to a runner.

use std::io;

use serde_json::{Map, Value, json};

use super::collect::facts;
use super::outcome::failed;
use super::prepare::{Prepared, Unmade, Unwritten};
use crate::model::state::{DatasetState, JobState};
use crate::scheduling::engine::Services;
use crate::store::files::DataDir;
use crate::store::scheduling::ends::{FileFacts, JobEnd, OutputEnd};
use crate::store::scheduling::jobs::OutputSlot;
use crate::tools::expression::evaluate_expression_tool;
use crate::tools::inputs_json::{DataRef, DataSource, inputs_json};
use crate::tools::model::{Action, OutputKind};

/// What an expression tool comes to, by the names of its outputs.
pub(super) type Values = Map<String, Value>;

/// Evaluates an expression tool. Blocks, as long as the expression takes.
pub(super) fn evaluate(job: &Prepared) -> Result<Values, Unmade> {
    let Action::Expression(script) = &job.tool.action else {
        return Err(Unmade::Fault("The tool is no expression tool.".to_owned()));
    };
    let inputs = inputs_json(&job.tool, &job.dispatch.params, &job.views);
    let library = &job.tool.requirements.expression_lib;
    evaluate_expression_tool(script, &inputs, library).map_err(Unmade::from)
}

/// The end of an expression tool's job, whose datasets are written. Only for whoever has the job: a server that lost it, or
/// one that is late, would bring files back that are gone for good. Blocks.
pub(super) fn end(
    services: &Services,
    job: &Prepared,
    made: &Values,
    now: i64,
) -> Result<JobEnd, Unwritten> {
    let mut outputs = Vec::with_capacity(job.dispatch.outputs.len());
    for slot in &job.dispatch.outputs {
        let kind = job.tool.output(&slot.name).map(|output| &output.kind);
        let key = match kind {
            Some(OutputKind::Data(data)) => data.from.as_deref(),
            Some(OutputKind::Scalar(scalar)) => scalar.from.as_deref(),
            _ => None,
        };
        let value = made.get(key.unwrap_or(&slot.name)).unwrap_or(&Value::Null);
        outputs.push(output(services, job, slot, kind, value)?);
    }
    Ok(JobEnd {
        state: JobState::Ok,
        exit_code: Some(0),
        info: None,
        started_ms: Some(now),
        outputs,
        collections: Vec::new(),
        ..failed(&job.dispatch, "", now)
    })
}

fn output(
    services: &Services,
    job: &Prepared,
    slot: &OutputSlot,
    kind: Option<&OutputKind>,
    value: &Value,
) -> Result<OutputEnd, Unwritten> {
    let actions = &job.dispatch.actions;
    let hidden = actions
        .iter()
        .any(|a| a.action_type == "HideDatasetAction" && a.is_for(&slot.name));
    let mut end = OutputEnd {
        hda_id: slot.hda_id,
        dataset_id: slot.dataset_id,
        state: DatasetState::Ok,
        file: FileFacts::default(),
        visible: slot.visible && !hidden,
        info: None,
        share: None,
    };
    let handed_on = value.get("src").and_then(|src| match src {
        Value::Object(_) => DataRef::from_json(src),
        _ => DataRef::from_json(value),
    });
    if let (Some(OutputKind::Data(_)), Some(reference)) = (kind, handed_on) {
        let given = job
            .dispatch
            .inputs
            .iter()
            .any(|i| i.hda_id == reference.id && reference.src == DataSource::Hda);
        if !given {
            return Err("The expression came to a dataset that it was not given."
                .to_owned()
                .into());
        }
        end.share = Some(reference.id);
        return Ok(end);
    }
    let text = value.to_string();
    write_whole(&services.data, slot.dataset_id, text.as_bytes())
        .map_err(|e| Unwritten::of("A value could not be written", &e))?;
    let file = services.data.dataset(slot.dataset_id);
    end.file = facts(&file, "expression.json", slot, None, actions);
    if *value == json!(null) {
        end.file.blurb = Some("null".to_owned());
    }
    Ok(end)
}

/// Writes a dataset so that whoever reads it meanwhile, or another server that writes it too, finds one whole file. Blocks.
fn write_whole(data: &DataDir, dataset_id: i64, content: &[u8]) -> io::Result<()> {
    let target = data.dataset(dataset_id);
    let beside = data.tmp().join(format!("value-{}", uuid::Uuid::new_v4()));
    let write = || {
        std::fs::write(&beside, content)?;
        match std::fs::rename(&beside, &target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let directory = target.parent().expect("a dataset's file is in a directory");
                std::fs::create_dir_all(directory)?;
                std::fs::rename(&beside, &target)
            }
            done => done,
        }
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_the_place_of_another_one_whole() {
        let root = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(root.path()).expect("a data directory");
        write_whole(&data, 7, b"[1, 2, 3]").expect("written");
        let reader = std::fs::File::open(data.dataset(7)).expect("it is there");
        write_whole(&data, 7, b"1").expect("written");
        let read = |file| io::read_to_string(file).expect("read");
        assert_eq!(read(reader), "[1, 2, 3]");
        assert_eq!(std::fs::read(data.dataset(7)).expect("read"), b"1");
        std::fs::create_dir(data.dataset(8)).expect("something in the way");
        write_whole(&data, 8, b"1").expect_err("it cannot be replaced");
        let left = std::fs::read_dir(data.tmp()).expect("listed").count();
        assert_eq!(left, 0, "nothing half done stays");
    }
}
