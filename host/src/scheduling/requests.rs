//! What people ask of jobs and steps directly: run one tool, stop or resume a job, act on a step. Each is stored before
//! it is answered; the loops are told then.

use std::collections::{BTreeMap, HashMap};

use barycenter_plugin_api::{ExplainRequest, Explanation, capability};
use serde_json::Value;

use super::contents::{DataFiles, read_contents};
use super::dispatch::Queue;
use super::engine::Services;
use super::modules::context;
use crate::args;
use crate::invoker::known::{Known, StepValue};
use crate::invoker::modules::is_host_type;
use crate::invoker::progress::Progress;
use crate::invoker::stop::Stop;
use crate::invoker::tool_run::{self, Ran, ToolRun};
use crate::invoker::writes::Writes;
use crate::model::workflow::StepDescription;
use crate::store::scheduling::objects::{Owner, insert_objects, reserve_all};
use crate::store::scheduling::remap::{Remapped, remap};
use crate::store::scheduling::{equivalents, known, leases, orders, progress};
use crate::store::{Durability, StoreError, Tx, tool_requests};
use crate::tools::Tool;
use crate::tools::inputs_json::{DataSource, data_refs};

/// A tool to run outside any workflow.
pub struct ToolRequest<'a> {
    pub user_id: i64,
    pub history_id: i64,
    pub tool: &'a Tool,
    pub dynamic_tool_id: Option<i64>,
    /// Normalised parameters with database ids.
    pub state: &'a Value,
    /// Inputs that are mapped over collections: pipe path and hdca.
    pub mapped: &'a [(String, i64)],
    /// The results of an equivalent job will do.
    pub use_cached_job: bool,
    /// The failed job that this one takes the place of.
    pub in_place_of: Option<i64>,
}

/// Why a tool was not run.
#[derive(Debug, thiserror::Error)]
pub enum ToolRunError {
    /// A sentence for whoever asked.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the run depends on cannot be read just now.
    #[error("a file cannot be read")]
    Unread(#[from] std::io::Error),
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    pub jobs: Vec<i64>,
    pub outputs: HashMap<String, StepValue>,
    pub is_mapped: bool,
}

/// What was made, with the note of the request if one was wanted.
#[derive(Debug)]
pub struct MadeAll {
    /// One for each of the requests.
    pub made: Vec<Made>,
    /// Database id of the note.
    pub noted: Option<i64>,
}

/// A run with everything that it will store.
struct Planned {
    writes: Writes,
    outputs: HashMap<String, StepValue>,
    is_mapped: bool,
}

/// Makes the job, or those of a mapping, with what they will write.
pub async fn run_tool(services: &Services, request: ToolRequest<'_>) -> Result<Made, ToolRunError> {
    let mut all = run_tools(services, std::slice::from_ref(&request), None).await?;
    let nothing = || ToolRunError::Refused("The tool was not run.".to_owned());
    all.made.pop().ok_or_else(nothing)
}

/// Makes the jobs of runs of one user in one history, and the note of what was asked (`note`), all or nothing.
pub async fn run_tools(
    services: &Services,
    requests: &[ToolRequest<'_>],
    note: Option<&Value>,
) -> Result<MadeAll, ToolRunError> {
    let Some(first) = requests.first() else {
        return Err(ToolRunError::Refused("No run was asked for.".to_owned()));
    };
    let mut planned = Vec::with_capacity(requests.len());
    for request in requests {
        planned.push(plan(services, request).await?);
    }
    let owner = Owner {
        user_id: first.user_id,
        history_id: first.history_id,
        scheduler: None,
        handler: services.membership.job_handler().to_owned(),
    };
    let now = services.clock.now_ms();
    let mut tx = services.store.begin().await?;
    let made = match first.in_place_of {
        Some(failed) => {
            let mut made = Vec::with_capacity(planned.len());
            for run in planned {
                made.push(in_place(&mut tx, &owner, failed, run.writes, now).await?);
            }
            made
        }
        None => store(services, &mut tx, &owner, planned, now).await?,
    };
    let noted = match note {
        Some(request) => Some(write_note(&mut tx, first, request, &made, now).await?),
        None => None,
    };
    match (noted, first.in_place_of) {
        (Some(_), _) => tx.commit(Durability::Acknowledged, "tool.request").await?,
        (None, Some(_)) => tx.commit(Durability::Acknowledged, "job.remap").await?,
        (None, None) => tx.commit(Durability::Acknowledged, "tool.run").await?,
    }
    services.signals.jobs_changed();
    if first.in_place_of.is_some() {
        services.signals.invocations_changed();
    }
    Ok(MadeAll { made, noted })
}

async fn plan(services: &Services, request: &ToolRequest<'_>) -> Result<Planned, ToolRunError> {
    let mut reader = services.store.reader();
    let mut known = Known::default();
    let (mut hdas, mut hdcas, mut dces) = (Vec::new(), Vec::new(), Vec::new());
    for reference in data_refs(request.state) {
        match reference.src {
            DataSource::Hda => hdas.push(reference.id),
            DataSource::Hdca => hdcas.push(reference.id),
            DataSource::Dce => dces.push(reference.id),
            DataSource::Ldda => {}
        }
    }
    hdcas.extend(request.mapped.iter().map(|(_, id)| *id));
    known::load(&mut reader, &mut known, hdas, hdcas).await?;
    known.elements = known::load_elements(&mut reader, &mut known, &dces).await?;
    tokio::task::block_in_place(|| read_contents(services, &mut known))?;
    let mut writes = Writes::default();
    let files = DataFiles::of(&services.data);
    let run = ToolRun {
        tool: request.tool,
        dynamic_tool_id: request.dynamic_tool_id,
        state: request.state,
        connected: request
            .mapped
            .iter()
            .map(|(name, id)| (name.clone(), vec![StepValue::Hdca(*id)]))
            .collect(),
        when: None,
        post_job_actions: &[],
        replacements: &HashMap::new(),
        workflow_step_id: 0,
        invocation_id: None,
        invocation_uuid: None,
        force_skip: false,
        enclosing: None,
        resource_params: &BTreeMap::new(),
        budget: None,
        resume: None,
        use_cached: request.use_cached_job,
        files: &files,
    };
    let ids = services.store.ids.clone();
    ids.before_jobs().await;
    let ran =
        tokio::task::block_in_place(|| tool_run::run(&run, &mut known, ids.as_ref(), &mut writes));
    if let Some(error) = files.take_lack() {
        return Err(error.into());
    }
    let Ran {
        outputs,
        implicit_collection_jobs_id,
        ..
    } = ran.map_err(|stop| ToolRunError::Refused(sentence(stop)))?;
    Ok(Planned {
        writes,
        outputs,
        is_mapped: implicit_collection_jobs_id.is_some(),
    })
}

async fn store(
    services: &Services,
    tx: &mut Tx,
    owner: &Owner,
    mut runs: Vec<Planned>,
    now: i64,
) -> Result<Vec<Made>, StoreError> {
    let ids = services.store.ids.as_ref();
    for run in &mut runs {
        equivalents::reuse(tx, owner.user_id, ids, &mut run.writes).await?;
    }
    let all: Vec<&Writes> = runs.iter().map(|run| &run.writes).collect();
    let places = reserve_all(tx, owner, &all, now).await?;
    let mut made = Vec::with_capacity(runs.len());
    for (run, place) in runs.into_iter().zip(places) {
        insert_objects(tx, owner, &run.writes, place.as_ref(), now).await?;
        made.push(Made {
            jobs: run.writes.jobs.iter().map(|job| job.id).collect(),
            outputs: run.outputs,
            is_mapped: run.is_mapped,
        });
    }
    Ok(made)
}

/// Stores a job in the place of a failed one.
async fn in_place(
    tx: &mut Tx,
    owner: &Owner,
    failed: i64,
    writes: Writes,
    now: i64,
) -> Result<Made, ToolRunError> {
    if writes.jobs.len() != 1 || !writes.implicit_jobs.is_empty() {
        let text = "A job can only be put in the place of a failed one if it is one job.";
        return Err(ToolRunError::Refused(text.to_owned()));
    }
    let job = writes.jobs[0].id;
    match remap(tx, owner, failed, writes, now).await? {
        Remapped::NotFailed => Err(ToolRunError::Refused(
            "Only a job that failed can be run again in its own place.".to_owned(),
        )),
        Remapped::Yes {
            outputs,
            collections,
            ..
        } => {
            let datasets = outputs.into_iter().map(|(n, id)| (n, StepValue::Hda(id)));
            let collections = collections
                .into_iter()
                .map(|(n, id)| (n, StepValue::Hdca(id)));
            Ok(Made {
                jobs: vec![job],
                outputs: datasets.chain(collections).collect(),
                is_mapped: false,
            })
        }
    }
}

async fn write_note(
    tx: &mut Tx,
    asked: &ToolRequest<'_>,
    request: &Value,
    made: &[Made],
    now: i64,
) -> Result<i64, StoreError> {
    let jobs: Vec<i64> = made.iter().flat_map(|made| made.jobs.clone()).collect();
    let mapped = made.iter().filter(|made| made.is_mapped);
    let mut collections: Vec<(String, i64)> = mapped
        .flat_map(|made| &made.outputs)
        .filter_map(|(name, value)| match value {
            StepValue::Hdca(id) => Some((name.clone(), *id)),
            _ => None,
        })
        .collect();
    collections.sort_by_key(|(_, id)| *id);
    let new = tool_requests::NewToolRequest {
        user_id: asked.user_id,
        history_id: asked.history_id,
        request,
        state: tool_requests::State::Submitted,
        state_message: None,
        jobs: &jobs,
        implicit_collections: &collections,
    };
    tool_requests::create(tx, &new, now).await
}

fn sentence(stop: Stop) -> String {
    match stop {
        Stop::Fail(message) | Stop::Cancel(message) => message
            .details
            .unwrap_or_else(|| format!("The tool cannot be run ({}).", message.reason)),
        Stop::Delayed { why, .. } => format!("The tool cannot be run yet: {why}."),
        Stop::Lacking { why, .. } => format!("The tool cannot be run yet. {why}"),
    }
}

/// Asks for a job to be stopped. False when it had ended.
pub async fn cancel_job(services: &Services, job_id: i64) -> Result<bool, StoreError> {
    let row = {
        use crate::store::Query as _;
        services
            .store
            .reader()
            .maybe("SELECT state FROM job WHERE id = $1", args![job_id])
            .await?
    };
    let Some(row) = row else { return Ok(false) };
    let state: String = row.get(0)?;
    if matches!(
        state.as_str(),
        "ok" | "error" | "deleted" | "deleting" | "skipped" | "stopped" | "failed"
    ) {
        return Ok(false);
    }
    orders::cancel_job(&services.store, job_id, services.clock.now_ms()).await?;
    services.signals.jobs_changed();
    services.signals.invocations_changed();
    services.signals.fetches_changed();
    Ok(true)
}

/// Puts a paused job back to new, with those that were paused because of it.
pub async fn resume_job(services: &Services, job_id: i64) -> Result<(), StoreError> {
    orders::resume(&services.store, job_id, services.clock.now_ms()).await?;
    services.signals.jobs_changed();
    Ok(())
}

/// What a step's module makes of a person's action: the value to store, or a sentence why it takes none such. Blocks; not
/// to be called where the runtime's own work is done.
pub fn check_action(
    services: &Services,
    invocation_step_id: i64,
    step: &StepDescription,
    action: &Value,
) -> Result<Value, String> {
    if is_host_type(&step.step_type) || step.step_type == "subworkflow" {
        return Err(format!(
            "A step of type {} takes no actions.",
            step.step_type
        ));
    }
    let module = services.plugins.module(&step.step_type)?;
    let loaded = tokio::runtime::Handle::current().block_on(load(services, invocation_step_id));
    let progress = loaded.map_err(|error| {
        tracing::error!(
            "an invocation could not be read for an action: {}",
            crate::errors::chain(&error)
        );
        "The server could not read the invocation just now.".to_owned()
    })?;
    let progress = progress.ok_or("The invocation is gone.")?;
    let stored = progress.steps.get(&step.order_index);
    let call = progress.module_call(step, stored.and_then(|record| record.action.clone()));
    let context = context(&call, services.clock.now_ms());
    let stored = module
        .do_invocation_step_action(&context, &action.to_string())
        .map_err(|e| e.to_string())?;
    serde_json::from_str(&stored).map_err(|_| {
        format!(
            "The workflow module {} answered with a value that is not JSON.",
            step.step_type
        )
    })
}

async fn load(
    services: &Services,
    invocation_step_id: i64,
) -> Result<Option<Progress>, StoreError> {
    let mut reader = services.store.reader();
    let step = crate::store::invocations::step_by_id(&mut reader, invocation_step_id).await?;
    let Some(step) = step else { return Ok(None) };
    match progress::head(&mut reader, step.workflow_invocation_id).await? {
        Some(head) => progress::load(&mut reader, &services.revisions, &head).await,
        None => Ok(None),
    }
}

/// Jobs that a scheduler is told of when somebody asks why they wait.
const EXPLAINED: usize = 100;
/// How long whoever asks waits for a scheduler that is busy.
const EXPLAIN_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// What the scheduler of an invocation says about its waiting; None when it explains nothing, or not now.
pub async fn explain(
    services: &Services,
    queue: &Queue,
    invocation_id: i64,
) -> Result<Option<Explanation>, StoreError> {
    let mut reader = services.store.reader();
    let Some(head) = progress::head(&mut reader, invocation_id).await? else {
        return Ok(None);
    };
    let named = head.scheduler.as_deref().filter(|id| !id.is_empty());
    let id = named.unwrap_or(services.plugins.default_scheduler_id());
    let Some(scheduler) = services.plugins.scheduler(id) else {
        return Ok(None);
    };
    if !scheduler.capabilities().has(capability::EXPLAIN) {
        return Ok(None);
    }
    let jobs = leases::ready_of(&mut reader, invocation_id, EXPLAINED).await?;
    let request = ExplainRequest {
        now_ms: services.clock.now_ms(),
        invocation_id: invocation_id as u64,
        invocation_uuid: head.uuid.to_string().into(),
        user_id: head.user_id as u64,
        jobs: jobs.iter().map(Queue::offer).collect(),
        load: queue.capacity().load,
        ..Default::default()
    };
    let asked = tokio::task::spawn_blocking(move || scheduler.explain(request));
    match tokio::time::timeout(EXPLAIN_WAIT, asked).await {
        Ok(Ok(Ok(explanation))) => {
            Ok(Some(explanation).filter(|explanation| !explanation.text.is_empty()))
        }
        Ok(Ok(Err(error))) => {
            tracing::warn!("a scheduler did not explain: {error}");
            Ok(None)
        }
        _ => Ok(None),
    }
}
