//! Expression tools: the host evaluates them itself, where other jobs are handed to a runner.

use serde_json::{Value, json};

use super::collect::facts;
use super::outcome::failed;
use super::prepare::{Prepared, Unwritten};
use crate::model::state::{DatasetState, JobState};
use crate::scheduling::engine::Services;
use crate::store::scheduling::ends::{FileFacts, JobEnd, OutputEnd};
use crate::store::scheduling::jobs::OutputSlot;
use crate::tools::expression::evaluate_expression_tool;
use crate::tools::inputs_json::{DataRef, DataSource, inputs_json};
use crate::tools::model::{Action, OutputKind};

/// The end of an expression tool's job. Blocks, as long as the expression takes.
pub(super) fn evaluate(services: &Services, job: &Prepared, now: i64) -> Result<JobEnd, Unwritten> {
    let Action::Expression(script) = &job.tool.action else {
        return Err("The tool is no expression tool.".to_owned().into());
    };
    let inputs = inputs_json(&job.tool, &job.dispatch.params, &job.views);
    let library = &job.tool.requirements.expression_lib;
    let made = evaluate_expression_tool(script, &inputs, library)
        .map_err(|error| Unwritten::Fault(error.to_string()))?;
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
    services
        .data
        .write_dataset(slot.dataset_id, text.as_bytes())
        .map_err(|e| Unwritten::of("A value could not be written", &e))?;
    let file = services.data.dataset(slot.dataset_id);
    end.file = facts(&file, "expression.json", slot, None, actions);
    if *value == json!(null) {
        end.file.blurb = Some("null".to_owned());
    }
    Ok(end)
}
