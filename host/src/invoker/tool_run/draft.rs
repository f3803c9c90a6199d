//! One job, checked: its parameters, what it reads, whether its condition lets it run. It only lacks its ids.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::bind::Bound;
use super::{ToolRun, hidden};
use crate::invoker::known::{Collection, ElementObject, Known, StepValue};
use crate::invoker::mapping::{Mapping, Path, Slice};
use crate::invoker::operations;
use crate::invoker::resolve;
use crate::invoker::stop::{Stop, Wait};
use crate::invoker::when;
use crate::invoker::writes::JobInput;
use crate::model::message::{InvocationMessage, reason};
use crate::tools::inputs_json::{
    CollectionView, DataRef, DataSource, DataView, DataViews, DatasetView, ElementView,
};
use crate::tools::model::Action;
use crate::tools::parameters::{self, TerminalKind};

/// A job that was checked and only lacks its ids.
pub(super) struct Draft {
    pub(super) params: Value,
    pub(super) inputs: Vec<JobInput>,
    pub(super) input_collections: Vec<(String, Option<i64>, Option<i64>)>,
    pub(super) views: DataViews,
    /// How many datasets each input has so far.
    pub(super) counts: HashMap<String, usize>,
    pub(super) skipped: bool,
    pub(super) dbkey: String,
    /// Of the collections among its inputs.
    pub(super) shapes: Vec<String>,
    /// The `name:` tags of its inputs, which its outputs inherit.
    pub(super) name_tags: Vec<String>,
    /// What an operation on collections makes of its inputs.
    pub(super) operation: Option<operations::Results>,
}

pub(super) fn draft(
    run: &ToolRun<'_>,
    bound: &Bound,
    slice: Option<(&Mapping<'_>, usize, &Path)>,
    known: &Known,
) -> Result<Draft, Stop> {
    let step = run.workflow_step_id;
    let mut params = bound.params.clone();
    let mut identifiers: HashMap<&str, &str> = HashMap::new();
    let mut parts: Vec<(&str, &Slice<'_>)> = Vec::new();
    if let Some((mapping, n, _)) = slice {
        parts = mapping.slice(n).collect();
        for &(name, part) in &parts {
            let Some(terminal) = bound.terminals.iter().find(|t| t.name == name) else {
                continue;
            };
            let value = match (part, &terminal.kind) {
                (Slice::Hda { id, .. }, TerminalKind::Parameter { .. }) => {
                    resolve::content(known, *id, step)?
                }
                (Slice::Hda { id, .. }, _) => DataRef::new(DataSource::Hda, *id).to_json(),
                (Slice::Element { dce_id, .. }, TerminalKind::Dataset { multiple: true, .. }) => {
                    json!({"values": [{"src": "dce", "id": dce_id}]})
                }
                (Slice::Element { dce_id, .. }, _) => {
                    DataRef::new(DataSource::Dce, *dce_id).to_json()
                }
            };
            parameters::set_path(&mut params, name, value);
            match part {
                Slice::Hda { identifier, .. } | Slice::Element { identifier, .. } => {
                    identifiers.insert(name, identifier);
                }
            }
        }
    }
    let mut params =
        parameters::normalise_state(run.tool, &params).map_err(|errors| invalid(step, &errors))?;
    let slices: HashMap<i64, &Collection> = parts
        .iter()
        .filter_map(|(_, part)| match part {
            Slice::Element {
                dce_id, collection, ..
            } => Some((*dce_id, *collection)),
            Slice::Hda { .. } => None,
        })
        .collect();
    let enclosed = match (run.enclosing, slice) {
        _ if run.force_skip => false,
        (Some(enclosing), Some((_, _, path))) => enclosing.runs(path),
        _ => true,
    };
    let verdict = match run.when {
        _ if !enclosed => Some(false),
        Some(expression) => {
            let inputs = condition_inputs(&params, bound, &parts, &slices, known, step)?;
            Some(when::decide(expression, &inputs, step)?)
        }
        None => None,
    };
    let skipped = verdict == Some(false);
    if let Some(object) = params.as_object_mut() {
        stamp(object, run, verdict);
    }
    let mut draft = Draft {
        params: Value::Null,
        inputs: Vec::new(),
        input_collections: Vec::new(),
        views: DataViews::new(),
        counts: HashMap::new(),
        skipped,
        dbkey: "?".into(),
        shapes: Vec::new(),
        name_tags: Vec::new(),
        operation: None,
    };
    for terminal in &bound.terminals {
        if matches!(terminal.kind, TerminalKind::Parameter { .. }) {
            continue;
        }
        let Some(value) = parameters::get_path(&params, &terminal.name) else {
            continue;
        };
        let identifier = identifiers.get(terminal.name.as_str()).copied();
        for reference in crate::tools::inputs_json::data_refs(value) {
            add_input(
                &mut draft,
                &terminal.name,
                reference,
                identifier,
                &slices,
                known,
                step,
            )?;
        }
    }
    if let (Action::Collection(operation), false) = (&run.tool.action, draft.skipped) {
        let given = operations::Given {
            params: &params,
            known,
            slices: &slices,
            identifiers: &identifiers,
            files: run.files,
        };
        let planned = operations::plan(*operation, &given);
        draft.operation = Some(planned.map_err(|refusal| refused(run, refusal))?);
    }
    draft.params = params;
    Ok(draft)
}

/// Adds what the server alone says about a job of an invocation.
fn stamp(params: &mut Map<String, Value>, run: &ToolRun<'_>, verdict: Option<bool>) {
    let Some(uuid) = run.invocation_uuid else {
        return;
    };
    params.insert(
        hidden::INVOCATION_UUID.into(),
        uuid.simple().to_string().into(),
    );
    if !run.resource_params.is_empty() {
        params.insert(hidden::RESOURCE_PARAMS.into(), json!(run.resource_params));
    }
    if let Some(verdict) = verdict {
        params.insert(hidden::WHEN_VALUE.into(), verdict.into());
    }
    if run.use_cached {
        params.insert(hidden::USE_CACHED_JOB.into(), true.into());
    }
    let mut actions = run.post_job_actions.iter();
    if actions.any(|(_, action)| action.action_type == "ValidateOutputsAction") {
        params.insert(hidden::VALIDATE_OUTPUTS.into(), true.into());
    }
}

/// Why an operation on collections makes nothing, as the step's control signal.
fn refused(run: &ToolRun<'_>, refusal: operations::Refusal) -> Stop {
    match refusal {
        // One is enough: when it is there, the next one that is not is waited for.
        operations::Refusal::NotReady(datasets) => Stop::Delayed {
            why: "the inputs of this tool have to be there before it runs".to_owned(),
            waits: match datasets.last() {
                Some(last) => vec![Wait::Dataset(*last)],
                None => vec![Wait::Step],
            },
        },
        operations::Refusal::NotOk(hda_id) => Stop::fail(InvocationMessage {
            reason: reason::DATASET_FAILED,
            workflow_step_id: Some(run.workflow_step_id),
            hda_id: Some(hda_id),
            ..Default::default()
        }),
        operations::Refusal::Because(text) => {
            Stop::unexpected(run.workflow_step_id, format!("{}: {text}.", run.tool.name))
        }
    }
}

pub(super) fn add_input(
    draft: &mut Draft,
    name: &str,
    reference: DataRef,
    identifier: Option<&str>,
    slices: &HashMap<i64, &Collection>,
    known: &Known,
    step: i64,
) -> Result<(), Stop> {
    let mut add = |hda_id: i64, identifier: Option<&str>| -> Result<(), Stop> {
        let hda = known.hdas.get(&hda_id).ok_or_else(|| {
            Stop::unexpected(
                step,
                format!("The dataset for input {name} does not exist any more."),
            )
        })?;
        if let Some(dbkey) = hda.dbkey.as_deref().filter(|k| *k != "?") {
            draft.dbkey = dbkey.to_owned();
        }
        for tag in hda.tags.iter().filter(|tag| tag.starts_with("name:")) {
            if !draft.name_tags.contains(tag) {
                draft.name_tags.push(tag.clone());
            }
        }
        let count = draft.counts.entry(name.to_owned()).or_default();
        *count += 1;
        draft.inputs.push(JobInput {
            // The first keeps the input's name, further ones are numbered, as in Galaxy.
            name: match *count {
                1 => name.to_owned(),
                n => format!("{name}{n}"),
            },
            hda_id,
            dataset_id: hda.dataset_id,
            element_identifier: identifier.map(str::to_owned),
        });
        draft.views.insert(
            DataRef::new(DataSource::Hda, hda_id),
            DataView::Dataset(DatasetView {
                ext: hda.extension.clone(),
                name: hda.name.clone(),
                element_identifier: identifier.map(str::to_owned),
                ..Default::default()
            }),
        );
        Ok(())
    };
    match reference.src {
        DataSource::Hda => add(reference.id, identifier),
        DataSource::Hdca => {
            let hdca = known.hdcas.get(&reference.id).ok_or_else(|| {
                Stop::unexpected(
                    step,
                    format!("The collection for input {name} does not exist any more."),
                )
            })?;
            each_leaf(&hdca.collection, &mut |id, identifier| {
                add(id, Some(identifier))
            })?;
            draft.shapes.push(hdca.collection.shape());
            let view = collection_view(&hdca.collection, &hdca.name, known);
            draft.views.insert(reference, view);
            draft
                .input_collections
                .push((name.to_owned(), Some(reference.id), None));
            Ok(())
        }
        DataSource::Dce => {
            let own = match known.elements.get(&reference.id) {
                Some(ElementObject::Hda(id)) => {
                    add(*id, identifier)?;
                    None
                }
                Some(ElementObject::Collection(collection)) => Some(collection),
                None => None,
            };
            if let Some(collection) = slices.get(&reference.id).copied().or(own) {
                each_leaf(collection, &mut |id, identifier| add(id, Some(identifier)))?;
                draft.shapes.push(collection.shape());
                let view = collection_view(collection, identifier.unwrap_or_default(), known);
                draft.views.insert(reference, view);
            }
            draft
                .input_collections
                .push((name.to_owned(), None, Some(reference.id)));
            Ok(())
        }
        DataSource::Ldda => Err(Stop::unexpected(
            step,
            format!("Input {name} names a library dataset; this server has no libraries."),
        )),
    }
}

/// A collection as labels, formats and types need it: with one dataset for all.
fn collection_view(collection: &Collection, name: &str, known: &Known) -> DataView {
    let first = collection.first_leaf().and_then(|id| known.hdas.get(&id));
    let elements = first.map(|hda| ElementView {
        identifier: String::new(),
        object: DataView::Dataset(DatasetView {
            ext: hda.extension.clone(),
            name: hda.name.clone(),
            ..Default::default()
        }),
    });
    DataView::Collection(CollectionView {
        name: name.to_owned(),
        collection_type: collection.collection_type.clone(),
        elements: elements.into_iter().collect(),
        ..Default::default()
    })
}

pub(super) fn each_leaf(
    collection: &Collection,
    visit: &mut dyn FnMut(i64, &str) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for element in &collection.elements {
        match &element.object {
            ElementObject::Hda(id) => visit(*id, &element.identifier)?,
            ElementObject::Collection(child) => each_leaf(child, visit)?,
        }
    }
    Ok(())
}

/// The message for a state that the tool refuses.
fn invalid(step: i64, errors: &[parameters::ParameterError]) -> Stop {
    let details: Vec<String> = errors
        .iter()
        .map(|e| format!("{}: {}", e.name, e.message))
        .collect();
    Stop::invalid_parameter(step, details.join("; "))
}

/// Refuses parameters that name data which somebody deleted. What comes through a connection is the job's business: it is
/// paused.
pub(super) fn check_deleted(run: &ToolRun<'_>, known: &Known) -> Result<(), Stop> {
    for (name, value) in parameters::flatten(run.state) {
        for reference in crate::tools::inputs_json::data_refs(&value) {
            let (hda_id, hdca_id) = match reference.src {
                DataSource::Hda => (Some(reference.id), None),
                DataSource::Hdca => (None, Some(reference.id)),
                DataSource::Dce | DataSource::Ldda => continue,
            };
            let hda = hda_id.and_then(|id| known.hdas.get(&id));
            let hdca = hdca_id.and_then(|id| known.hdcas.get(&id));
            let deleted =
                hda.is_some_and(|h| h.deleted || h.purged) || hdca.is_some_and(|h| h.deleted);
            if deleted {
                return Err(Stop::fail(InvocationMessage {
                    reason: reason::STEP_INPUT_DELETED,
                    workflow_step_id: Some(run.workflow_step_id),
                    hda_id,
                    hdca_id,
                    details: Some(format!(
                        "{name}: what was chosen for this input has been deleted"
                    )),
                    ..Default::default()
                }));
            }
        }
    }
    Ok(())
}

pub(super) fn condition_inputs(
    params: &Value,
    bound: &Bound,
    parts: &[(&str, &Slice<'_>)],
    slices: &HashMap<i64, &Collection>,
    known: &Known,
    step: i64,
) -> Result<Value, Stop> {
    let mut inputs = Map::new();
    for (name, value) in params.as_object().into_iter().flatten() {
        inputs.insert(name.clone(), seen(value, slices, known, step)?);
    }
    for (name, value) in &bound.extra {
        let seen = match parts.iter().find(|(n, _)| n == name) {
            Some((_, part)) => when::slice_value(part, known, step)?,
            None => when::input_value(value, known, step)?,
        };
        inputs.insert(name.clone(), seen);
    }
    Ok(Value::Object(inputs))
}

/// A parameter as the condition sees it, groups of parameters included.
fn seen(
    value: &Value,
    slices: &HashMap<i64, &Collection>,
    known: &Known,
    step: i64,
) -> Result<Value, Stop> {
    if let Some(reference) = DataRef::from_json(value) {
        return match reference.src {
            DataSource::Hda => when::input_value(&StepValue::Hda(reference.id), known, step),
            DataSource::Hdca => when::input_value(&StepValue::Hdca(reference.id), known, step),
            DataSource::Dce => match (slices.get(&reference.id), known.elements.get(&reference.id))
            {
                (Some(collection), _) => when::collection_value(collection, known, step),
                (None, Some(ElementObject::Collection(collection))) => {
                    when::collection_value(collection, known, step)
                }
                (None, Some(ElementObject::Hda(id))) => {
                    when::input_value(&StepValue::Hda(*id), known, step)
                }
                (None, None) => Ok(Value::Null),
            },
            DataSource::Ldda => Ok(Value::Null),
        };
    }
    if parameters::is_runtime(value) || parameters::is_connected(value) {
        return Ok(Value::Null);
    }
    match value {
        Value::Object(object) => match object.get("values") {
            Some(Value::Array(several)) if object.len() == 1 => {
                let mut found = Vec::with_capacity(several.len());
                for one in several {
                    // A collection in the place of several datasets stands for its elements.
                    match seen(one, slices, known, step)? {
                        Value::Array(elements) => found.extend(elements),
                        other => found.push(other),
                    }
                }
                Ok(Value::Array(found))
            }
            _ => {
                let inner = object.iter().map(|(name, inner)| {
                    seen(inner, slices, known, step).map(|inner| (name.clone(), inner))
                });
                inner.collect::<Result<_, _>>().map(Value::Object)
            }
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| seen(item, slices, known, step));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        plain => Ok(plain.clone()),
    }
}
