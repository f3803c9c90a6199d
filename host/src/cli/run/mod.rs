//! `barycenter run`: one workflow, here and now, by the same engine that serves, without doors.
//!
//! Exit codes: 0 the workflow completed and every job is ok; 1 it failed, or something else did; 2 the command
//! line or the inputs do not fit; 3 a review was refused; 130 Ctrl-C.

mod follow;
mod inputs;
mod results;
mod review;
mod show;
mod snapshot;
mod start;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::MultiProgress;
use serde_json::json;

use self::follow::Ending;
use self::inputs::{Inputs, JobFile};
use self::show::Show;
use super::options::{self, LoadFlags};
use super::out;
use super::serve::{INTERRUPTED, StopSignals};
use crate::config::{Config, Environment, Flags};
use crate::errors::chain;
use crate::formats;
use crate::logging;
use crate::model::workflow::WorkflowDescription;
use crate::server::Machine;

/// Run one workflow here and now, without a server.
///
/// Progress goes to stderr; stdout gets a line for each result, its label and its path. Without --data-dir
/// everything else is in a temporary directory that is removed at the end.
///
/// Exit codes: 0 the workflow completed and every job is ok; 1 it failed; 2 the command line or the inputs do not
/// fit; 3 a review was refused; 130 interrupted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The workflow: a .ga or format2 file
    #[arg(value_name = "WORKFLOW")]
    workflow: PathBuf,
    /// What an input is given: a file, or the value of a parameter; a list takes several
    #[arg(short = 'i', long = "input", value_name = "LABEL=VALUE|FILE")]
    input: Vec<String>,
    /// What the inputs are given, as a job file of Planemo
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Where the results go [default: a folder called after the workflow, with -results]
    #[arg(short = 'o', long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Approve every review instead of asking
    #[arg(long)]
    yes: bool,
    /// Use another version of a tool where the one that the workflow names is not installed
    #[arg(long)]
    any_tool_version: bool,
    /// Tell of the progress and the results in JSON, one object to a line, on stdout
    #[arg(long)]
    json: bool,
    /// Keep the temporary directory and say where it is
    #[arg(long)]
    keep: bool,
    /// Work in this directory and keep it, instead of in a temporary one
    #[arg(long, value_name = "DIR", value_parser = options::path())]
    data_dir: Option<PathBuf>,
    /// The database, which belongs to that directory [default: sqlite://DIR/barycenter.sqlite]
    #[arg(long, value_name = "URL", requires = "data_dir")]
    database_url: Option<String>,
    /// Configuration file [BARYCENTER_CONFIG; default: barycenter.toml, if there is one]
    #[arg(long, value_name = "FILE", value_parser = options::path())]
    config: Option<PathBuf>,
    #[command(flatten)]
    load: LoadFlags,
}

/// The exit code of a refused review.
const REFUSED: u8 = 3;

/// Why nothing was run.
enum NotRun {
    Usage(Vec<String>),
    Failed(String),
}

impl From<String> for NotRun {
    fn from(sentence: String) -> NotRun {
        NotRun::Failed(sentence)
    }
}

pub fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(NotRun::Failed(sentence)) => out::failure(sentence),
        Err(NotRun::Usage(faults)) => {
            for fault in faults {
                out::failure(fault);
            }
            ExitCode::from(out::USAGE)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, NotRun> {
    let workflow = read_workflow(&arguments.workflow)?;
    let inputs = read_inputs(arguments, &workflow)?;
    let folder = output_folder(arguments);
    results::can_be_written(&folder).map_err(|error| {
        let shown = folder.display();
        format!("the results cannot be written to {shown}; name another folder with -o: {error}")
    })?;
    let home = Home::open(arguments)?;
    let config = configuration(arguments, home.path())?;
    options::warn(&config);
    let bars = (!arguments.json && std::io::stderr().is_terminal()).then(MultiProgress::new);
    logging::start(&config.log, bars.clone());
    let show = match bars {
        Some(bars) => Show::bars(bars),
        None if arguments.json => Show::json(),
        None => Show::lines(),
    };
    let work = run_in(arguments, &config, workflow, inputs, show);
    let done = super::block_on(work);
    let is_lost = done.as_ref().is_ok_and(|ended| ended.is_lost);
    home.close(arguments.keep || is_lost);
    Ok(done?.code)
}

/// How the command ends.
struct Ended {
    code: u8,
    /// The results could not be written, and are nowhere but among the data.
    is_lost: bool,
}

impl From<u8> for Ended {
    fn from(code: u8) -> Ended {
        Ended {
            code,
            is_lost: false,
        }
    }
}

async fn run_in(
    arguments: &Arguments,
    config: &Config,
    workflow: WorkflowDescription,
    inputs: Inputs,
    mut show: Show,
) -> Result<Ended, String> {
    let mut signals = StopSignals::new().map_err(|error| error.to_string())?;
    let machine = Machine::start(config)
        .await
        .map_err(|error| chain(&error))?;
    let asked = start::Asked {
        workflow,
        inputs,
        from: &arguments.workflow,
        any_tool_version: arguments.any_tool_version,
    };
    // Until the invocation is stored there is nothing to cancel.
    let started = tokio::select! {
        started = start::start(&machine.app, asked) => started,
        () = signals.next() => {
            machine.stop().await;
            return Ok(INTERRUPTED.into());
        }
    };
    let started = match started {
        Ok(started) => started,
        Err(sentence) => {
            machine.stop().await;
            return Err(sentence);
        }
    };
    show.event(
        "started",
        json!({ "workflow": started.name, "invocation": started.uuid }),
    );
    let followed = follow::follow(
        &machine.app,
        &started,
        arguments.yes,
        &mut show,
        &mut signals,
    )
    .await;
    show.finish();
    let code = match followed {
        Ok(ending) => {
            tell(
                &machine,
                &started,
                &ending,
                &output_folder(arguments),
                &show,
            )
            .await
        }
        Err(sentence) => Err(sentence),
    };
    machine.stop().await;
    code
}

/// Writes the results, says how it ended, and chooses the exit code.
async fn tell(
    machine: &Machine,
    started: &start::Started,
    ending: &Ending,
    folder: &Path,
    show: &Show,
) -> Result<Ended, String> {
    let app = &machine.app;
    let mut outputs = Vec::new();
    let mut lost = None;
    // Of a run that failed, whatever is ready may still be of use.
    if matches!(ending, Ending::Done(_)) {
        let details = follow::details(app, started.invocation_id).await?;
        let written = results::write(app, &details, folder).await;
        let written = written.unwrap_or_else(|error| {
            lost = Some(chain(&error));
            Vec::new()
        });
        for result in written {
            show.result(&result.label, &result.path, result.fault.as_deref());
            outputs.push(json!({
                "label": result.label,
                "path": result.path.display().to_string(),
                "fault": result.fault,
            }));
        }
    }
    let mut troubles = follow::troubles(app, ending).await?;
    let is_lost = lost.is_some();
    troubles.extend(lost);
    for trouble in &troubles {
        show.say(trouble);
    }
    let code = match ending {
        Ending::Interrupted => INTERRUPTED,
        Ending::Refused(_) => REFUSED,
        Ending::Done(_) if ending.is_success() && !is_lost => 0,
        Ending::Done(_) => 1,
    };
    show.say(&ending.sentence(show.seconds()));
    show.event(
        "finished",
        json!({
            "success": code == 0, "exit_code": code, "state": ending.state(),
            "outputs": outputs, "troubles": troubles,
        }),
    );
    Ok(Ended { code, is_lost })
}

fn read_workflow(path: &Path) -> Result<WorkflowDescription, NotRun> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => NotRun::Usage(vec![format!("there is no file {shown}")]),
        _ => NotRun::Failed(format!("{shown} cannot be read: {error}")),
    })?;
    formats::import_bytes(&bytes)
        .map_err(|error| NotRun::Failed(format!("{shown} cannot be used: {error}")))
}

fn read_inputs(arguments: &Arguments, workflow: &WorkflowDescription) -> Result<Inputs, NotRun> {
    let name = arguments
        .inputs
        .as_ref()
        .map(|path| path.display().to_string());
    let text = match &arguments.inputs {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            NotRun::Usage(vec![format!("{} cannot be read: {error}", path.display())])
        })?),
    };
    let folder = arguments.inputs.as_deref().and_then(Path::parent);
    let job = name
        .as_deref()
        .zip(text.as_deref())
        .map(|(name, text)| JobFile {
            name,
            text,
            folder: folder.unwrap_or(Path::new("")),
        });
    inputs::collect(workflow, job, &arguments.input).map_err(NotRun::Usage)
}

/// The options of a server, but never its data.
fn configuration(arguments: &Arguments, home: &Path) -> Result<Config, NotRun> {
    let mut flags = Flags::default();
    options::set_path(&mut flags, "data_dir", Some(home));
    let own = format!("sqlite://{}", home.join("barycenter.sqlite").display());
    let database = arguments.database_url.as_ref().unwrap_or(&own);
    flags.set("database_url", Some(database));
    arguments.load.add_to(&mut flags);
    let environment = Environment::of_process();
    if arguments.load.log_level.is_none() && environment.option("log_level").is_none() {
        // Progress is what a person wants to see.
        flags.set("log_level", Some("error"));
    }
    Config::read(arguments.config.as_deref(), &environment, &flags)
        .map_err(|faults| NotRun::Failed(faults.to_string()))
}

fn output_folder(arguments: &Arguments) -> PathBuf {
    if let Some(folder) = &arguments.output {
        return folder.clone();
    }
    let name = arguments
        .workflow
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let endings = [".ga", ".gxwf.yml", ".gxwf.yaml", ".yml", ".yaml", ".json"];
    let stem = endings
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(&name);
    PathBuf::from(format!("{stem}-results"))
}

/// Where the run keeps its data.
enum Home {
    Temporary(tempfile::TempDir),
    Named(PathBuf),
}

impl Home {
    fn open(arguments: &Arguments) -> Result<Home, NotRun> {
        if let Some(path) = &arguments.data_dir {
            return Ok(Home::Named(path.clone()));
        }
        let made = tempfile::Builder::new().prefix("barycenter-run-").tempdir();
        made.map(Home::Temporary).map_err(|error| {
            NotRun::Failed(format!(
                "no temporary directory could be made; give --data-dir DIR: {error}"
            ))
        })
    }

    fn path(&self) -> &Path {
        match self {
            Home::Temporary(folder) => folder.path(),
            Home::Named(path) => path,
        }
    }

    fn close(self, keep: bool) {
        let Home::Temporary(folder) = self else {
            return;
        };
        if keep {
            out::note(format_args!(
                "the data are kept in {}",
                folder.keep().display()
            ));
            return;
        }
        let path = folder.path().to_owned();
        if let Err(error) = folder.close() {
            out::note(format_args!(
                "{} could not be removed: {error}",
                path.display()
            ));
        }
    }
}
