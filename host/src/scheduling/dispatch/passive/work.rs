//! What is handed out: jobs with their inputs, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use barycenter_plugin_api::passive::{DatasetRef, StepFacts, WantedOutput, Work};
use serde_json::Value;

use super::Passive;
use crate::model::revision::Revision;
use crate::scheduling::dispatch::directory::Before;
use crate::scheduling::dispatch::outcome::failed;
use crate::scheduling::dispatch::prepare::{self, Made, Prepared, Unwritten, Worked};
use crate::store::StoreError;
use crate::store::scheduling::jobs::{self, HandOver, ReadyJob};
use crate::store::scheduling::leases;
use crate::tools::expression::with_patience;
use crate::tools::inputs_json::{CollectionView, DataRef, DataView, DatasetView};

/// Jobs handed out at once; more come with the next renewal.
const WORK_MAX: usize = 500;
/// What users' scripts may take while a holder waits for its answer, which it does for 20 seconds.
const SCRIPTS: Duration = Duration::from_secs(8);

/// The time that is left for scripts in one answer, however many invocations it is about. What does not fit stays ready and is
/// handed out with a later one.
pub(super) struct ScriptTime(Duration);

impl ScriptTime {
    pub fn new() -> ScriptTime {
        ScriptTime(SCRIPTS)
    }

    /// Does `work` in what is left; None where it failed for want of time that another answer has for it.
    fn spend<T>(&mut self, work: impl FnOnce() -> T, is_fault: impl Fn(&T) -> bool) -> Option<T> {
        let left = self.0;
        let (done, took) = with_patience(left, work);
        self.0 = left.saturating_sub(took);
        let may_have_more = left < SCRIPTS && self.0.is_zero();
        (!may_have_more || !is_fault(&done)).then_some(done)
    }
}

impl Passive<'_> {
    /// Prepares the ready jobs of an invocation and records that the holder has them.
    pub(super) async fn hand_out(
        &self,
        invocation_id: i64,
        time: &mut ScriptTime,
    ) -> Result<Vec<Work>, StoreError> {
        let services = self.services;
        let mut reader = services.store.reader();
        let ready = leases::ready_of(&mut reader, invocation_id, WORK_MAX).await?;
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ready.iter().map(|job| job.id).collect();
        // Another server may have been meant to run them.
        leases::adopt(&services.store, self.holder().handler, &ids).await?;
        let steps = leases::steps_of(&mut reader, &ids).await?;
        let loaded = prepare::load(&mut reader, services, &ids).await?;
        let runner = leases::runner_name(self.scheduler);
        let made = {
            let (services, runner) = (services.clone(), runner.clone());
            let chosen = ready.into_iter().map(move |job| (job, Ok(runner.clone())));
            let mut left = ScriptTime(time.0);
            tokio::task::spawn_blocking(move || {
                // Whoever asks waits for it, and nobody else.
                let made = prepare::make_all(&services, chosen.collect(), loaded, |_, job| {
                    left.spend(|| prepare::work_out(job), Worked::is_fault)
                });
                (made, left)
            })
            .await
        };
        let Made {
            prepared,
            mut broken,
            mut no_room,
            // Both stay ready, for a later answer.
            slow: _,
            without_engine: _,
        } = match made {
            Ok((made, left)) => {
                *time = left;
                made
            }
            Err(error) => {
                tracing::error!("work could not be prepared: {error}");
                return Ok(Vec::new());
            }
        };
        let hand_overs: Vec<HandOver> = prepared
            .iter()
            .map(|(_, runner, job)| HandOver {
                job_id: job.dispatch.id,
                runner: runner.clone(),
                command_line: job.command_line().to_owned(),
                dataset_ids: job.dataset_ids(),
            })
            .collect();
        let taken = jobs::hand_over(
            &services.store,
            self.holder().handler,
            &hand_overs,
            self.now(),
        )
        .await?;
        let written = {
            let (services, now) = (services.clone(), self.now());
            // Somebody cancelled the others meanwhile, or they were handed out to somebody who asked at the same time.
            let mut handed = prepared;
            handed.retain(|(ready, ..)| taken.contains(&ready.id));
            tokio::task::spawn_blocking(move || {
                let mut back = Vec::new();
                let mut there = Vec::new();
                for (ready, _, job) in handed {
                    // Whoever had it before lost its lease, and what it says is not believed any more.
                    match prepare::write(&services, &job, ready.token, Before::Nobody) {
                        Ok(()) => there.push((ready, job)),
                        Err(Unwritten::Fault(text)) => {
                            broken.push(failed(&job.dispatch, &text, now));
                        }
                        Err(Unwritten::NoRoom(why)) => {
                            back.push(ready.id);
                            no_room = Some(why);
                        }
                    }
                }
                (there, broken, back, no_room)
            })
            .await
        };
        let (there, broken, back, no_room) = match written {
            Ok(written) => written,
            Err(error) => {
                tracing::error!("work could not be prepared: {error}");
                return Ok(Vec::new());
            }
        };
        if let Some(why) = no_room {
            // They are handed out when the holder asks again.
            tracing::error!("work is not handed out, as its directories cannot be written: {why}");
        }
        if !back.is_empty() {
            let handler = self.holder().handler;
            jobs::put_back(&services.store, handler, &back, self.now()).await?;
        }
        self.settle(broken).await?;
        let work = there.iter().map(|(ready, job)| {
            let step_id = steps.get(&ready.id).copied().unwrap_or(0);
            work(ready, job, step_id)
        });
        Ok(work.collect())
    }
}

fn work(ready: &ReadyJob, job: &Prepared, step_id: i64) -> Work {
    let outputs = job.dispatch.outputs.iter().map(|slot| WantedOutput {
        name: slot.name.clone(),
        extension: slot.extension.clone(),
        is_collection: false,
    });
    let collections = job.dispatch.output_collections.iter();
    let collections = collections.map(|slot| WantedOutput {
        name: slot.name.clone(),
        extension: String::new(),
        is_collection: true,
    });
    Work {
        job_id: ready.id as u64,
        step_id: step_id as u64,
        tool_id: job.dispatch.tool_id.clone(),
        tool_version: job.dispatch.tool_version.clone().unwrap_or_default(),
        parameters: job.dispatch.params.clone(),
        inputs: inputs(job),
        outputs: outputs.chain(collections).collect(),
        command_line: job.command_line().to_owned(),
        script_path: job.directory.join("script.sh").to_string_lossy().into(),
        directory: job.working_directory().to_string_lossy().into(),
        cores: job.cores,
        memory_mb: job.memory_mb,
        again: ready.attempt > 0,
    }
}

/// Every dataset among the parameters, collections one by one.
fn inputs(job: &Prepared) -> Vec<DatasetRef> {
    let mut found = Vec::new();
    walk(
        "",
        &job.dispatch.params,
        &mut |path, reference| match job.views.get(&reference) {
            Some(DataView::Dataset(view)) => {
                let id = match reference.src {
                    crate::tools::inputs_json::DataSource::Hda => reference.id,
                    _ => 0,
                };
                found.push(dataset(path, id, view));
            }
            Some(DataView::Collection(view)) => elements(path, "", view, &mut found),
            None => {}
        },
    );
    found
}

fn walk(path: &str, value: &Value, visit: &mut dyn FnMut(&str, DataRef)) {
    if let Some(reference) = DataRef::from_json(value) {
        return visit(path, reference);
    }
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}|{name}"),
    };
    match value {
        Value::Object(parts) => {
            for (name, part) in parts {
                walk(&below(name), part, visit);
            }
        }
        // The places in a list are not part of a parameter's name.
        Value::Array(parts) => parts.iter().for_each(|part| walk(path, part, visit)),
        _ => {}
    }
}

fn dataset(input: &str, hda_id: i64, view: &DatasetView) -> DatasetRef {
    DatasetRef {
        input: input.to_owned(),
        hda_id: hda_id as u64,
        name: view.name.clone(),
        extension: view.ext.clone(),
        size: view
            .size
            .and_then(|size| i64::try_from(size).ok())
            .unwrap_or(-1),
        path: view.path.clone(),
        element_identifier: view.element_identifier.clone().unwrap_or_default(),
    }
}

fn elements(input: &str, outer: &str, view: &CollectionView, found: &mut Vec<DatasetRef>) {
    for element in &view.elements {
        let identifier = match outer {
            "" => element.identifier.clone(),
            outer => format!("{outer}/{}", element.identifier),
        };
        match &element.object {
            DataView::Dataset(view) => found.push(DatasetRef {
                element_identifier: identifier,
                ..dataset(input, 0, view)
            }),
            DataView::Collection(view) => elements(input, &identifier, view, found),
        }
    }
}

/// A workflow's steps, with how far each is in one invocation.
pub(super) fn steps(
    revision: &Revision,
    states: &[(i64, String, Option<String>, i64)],
) -> Vec<StepFacts> {
    let steps = revision.description.steps.iter().map(|step| {
        let step_id = revision.step_ids[step.order_index];
        let mut state = String::new();
        let mut jobs = BTreeMap::new();
        for (_, step_state, job_state, count) in states.iter().filter(|row| row.0 == step_id) {
            state.clone_from(step_state);
            if let Some(job_state) = job_state {
                jobs.insert(job_state.clone(), u64::try_from(*count).unwrap_or(0));
            }
        }
        let connections = step.inputs.iter().flat_map(|input| {
            input.connections.iter().map(|from| {
                let before = from.output_step as u32;
                (input.name.clone(), before, from.output_name.clone())
            })
        });
        StepFacts {
            step_id: step_id as u64,
            order_index: step.order_index as u32,
            step_type: step.step_type.clone(),
            tool_id: step.tool_id.clone().unwrap_or_default(),
            tool_version: step.tool_version.clone().unwrap_or_default(),
            label: step.label.clone().unwrap_or_default(),
            definition: step.tool_inputs.clone(),
            connections: connections.collect(),
            state,
            jobs,
        }
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scripts_of_one_answer_have_one_limit_and_what_needs_more_waits_for_another() {
        let run = |time: &mut ScriptTime, milliseconds: u64| {
            let when = format!(
                "$((function () {{ const end = Date.now() + {milliseconds}; while (Date.now() < end) {{}} return 1; }})())"
            );
            let work = || crate::tools::expression::evaluate_when(&when, &Value::Null);
            let made = time.spend(work, Result::is_err);
            made.map(|made| made.is_ok())
        };
        let mut time = ScriptTime(Duration::from_millis(200));
        assert_eq!(run(&mut time, 50), Some(true));
        assert_eq!(run(&mut time, 9_000), None, "not now");
        assert!(time.0.is_zero());
        assert_eq!(run(&mut time, 1), None);
        assert_eq!(time.spend(|| 7, |_| false), Some(7), "without scripts");
        // A fault of its own is one in any case, and so is more than all the time that there is.
        let mut time = ScriptTime::new();
        assert_eq!(time.spend(|| 7, |_| true), Some(7));
        assert_eq!(time.0, SCRIPTS);
    }

    #[test]
    fn datasets_are_found_wherever_they_are_among_the_parameters() {
        let params = json!({
            "input": {"src": "hda", "id": 1},
            "cond": {"choice": "a", "more": [{"src": "hda", "id": 2}, {"src": "dce", "id": 3}]},
            "text": "no dataset",
        });
        let mut found = Vec::new();
        walk("", &params, &mut |path, reference| {
            found.push((path.to_owned(), reference.id));
        });
        let expected = [("input", 1), ("cond|more", 2), ("cond|more", 3)];
        assert_eq!(found, expected.map(|(path, id)| (path.to_owned(), id)));
    }
}
