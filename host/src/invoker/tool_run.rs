//! From a tool and what feeds its inputs to jobs and their outputs (Galaxy's ToolModule.execute and tools.execute):
//! one job, or one per slice of the collections it is mapped over.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::known::{Collection, Element, ElementObject, Hda, Hdca, Known, Populated, StepValue};
use super::mapping::{self, Fit, MappedInput, Mapping, Slice};
use super::post_job_actions;
use super::resolve;
use super::stop::Stop;
use super::when;
use super::writes::{JobInput, NewCollection, NewElement, NewHda, NewHdca, NewIds, NewJob, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::{DatasetState, JobState};
use crate::model::workflow::PostJobAction;
use crate::tools::inputs_json::{DataRef, DataSource, DataView, DataViews, DatasetView};
use crate::tools::model::{Output, OutputKind, Tool};
use crate::tools::outputs::{output_collection_type, output_extension, output_label};
use crate::tools::parameters::{self, Terminal, TerminalKind};

/// Parameter under which the invocation's uuid is stamped on each of its jobs.
pub const INVOCATION_UUID: &str = "__workflow_invocation_uuid__";

/// What is to be run, on what.
pub struct ToolRun<'a> {
    pub tool: &'a Tool,
    pub dynamic_tool_id: Option<i64>,
    /// The parameters, with markers where something is connected.
    pub state: &'a Value,
    /// Values by input name; several for a multiple input. Names that are no inputs of the tool take part in `when`.
    pub connected: Vec<(String, Vec<StepValue>)>,
    pub when: Option<&'a str>,
    /// Actions of the step with their database ids.
    pub post_job_actions: &'a [(i64, PostJobAction)],
    pub replacements: &'a HashMap<String, String>,
    /// For messages; 0 outside a workflow.
    pub workflow_step_id: i64,
    pub invocation_id: Option<i64>,
    pub invocation_uuid: Option<Uuid>,
    /// An enclosing subworkflow's condition was false: every job is skipped.
    pub force_skip: bool,
    /// At most this many new jobs.
    pub budget: Option<usize>,
    pub resume: Option<Resume>,
}

/// What an earlier iteration already made of a mapped step.
#[derive(Debug, Clone)]
pub struct Resume {
    pub implicit_collection_jobs_id: i64,
    /// Slices that have their job.
    pub done: usize,
    /// Output name → hdca id.
    pub outputs: HashMap<String, i64>,
}

/// What became of it.
#[derive(Debug)]
pub struct Ran {
    pub outputs: HashMap<String, StepValue>,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    /// The budget ended before the slices did.
    pub partial: bool,
    pub jobs: usize,
}

/// Plans the jobs. Nothing is added to `writes` unless it succeeds.
pub fn run(
    run: &ToolRun<'_>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Result<Ran, Stop> {
    let step = run.workflow_step_id;
    let bound = bind(run, known)?;
    let mut mapped = Vec::new();
    for (name, hdca_id, sub_rank) in &bound.mapped {
        let collection = &known.hdcas[hdca_id].collection;
        mapped.push(MappedInput {
            name: name.clone(),
            collection,
            sub_rank: *sub_rank,
        });
    }
    let mapping = mapping::match_inputs(mapped).map_err(|text| Stop::unexpected(step, text))?;
    // All slices are checked before the first write, so that a fault creates nothing.
    let drafts = match &mapping {
        None => vec![draft(run, &bound, None, known)?],
        Some(mapping) => {
            let done = run.resume.as_ref().map_or(0, |r| r.done);
            let left = mapping.slices.len().saturating_sub(done);
            let count = run.budget.map_or(left, |budget| budget.min(left));
            let mut drafts = Vec::with_capacity(count);
            for n in done..done + count {
                drafts.push(draft(run, &bound, Some((mapping, n)), known)?);
            }
            drafts
        }
    };
    match mapping {
        None => {
            let draft = drafts
                .into_iter()
                .next()
                .expect("one job without a mapping");
            Ok(single(run, draft, known, ids, writes))
        }
        Some(mapping) => {
            let frame = Frame {
                collection_type: mapping.structure.collection_type.clone(),
                paths: mapping.paths.clone(),
                on: bound
                    .mapped
                    .iter()
                    .map(|(_, id, _)| known.hdcas[id].hid)
                    .collect(),
            };
            drop(mapping);
            Ok(implicit(run, drafts, &frame, known, ids, writes))
        }
    }
}

/// Inputs with their values in place, and those that are mapped over set apart.
struct Bound {
    params: Value,
    /// Input, hdca, rank that one job takes.
    mapped: Vec<(String, i64, usize)>,
    /// Values that only the condition sees.
    extra: Vec<(String, StepValue)>,
    terminals: Vec<Terminal>,
}

fn bind(run: &ToolRun<'_>, known: &Known) -> Result<Bound, Stop> {
    let step = run.workflow_step_id;
    let (mut params, _) = parameters::normalise_leniently(run.tool, run.state);
    let mut bound: Vec<bool> = vec![false; run.connected.len()];
    let mut mapped = Vec::new();
    // A connected parameter can open a branch with more inputs: go on until nothing new appears.
    let terminals = loop {
        let terminals = parameters::terminals(run.tool, &params);
        let mut progressed = false;
        for (n, (name, values)) in run.connected.iter().enumerate() {
            let Some(terminal) = terminals
                .iter()
                .find(|t| t.name == *name)
                .filter(|_| !bound[n])
            else {
                continue;
            };
            bound[n] = true;
            progressed = true;
            match bind_one(terminal, values, known, step)? {
                Binding::Value(value) => {
                    parameters::set_path(&mut params, name, value);
                }
                Binding::Mapped(hdca, sub_rank) => mapped.push((name.clone(), hdca, sub_rank)),
            }
        }
        if !progressed {
            break terminals;
        }
    };
    let mut extra = Vec::new();
    for (n, (name, values)) in run.connected.iter().enumerate() {
        if bound[n] {
            continue;
        }
        let value = values.first().cloned().unwrap_or(StepValue::NoReplacement);
        if let (Some(_), StepValue::Hdca(id)) = (run.when, &value) {
            // A collection that only the condition looks at takes part in the mapping.
            mapped.push((name.clone(), *id, 0));
        }
        extra.push((name.clone(), value));
    }
    Ok(Bound {
        params,
        mapped,
        extra,
        terminals,
    })
}

enum Binding {
    Value(Value),
    Mapped(i64, usize),
}

fn bind_one(
    terminal: &Terminal,
    values: &[StepValue],
    known: &Known,
    step: i64,
) -> Result<Binding, Stop> {
    let wrong = |what: String| {
        Err(Stop::invalid_parameter(
            step,
            format!("{}: {what}", terminal.name),
        ))
    };
    let collection_type = |id: &i64| {
        known
            .hdcas
            .get(id)
            .map_or("", |h| h.collection.collection_type.as_str())
    };
    match (&terminal.kind, values) {
        (_, [] | [StepValue::NoReplacement]) => Ok(Binding::Value(Value::Null)),
        (TerminalKind::Parameter { .. }, [one]) => match one {
            StepValue::Json(value) => Ok(Binding::Value(value.clone())),
            StepValue::Hda(id) => Ok(Binding::Value(resolve::content(known, *id, step)?)),
            StepValue::Hdca(id) => Ok(Binding::Mapped(*id, 0)),
            StepValue::NoReplacement => Ok(Binding::Value(Value::Null)),
        },
        (TerminalKind::Parameter { .. }, _) => wrong("a parameter takes one value".into()),
        (
            TerminalKind::Dataset {
                multiple: false, ..
            },
            [one],
        ) => match one {
            StepValue::Hda(id) => Ok(Binding::Value(DataRef::new(DataSource::Hda, *id).to_json())),
            StepValue::Hdca(id) => Ok(Binding::Mapped(*id, 0)),
            _ => wrong("a dataset is needed here, not a value".into()),
        },
        (
            TerminalKind::Dataset {
                multiple: false, ..
            },
            _,
        ) => wrong("only one dataset can be connected".into()),
        (TerminalKind::Dataset { multiple: true, .. }, [StepValue::Hdca(id)]) => {
            match mapping::rank(collection_type(id)) {
                0 | 1 => Ok(Binding::Value(
                    json!({"values": [{"src": "hdca", "id": id}]}),
                )),
                _ => Ok(Binding::Mapped(*id, 1)),
            }
        }
        (TerminalKind::Dataset { multiple: true, .. }, many) => {
            let mut refs = Vec::with_capacity(many.len());
            for value in many {
                match value {
                    StepValue::Hda(id) => refs.push(json!({"src": "hda", "id": id})),
                    StepValue::Hdca(id) => refs.push(json!({"src": "hdca", "id": id})),
                    StepValue::NoReplacement => {}
                    StepValue::Json(_) => {
                        return wrong("datasets are needed here, not values".into());
                    }
                }
            }
            Ok(Binding::Value(json!({ "values": refs })))
        }
        (
            TerminalKind::Collection {
                collection_types, ..
            },
            [StepValue::Hdca(id)],
        ) => match mapping::fit(collection_types, collection_type(id)) {
            Fit::Whole => Ok(Binding::Value(
                DataRef::new(DataSource::Hdca, *id).to_json(),
            )),
            Fit::Mapped(sub_rank) => Ok(Binding::Mapped(*id, sub_rank)),
            Fit::No => wrong(format!(
                "a collection of type {} does not fit an input of type {}",
                collection_type(id),
                collection_types.join(" or ")
            )),
        },
        (TerminalKind::Collection { .. }, _) => wrong("one collection is needed here".into()),
    }
}

/// A job that was checked and only lacks its ids.
struct Draft {
    params: Value,
    inputs: Vec<JobInput>,
    input_collections: Vec<(String, Option<i64>, Option<i64>)>,
    views: DataViews,
    /// How many datasets each input has so far.
    counts: HashMap<String, usize>,
    skipped: bool,
    dbkey: String,
}

fn draft(
    run: &ToolRun<'_>,
    bound: &Bound,
    slice: Option<(&Mapping<'_>, usize)>,
    known: &Known,
) -> Result<Draft, Stop> {
    let step = run.workflow_step_id;
    let mut params = bound.params.clone();
    let mut identifiers: HashMap<&str, &str> = HashMap::new();
    let mut parts: Vec<(&str, &Slice<'_>)> = Vec::new();
    if let Some((mapping, n)) = slice {
        parts = mapping
            .names
            .iter()
            .map(String::as_str)
            .zip(&mapping.slices[n])
            .collect();
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
    let mut params = parameters::normalise_state(run.tool, &params)
        .map_err(|errors| invalid(step, &errors, known))?;
    let skipped = match run.when {
        _ if run.force_skip => true,
        Some(expression) => {
            let inputs = condition_inputs(&params, bound, &parts, known, step)?;
            !when::decide(expression, &inputs, step)?
        }
        None => false,
    };
    if let (Some(uuid), Some(object)) = (run.invocation_uuid, params.as_object_mut()) {
        object.insert(INVOCATION_UUID.into(), uuid.simple().to_string().into());
    }
    let mut draft = Draft {
        params: Value::Null,
        inputs: Vec::new(),
        input_collections: Vec::new(),
        views: DataViews::new(),
        counts: HashMap::new(),
        skipped,
        dbkey: "?".into(),
    };
    let slices: HashMap<i64, &Collection> = parts
        .iter()
        .filter_map(|(_, part)| match part {
            Slice::Element {
                dce_id, collection, ..
            } => Some((*dce_id, *collection)),
            Slice::Hda { .. } => None,
        })
        .collect();
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
    draft.params = params;
    Ok(draft)
}

fn add_input(
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
            draft
                .input_collections
                .push((name.to_owned(), Some(reference.id), None));
            Ok(())
        }
        DataSource::Dce => {
            if let Some(collection) = slices.get(&reference.id) {
                each_leaf(collection, &mut |id, identifier| add(id, Some(identifier)))?;
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

fn each_leaf(
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

/// The message for a state that the tool refuses: a deleted input is told apart from a wrong value.
fn invalid(step: i64, errors: &[parameters::ParameterError], known: &Known) -> Stop {
    let deleted = known
        .hdas
        .values()
        .find(|h| h.deleted && errors.iter().any(|e| e.message.contains("deleted")));
    let details: Vec<String> = errors
        .iter()
        .map(|e| format!("{}: {}", e.name, e.message))
        .collect();
    Stop::fail(InvocationMessage {
        reason: match deleted {
            Some(_) => reason::STEP_INPUT_DELETED,
            None => reason::WORKFLOW_PARAMETER_INVALID,
        },
        workflow_step_id: Some(step),
        hda_id: deleted.map(|h| h.id),
        details: Some(details.join("; ")),
        ..Default::default()
    })
}

fn condition_inputs(
    params: &Value,
    bound: &Bound,
    parts: &[(&str, &Slice<'_>)],
    known: &Known,
    step: i64,
) -> Result<Value, Stop> {
    let mut inputs = Map::new();
    for (name, value) in params.as_object().into_iter().flatten() {
        let seen = match DataRef::from_json(value) {
            Some(reference) if reference.src == DataSource::Hda => {
                when::input_value(&StepValue::Hda(reference.id), known, step)?
            }
            Some(reference) if reference.src == DataSource::Hdca => {
                when::input_value(&StepValue::Hdca(reference.id), known, step)?
            }
            _ => value.clone(),
        };
        inputs.insert(name.clone(), seen);
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

/// One job by itself.
fn single(
    run: &ToolRun<'_>,
    draft: Draft,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Ran {
    let job_id = ids.job();
    let made = make_job(run, job_id, draft, None, known, ids, writes);
    let mut outputs = HashMap::new();
    for (name, made) in made {
        let value = match made {
            Made::Hda(id) => StepValue::Hda(id),
            Made::Collection { hdca_id, .. } => {
                StepValue::Hdca(hdca_id.expect("unmapped collections are in the history"))
            }
        };
        outputs.insert(name, value);
    }
    Ran {
        outputs,
        job_id: Some(job_id),
        implicit_collection_jobs_id: None,
        partial: false,
        jobs: 1,
    }
}

/// The shape of a mapped step's outputs.
struct Frame {
    collection_type: String,
    paths: Vec<Vec<(usize, String)>>,
    on: Vec<super::known::Hid>,
}

/// One job per slice, their outputs gathered in one collection per output.
fn implicit(
    run: &ToolRun<'_>,
    drafts: Vec<Draft>,
    frame: &Frame,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Ran {
    let done = run.resume.as_ref().map_or(0, |r| r.done);
    let complete = done + drafts.len() == frame.paths.len();
    let (group, is_new) = match &run.resume {
        Some(resume) => (resume.implicit_collection_jobs_id, false),
        None => (ids.implicit_collection_jobs(), true),
    };
    writes
        .implicit_collection_jobs
        .push((group, is_new, complete));
    let mut trees: Vec<(String, i64, Tree)> = Vec::new();
    for output in &run.tool.outputs {
        let resumed = run
            .resume
            .as_ref()
            .and_then(|r| r.outputs.get(&output.name))
            .copied();
        let tree = match resumed.and_then(|id| known.hdcas.get(&id)) {
            Some(hdca) => Tree::of(hdca.collection.clone()),
            None => Tree::new(ids, frame, output, run, drafts.first(), writes),
        };
        let hdca_id = resumed.unwrap_or_else(|| {
            new_implicit_hdca(
                run,
                output,
                &tree,
                frame,
                group,
                drafts.first(),
                known,
                ids,
                writes,
            )
        });
        trees.push((output.name.clone(), hdca_id, tree));
    }
    let jobs = drafts.len();
    for (n, draft) in drafts.into_iter().enumerate() {
        let slice = done + n;
        let job_id = ids.job();
        let made = make_job(run, job_id, draft, Some(()), known, ids, writes);
        writes.implicit_jobs.push((group, job_id, slice as i64));
        for ((_, _, tree), (_, made)) in trees.iter_mut().zip(made) {
            tree.place(&frame.paths[slice], made, ids, writes);
        }
    }
    let mut outputs = HashMap::new();
    for (name, hdca_id, tree) in trees {
        let collection = tree.finish(complete, writes);
        if let Some(hdca) = known.hdcas.get_mut(&hdca_id) {
            hdca.collection = collection;
            hdca.unfinished_job = first_unknown(&hdca.collection, writes);
        }
        outputs.insert(name, StepValue::Hdca(hdca_id));
    }
    Ran {
        outputs,
        job_id: None,
        implicit_collection_jobs_id: Some(group),
        partial: !complete,
        jobs,
    }
}

/// The last job whose output collection is still unknown: when it ends, the others have most likely ended too.
fn first_unknown(collection: &Collection, writes: &Writes) -> Option<i64> {
    if collection.populated() != Populated::New {
        return None;
    }
    writes
        .jobs
        .iter()
        .rev()
        .find(|job| !job.output_collections.is_empty())
        .map(|job| job.id)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call site; the arguments are the pass's own state"
)]
fn new_implicit_hdca(
    run: &ToolRun<'_>,
    output: &Output,
    tree: &Tree,
    frame: &Frame,
    group: i64,
    draft: Option<&Draft>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> i64 {
    let id = ids.hdca();
    let hid = writes.next_hid();
    let on = writes.names.on_collection(frame.on.clone());
    let empty = (Value::Null, DataViews::new());
    let (params, views) = draft.map_or((&empty.0, &empty.1), |d| (&d.params, &d.views));
    let label = output_label(run.tool, output, &on, params, views);
    let changed = changed(run, output, label, vec![], draft, known);
    writes.hdcas.push(NewHdca {
        id,
        collection_id: tree.root.id,
        hid,
        name: changed.name.clone(),
        visible: !changed.hidden && !output.hidden,
        tags: changed.tags,
        implicit_output_name: Some(output.name.clone()),
        job_id: None,
        implicit_collection_jobs_id: Some(group),
    });
    known.hdcas.insert(
        id,
        Hdca {
            id,
            hid,
            name: changed.name,
            deleted: false,
            collection: tree.root.clone(),
            unfinished_job: None,
        },
    );
    id
}

fn changed(
    run: &ToolRun<'_>,
    output: &Output,
    name: String,
    tags: Vec<String>,
    draft: Option<&Draft>,
    known: &Known,
) -> post_job_actions::Changed {
    let input_name = |wanted: &str| {
        let draft = draft?;
        let input = draft.inputs.iter().find(|i| i.name == wanted)?;
        known.hdas.get(&input.hda_id).map(|h| h.name.clone())
    };
    let actions = run.post_job_actions.iter().map(|(_, action)| action);
    post_job_actions::apply(
        actions,
        &output.name,
        name,
        tags,
        &input_name,
        run.replacements,
    )
}

/// What a job's output turned out to be.
enum Made {
    Hda(i64),
    Collection {
        hdca_id: Option<i64>,
        collection: Collection,
    },
}

/// Creates one job with its outputs; `mapped` outputs are hidden behind their implicit collection.
fn make_job(
    run: &ToolRun<'_>,
    job_id: i64,
    draft: Draft,
    mapped: Option<()>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Vec<(String, Made)> {
    let on = {
        let mut hids = Vec::new();
        for input in &draft.inputs {
            let hid = known.hdas.get(&input.hda_id).map(|h| h.hid);
            hids.extend(hid.filter(|h| !hids.contains(h)));
        }
        writes.names.on_data(hids)
    };
    let mut job = NewJob {
        id: job_id,
        uuid: Uuid::new_v4(),
        invocation_id: run.invocation_id,
        tool_id: run.tool.id.clone(),
        tool_version: run.tool.version.clone(),
        dynamic_tool_id: run.dynamic_tool_id,
        state: if draft.skipped {
            JobState::Skipped
        } else {
            JobState::New
        },
        params: Value::Null,
        inputs: Vec::new(),
        input_collections: Vec::new(),
        outputs: Vec::new(),
        output_collections: Vec::new(),
        post_job_action_ids: run
            .post_job_actions
            .iter()
            .filter(|(_, action)| !post_job_actions::is_immediate(&action.action_type))
            .map(|(id, _)| *id)
            .collect(),
        cores: run.tool.requirements.cores_min.into(),
        memory_mb: run.tool.requirements.ram_min_mb as i64,
    };
    let mut made = Vec::with_capacity(run.tool.outputs.len());
    for output in &run.tool.outputs {
        let label = output_label(run.tool, output, &on, &draft.params, &draft.views);
        let changed = changed(run, output, label, vec![], Some(&draft), known);
        match &output.kind {
            OutputKind::Data(_) | OutputKind::Scalar(_) => {
                let id = ids.hda();
                let extension = match draft.skipped {
                    true => "expression.json".to_owned(),
                    false => changed.extension.unwrap_or_else(|| {
                        output_extension(run.tool, output, &draft.params, &draft.views)
                    }),
                };
                let hda = NewHda {
                    id,
                    dataset_id: ids.dataset(),
                    hid: writes.next_hid(),
                    name: changed.name,
                    extension,
                    state: if draft.skipped {
                        DatasetState::Ok
                    } else {
                        DatasetState::New
                    },
                    visible: mapped.is_none() && !output.hidden && !draft.skipped,
                    tags: changed.tags,
                    dbkey: draft.dbkey.clone(),
                    blurb: draft.skipped.then(|| "skipped".to_owned()),
                    info: None,
                    content: draft.skipped.then(|| "null".to_owned()),
                };
                known.hdas.insert(
                    id,
                    Hda {
                        id,
                        dataset_id: hda.dataset_id,
                        hid: hda.hid,
                        name: hda.name.clone(),
                        extension: hda.extension.clone(),
                        state: hda.state,
                        deleted: false,
                        purged: false,
                        dbkey: Some(hda.dbkey.clone()),
                        size: None,
                        skipped: draft.skipped,
                    },
                );
                if draft.skipped {
                    known.contents.insert(id, Ok(Value::Null));
                }
                job.outputs.push((output.name.clone(), id));
                writes.hdas.push(hda);
                made.push((output.name.clone(), Made::Hda(id)));
            }
            OutputKind::Collection(_) => {
                let collection = Collection {
                    id: ids.collection(),
                    collection_type: output_collection_type(
                        run.tool,
                        output,
                        &draft.params,
                        &draft.views,
                    )
                    .unwrap_or_else(|| "list".into()),
                    populated: if draft.skipped {
                        Populated::Ok
                    } else {
                        Populated::New
                    },
                    elements: Vec::new(),
                };
                writes.collections.push(NewCollection {
                    id: collection.id,
                    collection_type: collection.collection_type.clone(),
                    populated: draft.skipped,
                    element_count: draft.skipped.then_some(0),
                });
                let hdca_id = mapped.is_none().then(|| {
                    let id = ids.hdca();
                    let hid = writes.next_hid();
                    writes.hdcas.push(NewHdca {
                        id,
                        collection_id: collection.id,
                        hid,
                        name: changed.name.clone(),
                        visible: !output.hidden && !draft.skipped && !changed.hidden,
                        tags: changed.tags.clone(),
                        implicit_output_name: None,
                        job_id: Some(job_id),
                        implicit_collection_jobs_id: None,
                    });
                    known.hdcas.insert(
                        id,
                        Hdca {
                            id,
                            hid,
                            name: changed.name,
                            deleted: false,
                            collection: collection.clone(),
                            unfinished_job: (!draft.skipped).then_some(job_id),
                        },
                    );
                    id
                });
                job.output_collections
                    .push((output.name.clone(), hdca_id, collection.id));
                made.push((
                    output.name.clone(),
                    Made::Collection {
                        hdca_id,
                        collection,
                    },
                ));
            }
        }
    }
    job.params = draft.params;
    job.inputs = draft.inputs;
    job.input_collections = draft.input_collections;
    writes.jobs.push(job);
    made
}

/// An implicit collection while its slices are filled in.
struct Tree {
    root: Collection,
    /// Collections made by this iteration, by id: where they stand in `Writes::collections`.
    new: HashMap<i64, usize>,
    /// Collections stored by an earlier one that still lack elements.
    old: HashSet<i64>,
}

impl Tree {
    fn new(
        ids: &dyn NewIds,
        frame: &Frame,
        output: &Output,
        run: &ToolRun<'_>,
        draft: Option<&Draft>,
        writes: &mut Writes,
    ) -> Tree {
        let inner = match &output.kind {
            OutputKind::Collection(_) => {
                let known_type = draft
                    .and_then(|d| output_collection_type(run.tool, output, &d.params, &d.views));
                format!(":{}", known_type.as_deref().unwrap_or("list"))
            }
            _ => String::new(),
        };
        let mut tree = Tree {
            root: new_collection(ids, format!("{}{inner}", frame.collection_type)),
            new: HashMap::new(),
            old: HashSet::new(),
        };
        tree.note(tree.root.id, tree.root.collection_type.clone(), writes);
        tree
    }

    fn of(root: Collection) -> Tree {
        fn unfinished(collection: &Collection, found: &mut HashSet<i64>) {
            if collection.populated == Populated::New {
                found.insert(collection.id);
            }
            for element in &collection.elements {
                if let ElementObject::Collection(child) = &element.object {
                    unfinished(child, found);
                }
            }
        }
        let mut old = HashSet::new();
        unfinished(&root, &mut old);
        Tree {
            root,
            new: HashMap::new(),
            old,
        }
    }

    fn note(&mut self, id: i64, collection_type: String, writes: &mut Writes) {
        self.new.insert(id, writes.collections.len());
        writes.collections.push(NewCollection {
            id,
            collection_type,
            populated: false,
            element_count: None,
        });
    }

    /// Puts a slice's output where it belongs.
    fn place(
        &mut self,
        path: &[(usize, String)],
        made: Made,
        ids: &dyn NewIds,
        writes: &mut Writes,
    ) {
        let (last, outer) = path.split_last().expect("a slice has a place");
        let mut created = Vec::new();
        let mut at = &mut self.root;
        for (index, identifier) in outer {
            if at.elements.len() <= *index {
                let inner = at
                    .collection_type
                    .split_once(':')
                    .map_or("list", |(_, t)| t);
                let child = new_collection(ids, inner.to_owned());
                created.push((child.id, child.collection_type.clone()));
                push_element(
                    at,
                    *index,
                    identifier,
                    ElementObject::Collection(child),
                    ids,
                    writes,
                );
            }
            let ElementObject::Collection(child) = &mut at.elements[*index].object else {
                return;
            };
            at = child;
        }
        let object = match made {
            Made::Hda(id) => ElementObject::Hda(id),
            Made::Collection { collection, .. } => ElementObject::Collection(collection),
        };
        push_element(at, last.0, &last.1, object, ids, writes);
        for (id, collection_type) in created {
            self.note(id, collection_type, writes);
        }
    }

    /// Ends the iteration's part; with `complete` every collection of the structure has all its elements.
    fn finish(mut self, complete: bool, writes: &mut Writes) -> Collection {
        if complete {
            let (new, old) = (&self.new, &self.old);
            finish_collection(&mut self.root, new, old, writes);
        }
        self.root
    }
}

/// Marks a collection of the structure, and those in it, as populated. A job's own output collection is neither
/// new nor old here: it is populated when its job ends.
fn finish_collection(
    collection: &mut Collection,
    new: &HashMap<i64, usize>,
    old: &HashSet<i64>,
    writes: &mut Writes,
) {
    let count = collection.elements.len() as i64;
    if let Some(at) = new.get(&collection.id) {
        writes.collections[*at].populated = true;
        writes.collections[*at].element_count = Some(count);
    } else if old.contains(&collection.id) {
        writes.populated.push((collection.id, count));
    } else {
        return;
    }
    collection.populated = Populated::Ok;
    for element in &mut collection.elements {
        if let ElementObject::Collection(child) = &mut element.object {
            finish_collection(child, new, old, writes);
        }
    }
}

fn new_collection(ids: &dyn NewIds, collection_type: String) -> Collection {
    Collection {
        id: ids.collection(),
        collection_type,
        populated: Populated::New,
        elements: Vec::new(),
    }
}

fn push_element(
    parent: &mut Collection,
    index: usize,
    identifier: &str,
    object: ElementObject,
    ids: &dyn NewIds,
    writes: &mut Writes,
) {
    let id = ids.element();
    let (hda_id, child) = match &object {
        ElementObject::Hda(id) => (Some(*id), None),
        ElementObject::Collection(c) => (None, Some(c.id)),
    };
    writes.elements.push(NewElement {
        id,
        collection_id: parent.id,
        index: index as i64,
        identifier: identifier.to_owned(),
        hda_id,
        child_collection_id: child,
    });
    parent.elements.push(Element {
        id,
        identifier: identifier.to_owned(),
        object,
    });
}
