//! What an invocation's JSON means to a person: pure functions over the server's answers.

use serde_json::Value;

/// A step of the workflow file, in the file's order.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub label: String,
    pub is_pause: bool,
    /// For a pause: the label of the step whose output is reviewed, and the output's name.
    pub reviews: Option<(String, String)>,
}

/// A pause that waits for a person, and the dataset that it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    pub label: String,
    pub step_id: String,
    pub dataset_id: String,
}

/// The labelled steps of a native workflow.
pub fn steps(workflow: &Value) -> Vec<Step> {
    let Some(steps) = workflow["steps"].as_object() else {
        return Vec::new();
    };
    let label_of = |id: &Value| -> Option<String> {
        let step = steps.values().find(|step| step["id"] == *id)?;
        step["label"].as_str().map(str::to_owned)
    };
    let mut ordered: Vec<&Value> = steps.values().collect();
    ordered.sort_by_key(|step| step["id"].as_u64());
    let described = ordered.into_iter().filter_map(|step| {
        let source = &step["input_connections"]["input"];
        let is_pause = step["type"] == "pause";
        let reviews = || {
            Some((
                label_of(&source["id"])?,
                source["output_name"].as_str()?.to_owned(),
            ))
        };
        Some(Step {
            label: step["label"].as_str()?.to_owned(),
            is_pause,
            reviews: if is_pause { reviews() } else { None },
        })
    });
    described.collect()
}

/// One line about each step, in the order of `steps`.
pub fn describe(steps: &[Step], invocation: &Value) -> Vec<String> {
    steps
        .iter()
        .map(|step| describe_step(step, reached(invocation, &step.label)))
        .collect()
}

/// The first pause that is reached and not yet decided, if the invocation still runs.
pub fn waiting(steps: &[Step], invocation: &Value) -> Option<Waiting> {
    if !matches!(invocation["state"].as_str(), Some("new" | "ready")) {
        return None;
    }
    steps.iter().filter(|step| step.is_pause).find_map(|step| {
        let pause = reached(invocation, &step.label)?;
        let (source, output) = step.reviews.as_ref()?;
        let dataset = &reached(invocation, source)?["outputs"][output];
        (pause["state"] == "scheduled" && pause["action"].is_null()).then_some(())?;
        Some(Waiting {
            label: step.label.clone(),
            step_id: pause["id"].as_str()?.to_owned(),
            dataset_id: dataset["id"].as_str()?.to_owned(),
        })
    })
}

/// True when nothing will move this invocation any more.
pub fn is_over(invocation: &Value) -> bool {
    matches!(
        invocation["state"].as_str(),
        Some("completed" | "failed" | "cancelled")
    )
}

/// Whether a finished invocation really did what it should: completed, and every job ok. Returns the number of jobs.
pub fn verdict(invocation: &Value, jobs_summary: &Value) -> Result<u64, String> {
    let messages = match invocation["messages"].as_array() {
        Some(messages) if !messages.is_empty() => format!(": {}", invocation["messages"]),
        _ => String::new(),
    };
    if invocation["state"] != "completed" {
        let state = invocation["state"].as_str().unwrap_or("in no state");
        return Err(format!(
            "the invocation is {state}, not completed{messages}"
        ));
    }
    let counts = counts(jobs_summary);
    let jobs: u64 = counts.iter().map(|(_, count)| count).sum();
    let bad: Vec<String> = counts
        .iter()
        .filter(|(state, _)| state != "ok")
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    match (jobs, bad.is_empty()) {
        (0, _) => Err("the invocation completed without a single job".to_owned()),
        (_, false) => Err(format!("not every job is ok: {}{messages}", bad.join(", "))),
        (_, true) => Ok(jobs),
    }
}

/// The jobs that ended in error: the step's label and the job's id.
pub fn failed_jobs(invocation: &Value) -> Vec<(String, String)> {
    let steps = invocation["steps"].as_array().into_iter().flatten();
    let jobs = steps.flat_map(|step| {
        let label = step["workflow_step_label"]
            .as_str()
            .unwrap_or("a step without label");
        let jobs = step["jobs"].as_array().into_iter().flatten();
        jobs.filter(|job| job["state"] == "error")
            .map(move |job| (label, job))
    });
    jobs.filter_map(|(label, job)| Some((label.to_owned(), job["id"].as_str()?.to_owned())))
        .collect()
}

/// The labelled outputs: label and dataset id.
pub fn outputs(invocation: &Value) -> Vec<(String, String)> {
    let outputs = invocation["outputs"].as_object().into_iter().flatten();
    outputs
        .filter_map(|(label, output)| Some((label.clone(), output["id"].as_str()?.to_owned())))
        .collect()
}

/// The first lines of a text, its tab-separated columns aligned, with a last line that says how many more there are.
pub fn first_lines(text: &str, limit: usize) -> String {
    let rows: Vec<Vec<&str>> = text
        .lines()
        .take(limit)
        .map(|line| line.split('\t').collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("    {}", cells.join("  ")).trim_end().to_owned()
        })
        .collect();
    let more = text.lines().count().saturating_sub(limit);
    if more > 0 {
        shown.push(format!("    … {more} more lines"));
    }
    shown.join("\n")
}

fn reached<'a>(invocation: &'a Value, label: &str) -> Option<&'a Value> {
    invocation["steps"]
        .as_array()?
        .iter()
        .find(|step| step["workflow_step_label"] == label)
}

fn describe_step(step: &Step, reached: Option<&Value>) -> String {
    let Some(reached) = reached else {
        return "not reached".to_owned();
    };
    let state = reached["state"].as_str().unwrap_or("new");
    if step.is_pause {
        return match (state, reached["action"].as_bool()) {
            (_, Some(true)) => "approved".to_owned(),
            (_, Some(false)) => "refused".to_owned(),
            ("scheduled", None) => "waits for review".to_owned(),
            (state, None) => state.to_owned(),
        };
    }
    let mut jobs: Vec<(String, u64)> = Vec::new();
    for job in reached["jobs"].as_array().into_iter().flatten() {
        let state = job["state"].as_str().unwrap_or("unknown");
        match jobs.iter_mut().find(|(known, _)| known == state) {
            Some((_, count)) => *count += 1,
            None => jobs.push((state.to_owned(), 1)),
        }
    }
    if jobs.is_empty() {
        return state.to_owned();
    }
    let jobs: Vec<String> = jobs
        .iter()
        .map(|(state, count)| {
            format!(
                "{count} {} {state}",
                if *count == 1 { "job" } else { "jobs" }
            )
        })
        .collect();
    format!("{state}, {}", jobs.join(", "))
}

/// The states with at least one job.
fn counts(jobs_summary: &Value) -> Vec<(String, u64)> {
    let states = jobs_summary["states"].as_object().into_iter().flatten();
    let counted = states.map(|(state, count)| (state.clone(), count.as_u64().unwrap_or(0)));
    counted.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow() -> Value {
        json!({"steps": {
            "10": {"id": 10, "type": "tool", "label": "Call"},
            "2": {"id": 2, "type": "pause", "label": "Review", "input_connections": {"input": {"id": 1, "output_name": "out"}}},
            "0": {"id": 0, "type": "data_input", "label": null},
            "1": {"id": 1, "type": "tool", "label": "Clean"},
        }})
    }

    fn invocation(state: &str, action: Value) -> Value {
        json!({"state": state, "messages": [], "steps": [
            {"id": "s1", "workflow_step_label": "Clean", "state": "scheduled",
             "outputs": {"out": {"src": "hda", "id": "d1"}}, "jobs": [{"state": "ok"}, {"state": "running"}, {"state": "ok"}]},
            {"id": "s2", "workflow_step_label": "Review", "state": "scheduled", "action": action, "jobs": []},
        ]})
    }

    #[test]
    fn labelled_steps_are_listed_in_numerical_order() {
        let labels: Vec<String> = steps(&workflow())
            .into_iter()
            .map(|step| step.label)
            .collect();
        assert_eq!(labels, ["Clean", "Review", "Call"]);
        assert_eq!(
            steps(&workflow())[1].reviews,
            Some(("Clean".into(), "out".into()))
        );
        assert!(steps(&json!({})).is_empty());
    }

    #[test]
    fn each_step_is_described_with_its_jobs() {
        let check = |action: Value, review: &str| {
            let lines = describe(&steps(&workflow()), &invocation("ready", action));
            assert_eq!(
                lines,
                ["scheduled, 2 jobs ok, 1 job running", review, "not reached"]
            );
        };
        check(Value::Null, "waits for review");
        check(json!(true), "approved");
        check(json!(false), "refused");
    }

    #[test]
    fn a_pause_waits_until_somebody_decides_or_the_invocation_ends() {
        let check = |state: &str, action: Value, waits: bool| {
            let found = waiting(&steps(&workflow()), &invocation(state, action));
            assert_eq!(found.is_some(), waits, "{state}: {found:?}");
        };
        check("ready", Value::Null, true);
        check("ready", json!(true), false);
        check("ready", json!(false), false);
        check("cancelled", Value::Null, false);
        let found = waiting(&steps(&workflow()), &invocation("ready", Value::Null));
        let expected = Waiting {
            label: "Review".into(),
            step_id: "s2".into(),
            dataset_id: "d1".into(),
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn only_a_completed_invocation_whose_jobs_are_all_ok_passes() {
        let check = |state: &str, states: Value, expected: Result<u64, &str>| {
            let found = verdict(
                &json!({"state": state, "messages": []}),
                &json!({"states": states}),
            );
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check("completed", json!({"ok": 7, "error": 0}), Ok(7));
        check(
            "completed",
            json!({"ok": 6, "error": 1}),
            Err("not every job is ok: 1 error"),
        );
        check(
            "completed",
            json!({}),
            Err("the invocation completed without a single job"),
        );
        check(
            "scheduled",
            json!({"ok": 7}),
            Err("the invocation is scheduled, not completed"),
        );
        let failed = json!({"state": "failed", "messages": [{"reason": "job_failed"}]});
        let told = verdict(&failed, &json!({"states": {}})).unwrap_err();
        assert!(told.contains("job_failed"), "{told}");
    }

    #[test]
    fn the_jobs_that_failed_are_named() {
        let invocation = json!({"steps": [
            {"workflow_step_label": "Clean", "jobs": [{"id": "j1", "state": "ok"}, {"id": "j2", "state": "error"}]},
            {"workflow_step_label": "Call", "jobs": []},
        ]});
        assert_eq!(
            failed_jobs(&invocation),
            [("Clean".to_owned(), "j2".to_owned())]
        );
    }

    #[test]
    fn long_texts_are_cut_and_aligned() {
        let check = |text: &str, expected: &str| assert_eq!(first_lines(text, 2), expected);
        check(
            "a\tbb\nccc\td\ne\tf\ng\n",
            "    a    bb\n    ccc  d\n    … 2 more lines",
        );
        check("one\n", "    one");
        check("", "");
    }
}
