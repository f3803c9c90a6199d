//! From a stored job to a directory that a runner can work in: the command is rendered, and once the hand-over is stored
//! its files are written. Not before: until then somebody else may have the job, who works in the very same directory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barycenter_plugin_api::{Attr, JobSpec};
use uuid::Uuid;

use super::directory::{self, Before};
use super::expression::{self, Values};
use super::outcome::{failed, paused};
use super::unbroken::{BROKEN, unbroken};
use super::views::Views;
use crate::errors::is_lack;
use crate::invoker::known::{ElementObject, Known};
use crate::model::state::JobState;
use crate::scheduling::engine::{EngineSettings, Services};
use crate::store::StoreError;
use crate::store::db::Query;
use crate::store::files::DataDir;
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::jobs::{self, Dispatch, ReadyJob};
use crate::store::scheduling::known;
use crate::store::scheduling::readiness::{Start, at_dispatch};
use crate::tools::Tool;
use crate::tools::command::{RenderError, RenderInputs, Rendered, render};
use crate::tools::expression::ExpressionError;
use crate::tools::inputs_json::{DataSource, DataViews, data_refs};

/// A job that only needs a runner.
pub(super) struct Prepared {
    pub dispatch: Dispatch,
    pub tool: Arc<Tool>,
    pub views: DataViews,
    /// What the machine lacked when the views were made: they are not whole, and no command is to be made of them.
    lack: Option<String>,
    pub directory: PathBuf,
    /// What its directory is to hold.
    rendered: Option<Rendered>,
    pub cores: u32,
    pub memory_mb: u64,
}

impl Prepared {
    /// Its declared output datasets.
    pub fn dataset_ids(&self) -> Vec<i64> {
        self.dispatch
            .outputs
            .iter()
            .map(|output| output.dataset_id)
            .collect()
    }

    pub fn working_directory(&self) -> PathBuf {
        self.directory.join("working")
    }

    /// The command as people see it.
    pub fn command_line(&self) -> &str {
        let rendered = self.rendered.as_ref();
        rendered.map_or("", |rendered| &rendered.command_line)
    }

    /// What the runner is told.
    pub fn spec(&self, job_id: i64, token: Uuid, settings: &EngineSettings) -> JobSpec {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let own = self
            .tool
            .requirements
            .time_limit
            .map(|limit| limit.as_millis() as u64);
        let general = settings
            .job_time_limit_seconds
            .map(|seconds| seconds * 1000);
        let working = path("working");
        JobSpec {
            job_id: job_id as u64,
            token: token.to_string().into(),
            working_directory: working.as_str().into(),
            job_directory: self.directory.to_string_lossy().into_owned().into(),
            script_path: path("script.sh").into(),
            shell: settings.shell.as_str().into(),
            environment: environment(&working, self.cores, self.memory_mb).into(),
            stdout_path: path("stdout").into(),
            stderr_path: path("stderr").into(),
            exit_code_path: path("exit_code").into(),
            cores: self.cores,
            memory_mb: self.memory_mb,
            time_limit_ms: own.or(general).unwrap_or(0),
            log_limit_bytes: settings.job_log_limit_bytes,
            ..Default::default()
        }
    }
}

/// A job's whole environment: nothing of the server's own gets through but the search path.
fn environment(working: &str, cores: u32, memory_mb: u64) -> Vec<Attr> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
    [
        ("PATH", path),
        ("HOME", working.to_owned()),
        ("TMPDIR", working.to_owned()),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("GALAXY_SLOTS", cores.to_string()),
        ("GALAXY_MEMORY_MB", memory_mb.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| Attr {
        name: name.into(),
        value: value.into(),
    })
    .collect()
}

/// Jobs with the datasets and collections they read.
pub(super) struct Loaded {
    pub jobs: HashMap<i64, Dispatch>,
    known: Known,
    elements: HashMap<i64, ElementObject>,
    /// The user-defined tools among their tools.
    dynamic: HashMap<i64, Uuid>,
}

impl Loaded {
    fn views<'a>(&'a self, data: &'a DataDir, for_expression: bool) -> Views<'a> {
        Views {
            data,
            known: &self.known,
            elements: &self.elements,
            for_expression,
            lack: RefCell::default(),
        }
    }
}

/// Reads everything that `ids` need: a fixed number of statements.
pub(super) async fn load(
    q: &mut impl Query,
    services: &Services,
    ids: &[i64],
) -> Result<Loaded, StoreError> {
    let jobs = jobs::load(q, ids).await?;
    let mut hdas: Vec<i64> = Vec::new();
    let (mut hdcas, mut dces) = (Vec::new(), Vec::new());
    for job in &jobs {
        hdas.extend(job.inputs.iter().map(|input| input.hda_id));
        for reference in data_refs(&job.params) {
            match reference.src {
                DataSource::Hda => hdas.push(reference.id),
                DataSource::Hdca => hdcas.push(reference.id),
                DataSource::Dce => dces.push(reference.id),
                DataSource::Ldda => {}
            }
        }
    }
    let mut known = Known::default();
    known::load(q, &mut known, hdas, hdcas).await?;
    let elements = known::load_elements(q, &mut known, &dces).await?;
    let dynamic_ids: Vec<i64> = jobs.iter().filter_map(|job| job.dynamic_tool_id).collect();
    crate::scheduling::user_tools::ensure(services, q, &dynamic_ids).await?;
    let dynamic = known::dynamic_tool_uuids(q, &dynamic_ids).await?;
    Ok(Loaded {
        jobs: jobs.into_iter().map(|job| (job.id, job)).collect(),
        known,
        elements,
        dynamic,
    })
}

/// What became of the chosen jobs.
#[derive(Default)]
pub(super) struct Made {
    /// They can be handed over.
    pub prepared: Vec<(ReadyJob, String, Prepared)>,
    /// The ends of those that cannot, or that the host has done itself.
    pub broken: Vec<JobEnd>,
    /// Why some could not be done just now, and stay ready.
    pub no_room: Option<String>,
    /// Those whose scripts take long.
    pub slow: Vec<(ReadyJob, Prepared)>,
    /// Those whose scripts nobody can evaluate just now. They stay ready.
    pub without_engine: Vec<ReadyJob>,
}

/// Why nothing was made of a job's templates and scripts.
#[derive(Debug, PartialEq)]
pub(super) enum Unmade {
    /// Nothing ever will be: what its owner reads.
    Fault(String),
    /// The machine has no process for its scripts at the moment, which the log says; it is tried again.
    NoEngine,
    /// What it reads could not be read, for want of something that the machine may have again.
    NoRoom(String),
}

impl From<ExpressionError> for Unmade {
    fn from(error: ExpressionError) -> Unmade {
        match error.is_passing() {
            true => Unmade::NoEngine,
            false => Unmade::Fault(error.to_string()),
        }
    }
}

impl From<RenderError> for Unmade {
    fn from(error: RenderError) -> Unmade {
        match error.is_passing() {
            true => Unmade::NoEngine,
            false => Unmade::Fault(error.to_string()),
        }
    }
}

fn broken() -> Unmade {
    Unmade::Fault(BROKEN.to_owned())
}

/// What the tool's templates and scripts make of a job.
pub(super) enum Worked {
    /// What its directory is to hold, or why there is no command.
    Command(Result<Rendered, Unmade>),
    /// What an expression tool comes to, or why to nothing. Nothing is written yet.
    Values(Result<Values, Unmade>),
}

impl Worked {
    /// Whether the job fails by that.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Worked::Command(Err(Unmade::Fault(_))) | Worked::Values(Err(Unmade::Fault(_)))
        )
    }
}

/// Evaluates what is to be evaluated for a job, and touches no file. Blocks, as long as its scripts take.
pub(super) fn work_out(job: &Prepared) -> Worked {
    if let Some(why) = &job.lack {
        return Worked::Command(Err(Unmade::NoRoom(why.clone())));
    }
    if !job.tool.is_expression() {
        return Worked::Command(make(job));
    }
    let values = unbroken("evaluating an expression tool", || {
        expression::evaluate(job)
    });
    Worked::Values(values.unwrap_or_else(|| Err(broken())))
}

/// The end of an expression tool's job; its datasets are written.
fn end(
    services: &Services,
    job: &Prepared,
    values: &Values,
    now: i64,
) -> Result<JobEnd, Unwritten> {
    let end = unbroken("writing what an expression came to", || {
        expression::end(services, job, values, now)
    });
    end.unwrap_or_else(|| Err(BROKEN.to_owned().into()))
}

/// Why a job's directory was not written.
#[derive(Debug, PartialEq)]
pub(super) enum Unwritten {
    /// It never will be: what its owner reads.
    Fault(String),
    /// The machine lacks something at the moment: a full disk, no file descriptors.
    NoRoom(String),
}

impl Unwritten {
    /// `what` could not be done, for its owner.
    pub fn of(what: &str, error: &io::Error) -> Unwritten {
        match is_lack(error) {
            true => Unwritten::NoRoom(error.to_string()),
            false => Unwritten::Fault(format!("{what}: {error}")),
        }
    }
}

impl From<String> for Unwritten {
    fn from(fault: String) -> Unwritten {
        Unwritten::Fault(fault)
    }
}

/// Whether directories of jobs can be written again. Blocks.
pub(super) fn find_room(services: &Services) -> io::Result<()> {
    /// What the files of a small job take.
    const SMALL: usize = 64 << 10;
    let mut file = tempfile::tempfile_in(services.data.jobs())?;
    io::Write::write_all(&mut file, &[0; SMALL])
}

/// Makes the chosen jobs' commands. Blocks. A job whose command cannot be made, or that its scheduler rejects, ends here;
/// one whose input was deleted meanwhile is paused, or fails if it was purged. Whatever was started, stopped or taken by
/// another server since it was chosen is left out: its files are not ours to write. `worked_out`: see [`work_out`]; None
/// where that takes longer than there is time.
pub(super) fn make_all(
    services: &Services,
    chosen: Vec<(ReadyJob, Result<String, String>)>,
    mut loaded: Loaded,
    mut worked_out: impl FnMut(&ReadyJob, &Prepared) -> Option<Worked>,
) -> Made {
    let now = services.clock.now_ms();
    let me = services.membership.name();
    let mut made = Made::default();
    for (ready, runner) in chosen {
        let Some(dispatch) = loaded.jobs.remove(&ready.id) else {
            continue;
        };
        if dispatch.state != JobState::New || dispatch.handler.as_deref() != Some(me) {
            continue;
        }
        let runner = match runner {
            Ok(runner) => runner,
            Err(text) => {
                made.broken.push(failed(
                    &dispatch,
                    &format!("The scheduler rejected this job: {text}"),
                    now,
                ));
                continue;
            }
        };
        let inputs = dispatch.inputs.iter();
        let inputs = inputs.filter_map(|input| loaded.known.hdas.get(&input.hda_id));
        match at_dispatch(inputs.map(|hda| (hda.deleted, hda.purged))) {
            Some(Start::Paused(info)) => {
                made.broken.push(paused(&dispatch, info, now));
                continue;
            }
            Some(Start::Failed(info)) => {
                made.broken.push(failed(&dispatch, info, now));
                continue;
            }
            _ => {}
        }
        let mut job = match prepare(services, &loaded, dispatch, &ready) {
            Ok(job) => job,
            Err((dispatch, text)) => {
                made.broken.push(failed(&dispatch, &text, now));
                continue;
            }
        };
        match worked_out(&ready, &job) {
            None => made.slow.push((ready, job)),
            Some(Worked::Command(Ok(rendered))) => {
                job.rendered = Some(rendered);
                made.prepared.push((ready, runner, job));
            }
            Some(Worked::Values(Ok(values))) => match end(services, &job, &values, now) {
                Ok(end) => made.broken.push(end),
                Err(Unwritten::Fault(text)) => made.broken.push(failed(&job.dispatch, &text, now)),
                Err(Unwritten::NoRoom(why)) => made.no_room = Some(why),
            },
            Some(Worked::Command(Err(unmade)) | Worked::Values(Err(unmade))) => match unmade {
                Unmade::Fault(text) => made.broken.push(failed(&job.dispatch, &text, now)),
                Unmade::NoEngine => made.without_engine.push(ready),
                Unmade::NoRoom(why) => made.no_room = Some(why),
            },
        }
    }
    made
}

/// Puts a job's parts together without touching the disk.
pub(super) fn prepare(
    services: &Services,
    loaded: &Loaded,
    dispatch: Dispatch,
    ready: &ReadyJob,
) -> Result<Prepared, (Box<Dispatch>, String)> {
    let dynamic = dispatch
        .dynamic_tool_id
        .and_then(|id| loaded.dynamic.get(&id));
    let tool = match dynamic {
        Some(uuid) => services.toolbox.get_dynamic(uuid),
        None => services
            .toolbox
            .get(&dispatch.tool_id, dispatch.tool_version.as_deref())
            .map(|found| found.tool),
    };
    let Some(tool) = tool else {
        let text = format!("The tool {} is not installed any more.", dispatch.tool_id);
        return Err((Box::new(dispatch), text));
    };
    let views = loaded.views(&services.data, tool.is_expression());
    Ok(Prepared {
        views: views.of(&dispatch),
        lack: views.lack.take(),
        directory: services.data.job(dispatch.id),
        rendered: None,
        cores: ready.cores.clamp(1, 100_000) as u32,
        memory_mb: ready.memory_mb.max(0) as u64,
        tool,
        dispatch,
    })
}

/// A job's command, and what is beside it in its directory.
fn make(job: &Prepared) -> Result<Rendered, Unmade> {
    let rendered = unbroken("making a job's command", || {
        let working = job.working_directory();
        let outdir = working.to_string_lossy();
        let inputs = RenderInputs {
            params: &job.dispatch.params,
            data: &job.views,
            cores: job.cores,
            outdir: &outdir,
            tmpdir: &outdir,
        };
        render(&job.tool, &inputs).map_err(Unmade::from)
    });
    rendered.unwrap_or_else(|| Err(broken()))
}

/// Makes the command of a job anew that was handed over already. Blocks, as long as its scripts take.
pub(super) fn render_again(job: &mut Prepared) -> Result<(), Unmade> {
    if let Some(why) = &job.lack {
        return Err(Unmade::NoRoom(why.clone()));
    }
    job.rendered = Some(make(job)?);
    Ok(())
}

/// Writes the directory of a job whose command is made and whose hand-over is stored. One that was written for this very
/// token and may be in use stays, and its files are exchanged for the same ones; any other is removed first. Blocks.
pub(super) fn write(
    services: &Services,
    job: &Prepared,
    token: Uuid,
    before: Before,
) -> Result<(), Unwritten> {
    let rendered = job.rendered.as_ref().ok_or_else(|| BROKEN.to_owned())?;
    let written = unbroken("writing a job's directory", || {
        directory::write(&services.data, job.dispatch.id, rendered, token, before)
    });
    let written = written.ok_or_else(|| BROKEN.to_owned())?;
    written.map_err(|error| Unwritten::of("The job's directory could not be written", &error))
}

/// Removes what a job left, but for logs that are longer than the database keeps.
pub(super) fn clean_up(directory: &Path) {
    let long_logs = ["stdout", "stderr"].iter().any(|name| {
        std::fs::metadata(directory.join(name))
            .is_ok_and(|m| m.len() > super::collect::LOG_KEPT as u64)
    });
    let removed = match long_logs {
        false => std::fs::remove_dir_all(directory),
        true => std::fs::remove_dir_all(directory.join("working")),
    };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("the directory of a finished job could not be removed: {error}");
    }
}
