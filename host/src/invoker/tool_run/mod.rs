//! From a tool and what feeds its inputs to jobs and their outputs (Galaxy's ToolModule.execute and tools.execute):
//! one job, or one per slice of the collections it is mapped over.
//!
//! [`bind`] puts the connected values in place, [`draft`] checks one job, [`make`] creates it with its outputs,
//! [`implicit`] gathers the outputs of a mapped step in the collections that [`tree`] fills; [`share`] makes the outputs of
//! operations, which are other names for data that there are.

mod bind;
mod draft;
mod implicit;
mod make;
mod share;
mod tree;

pub(super) use share::{New, new_hda};
pub(super) use tree::push_element;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde_json::Value;
use uuid::Uuid;

use self::bind::bind;
use self::draft::{Draft, check_deleted, draft};
use self::implicit::{Frame, implicit};
use self::make::{Made, make_job};
use super::known::{Known, StepValue};
use super::mapping::{self, Enclosing, MappedInput, Path};
use super::operations::Files;
use super::stop::Stop;
use super::writes::{NewIds, Writes};
use crate::model::workflow::PostJobAction;
use crate::tools::model::Tool;

/// Parameters that each job of an invocation has besides those of its tool. Nobody but the server sets them.
pub mod hidden {
    pub const INVOCATION_UUID: &str = "__workflow_invocation_uuid__";
    pub const RESOURCE_PARAMS: &str = "__workflow_resource_params__";
    /// Whether the step's condition let the job run, where there was one.
    pub const WHEN_VALUE: &str = "__when_value__";
    pub const USE_CACHED_JOB: &str = "__use_cached_job__";
    pub const VALIDATE_OUTPUTS: &str = "__validate_outputs__";

    pub const ALL: [&str; 5] = [
        INVOCATION_UUID,
        RESOURCE_PARAMS,
        WHEN_VALUE,
        USE_CACHED_JOB,
        VALIDATE_OUTPUTS,
    ];
}

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
    /// What an enclosing subworkflow step is mapped over.
    pub enclosing: Option<&'a Enclosing>,
    pub resource_params: &'a BTreeMap<String, String>,
    /// At most this many new jobs.
    pub budget: Option<usize>,
    pub resume: Option<Resume>,
    /// The results of equivalent jobs will do.
    pub use_cached: bool,
    /// What operations on collections read.
    pub files: &'a dyn Files,
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
    check_deleted(run, known)?;
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
    let matched = mapping::match_inputs(mapped.clone());
    let mapping = matched.map_err(|text| Stop::unexpected(step, text))?;
    let inherited = mapping.is_none();
    let mapping = mapping.or_else(|| run.enclosing.map(Enclosing::mapping));
    // All slices are checked before the first write, so that a fault creates nothing.
    let now = mapping.as_ref().map_or(0..0, |mapping| {
        let done = run.resume.as_ref().map_or(0, |r| r.done);
        let left = mapping.len().saturating_sub(done);
        done..done + run.budget.map_or(left, |budget| budget.min(left))
    });
    let paths = mapping.as_ref().map(|mapping| mapping.paths(now.clone()));
    let paths = paths.unwrap_or_default();
    let sources = identifier_sources(run, &mapped, &now);
    let drafts = match &mapping {
        None => vec![draft(run, &bound, None, known)?],
        Some(mapping) => {
            let slices = now.clone().zip(&paths);
            let drafts =
                slices.map(|(n, path)| draft(run, &bound, Some((mapping, n, path)), known));
            drafts.collect::<Result<_, _>>()?
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
                collection_type: mapping.collection_type(),
                slices: mapping.len(),
                paths,
                on: match run.enclosing {
                    Some(enclosing) if inherited => enclosing.on.clone(),
                    _ => bound
                        .mapped
                        .iter()
                        .map(|(_, id, _)| known.hdcas[id].hid)
                        .collect(),
                },
                sources,
                names: bound
                    .mapped
                    .iter()
                    .map(|(name, id, _)| (name.clone(), known.hdcas[id].name.clone()))
                    .collect(),
            };
            Ok(implicit(
                run,
                drafts,
                &bound.params,
                &frame,
                known,
                ids,
                writes,
            ))
        }
    }
}

/// Where the slices are in the inputs that outputs name as the source of their identifiers.
fn identifier_sources(
    run: &ToolRun<'_>,
    mapped: &[MappedInput<'_>],
    slices: &Range<usize>,
) -> HashMap<String, Vec<Path>> {
    let outputs = run.tool.outputs.iter();
    let named = outputs.filter_map(|output| output.default_identifier_source.as_deref());
    named
        .filter_map(|name| mapped.iter().find(|input| input.name == name))
        .map(|input| (input.name.clone(), mapping::paths_of(input, slices.clone())))
        .collect()
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
