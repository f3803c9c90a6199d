//! `cargo xtask demo`: a server, a user, a real workflow with a review in the middle, and its results.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::galaxy::{Galaxy, text};
use crate::progress::Progress;
use crate::review::{self, Reviewer};
use crate::run_state::{self, Step, Waiting};
use crate::server::Server;
use crate::{build, interrupt, secret, workspace};

#[derive(clap::Args)]
pub struct Options {
    /// Stop the server at the end; succeed only if the workflow completed and every job is ok
    #[arg(long)]
    exit: bool,
    /// Approve at the pause without asking
    #[arg(long)]
    yes: bool,
    /// Build with optimisation
    #[arg(long)]
    release: bool,
}

/// Nothing visible happens for so long: something is wrong. Waiting for a person does not count.
const STALL_SECONDS: u64 = 120;
const POLL: Duration = Duration::from_millis(200);
/// Lines shown of a dataset.
const LINES_SHOWN: usize = 16;

pub fn run(options: &Options) -> Result<()> {
    let program = build::server(options.release)?;
    let home = program
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("target"))
        .join("demo");
    fs::create_dir_all(&home).map_err(Failure::during(format!("create {}", home.display())))?;
    let folder = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&home)
        .map_err(Failure::during(format!(
            "create a folder in {}",
            home.display()
        )))?;

    let outcome = run_in(options, &program, folder.path());
    match &outcome {
        // What the server left behind explains the failure.
        Err(Failure::Interrupted) | Ok(()) => {
            folder
                .close()
                .map_err(Failure::during("remove the demo's data"))?;
        }
        Err(_) => eprintln!(
            "the data and the log are kept in {}",
            folder.keep().display()
        ),
    }
    outcome
}

fn run_in(options: &Options, program: &Path, folder: &Path) -> Result<()> {
    let bootstrap_key = secret()?;
    let log = folder.join("server.log");
    let mut server = Server::start(command(program, &folder.join("data"), &bootstrap_key), &log)?;
    println!("server {} (log: {})", server.url, log.display());

    let outcome = demonstrate(options, &mut server, &bootstrap_key);
    match outcome {
        Ok(()) if options.exit => {
            server.stop()?;
            println!("the server is stopped");
            Ok(())
        }
        Ok(()) => serve(server),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => {
            // A dead server explains more than the call that did not reach it.
            server.check()?;
            let log = server.log_tail();
            if !log.is_empty() {
                eprintln!("the end of the server's log:\n{log}\n");
            }
            Err(failure)
        }
    }
}

/// The key travels in the environment: a command line can be read by everybody on the machine.
fn command(program: &Path, data: &Path, bootstrap_key: &str) -> Command {
    let root = workspace();
    let mut command = Command::new(program);
    command
        .current_dir(&root)
        .env("BARYCENTER_BOOTSTRAP_ADMIN_API_KEY", bootstrap_key);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data);
    command.arg("--plugins").arg(root.join("plugins.toml"));
    command
        .arg("--tool-dir")
        .arg(root.join("examples/lambda/tools"));
    command
}

fn demonstrate(options: &Options, server: &mut Server, bootstrap_key: &str) -> Result<()> {
    let admin = Galaxy::new(&server.url, bootstrap_key);
    let key = admin.create_user("demo", "demo@example.org", &secret()?)?;
    let galaxy = Galaxy::new(&server.url, &key);

    let penguins = workflow("examples/penguins/penguins.ga")?;
    let workflow_id = galaxy.import_workflow(&penguins)?;
    println!(
        "imported examples/penguins/penguins.ga: {}",
        text(&penguins, "annotation")?
    );
    galaxy.import_workflow(&workflow("examples/lambda/lambda.ga")?)?;
    println!("imported examples/lambda/lambda.ga (to run it: examples/lambda/README.md)");

    let history = galaxy.create_history("Penguins")?;
    let table = read("examples/penguins/penguins.tsv")?;
    let dataset = galaxy.upload_text(&history, "penguins.tsv", "tabular", &table)?;
    println!("uploaded penguins.tsv ({} lines)", table.lines().count());

    let inputs =
        json!({"Measurements": {"src": "hda", "id": dataset}, "Species to rank": "Gentoo"});
    let id = galaxy.invoke(&workflow_id, &history, &inputs)?;
    println!("invocation {id}\n");

    let run = Run {
        galaxy: &galaxy,
        id: &id,
        steps: run_state::steps(&penguins),
    };
    let end = run.follow(server, Reviewer::choose(options.yes), options.exit)?;
    let jobs = run_state::verdict(&end, &galaxy.jobs_summary(&id)?);
    if let Ok(jobs) = &jobs {
        println!("\ncompleted: {jobs} jobs, all ok");
        show_outputs(&galaxy, &end)?;
    }
    if !options.exit {
        where_to_look(&galaxy, &id, &history);
    }
    match jobs {
        Ok(_) => Ok(()),
        // A person's refusal is an outcome to look at, not a fault, unless success was asked for.
        Err(_) if !options.exit && end["state"] == "cancelled" => Ok(()),
        Err(problem) => {
            for (label, job) in run_state::failed_jobs(&end) {
                eprintln!(
                    "\nstderr of “{label}”, job {job}:\n{}",
                    galaxy.job_stderr(&job)?
                );
            }
            Err(Failure::told(problem))
        }
    }
}

struct Run<'a> {
    galaxy: &'a Galaxy,
    id: &'a str,
    steps: Vec<Step>,
}

impl Run<'_> {
    /// Shows the steps until the invocation is over, with a review at each pause. Returns its last state.
    fn follow(&self, server: &mut Server, reviewer: Reviewer, exit: bool) -> Result<Value> {
        let labels = self.steps.iter().map(|step| step.label.clone()).collect();
        let mut progress = Progress::new(labels);
        let mut told_elsewhere: Option<Waiting> = None;
        let mut moved = Instant::now();
        loop {
            server.check()?;
            let invocation = self.galaxy.invocation(self.id)?;
            if progress.show(&run_state::describe(&self.steps, &invocation)) {
                moved = Instant::now();
            }
            if run_state::is_over(&invocation) {
                progress.rest();
                return Ok(invocation);
            }
            let waiting = run_state::waiting(&self.steps, &invocation);
            match waiting.filter(|waiting| told_elsewhere.as_ref() != Some(waiting)) {
                Some(waiting) if self.is_ready(&waiting)? => {
                    progress.rest();
                    self.review(&waiting, reviewer, exit)?;
                    told_elsewhere = (reviewer == Reviewer::Elsewhere).then_some(waiting);
                    moved = Instant::now();
                }
                _ => {}
            }
            if told_elsewhere.is_none() && moved.elapsed() > Duration::from_secs(STALL_SECONDS) {
                let state = invocation["state"].as_str().unwrap_or("in no state");
                return Err(Failure::told(format!(
                    "the invocation is {state} and nothing happened for {STALL_SECONDS} s"
                )));
            }
            interrupt::sleep(POLL)?;
        }
    }

    /// Whether the reviewed dataset can be looked at; fails if it never will be.
    fn is_ready(&self, waiting: &Waiting) -> Result<bool> {
        let dataset = self.galaxy.dataset(&waiting.dataset_id)?;
        match dataset["state"].as_str() {
            Some("ok") => Ok(true),
            Some(bad @ ("error" | "discarded" | "paused" | "failed_metadata")) => {
                Err(Failure::told(format!(
                    "“{}” has nothing to show: the dataset {} is in state {bad}",
                    waiting.label, dataset["name"]
                )))
            }
            _ => Ok(false),
        }
    }

    fn review(&self, waiting: &Waiting, reviewer: Reviewer, exit: bool) -> Result<()> {
        let dataset = self.galaxy.dataset(&waiting.dataset_id)?;
        let content = self.galaxy.content(&waiting.dataset_id)?;
        println!("\n{}", waiting.label);
        println!(
            "  {} ({} bytes):",
            dataset["name"].as_str().unwrap_or("dataset"),
            content.len()
        );
        println!("{}\n", run_state::first_lines(&content, LINES_SHOWN));
        let approve = match reviewer {
            Reviewer::Always => {
                println!("approved by --yes\n");
                true
            }
            Reviewer::Person => review::ask()?,
            Reviewer::Elsewhere => {
                println!("there is no terminal to ask on; approve with --yes, or so:");
                println!("  {}\n", review::by_curl(self.galaxy, self.id, waiting));
                return if exit {
                    Err(Failure::told("nobody was there to approve the data"))
                } else {
                    Ok(())
                };
            }
        };
        self.galaxy.act(self.id, &waiting.step_id, approve)?;
        Ok(())
    }
}

/// Serves until Ctrl-C.
fn serve(mut server: Server) -> Result<()> {
    println!("\nserving until Ctrl-C");
    while !interrupt::requested() {
        server.check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop()?;
    println!("the server is stopped");
    Ok(())
}

fn show_outputs(galaxy: &Galaxy, invocation: &Value) -> Result<()> {
    for (label, id) in run_state::outputs(invocation) {
        println!("\n{label}");
        println!(
            "{}",
            run_state::first_lines(&galaxy.content(&id)?, LINES_SHOWN)
        );
    }
    Ok(())
}

fn where_to_look(galaxy: &Galaxy, invocation: &str, history: &str) {
    let Galaxy { url, key, .. } = galaxy;
    println!("\nwhere to look");
    println!("  server      {url}");
    println!("  API key     {key} (user demo)");
    for path in [
        format!("/api/invocations/{invocation}?step_details=true"),
        format!("/api/invocations/{invocation}/jobs_summary"),
        format!("/api/histories/{history}/contents"),
        "/api/workflows".to_owned(),
    ] {
        println!("  curl -H 'x-api-key: {key}' '{url}{path}'");
    }
}

fn workflow(path: &str) -> Result<Value> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Failure::told(format!("{path} is not JSON: {error}")))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace().join(path)).map_err(Failure::during(format!("read {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_penguins_workflow_has_the_inputs_and_the_review_that_the_demo_counts_on() {
        let workflow = workflow("examples/penguins/penguins.ga").unwrap();
        let steps = run_state::steps(&workflow);
        let labels: Vec<&str> = steps.iter().map(|step| step.label.as_str()).collect();
        assert_eq!(labels[..2], ["Measurements", "Species to rank"]);
        let pauses: Vec<&Step> = steps.iter().filter(|step| step.is_pause).collect();
        assert_eq!(pauses.len(), 1);
        assert_eq!(
            pauses[0].reviews,
            Some(("Keep five columns".into(), "out_file1".into()))
        );
    }

    #[test]
    fn the_penguins_are_all_there() {
        let table = read("examples/penguins/penguins.tsv").unwrap();
        assert_eq!(table.lines().count(), 345);
        assert!(table.lines().all(|line| line.split('\t').count() == 8));
    }

    #[test]
    fn the_lambda_workflow_names_only_tools_that_are_in_its_folder() {
        let lambda = workflow("examples/lambda/lambda.ga").unwrap();
        let tools = lambda["steps"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|step| step["tool_id"].as_str());
        let files: Vec<String> = tools
            .map(|tool| format!("examples/lambda/tools/{tool}.yml"))
            .collect();
        assert_eq!(files.len(), 8);
        for file in files {
            assert!(
                read(&file).unwrap().starts_with("class: GalaxyTool\n"),
                "{file}"
            );
        }
    }
}
