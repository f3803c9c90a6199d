//! What a request gives that means nothing in its workflow. Galaxy ignores it, so it is ignored here; but whoever asked is
//! told, as it is a mistyped name more often than not.

use serde_json::{Map, Value};

use crate::model::workflow::WorkflowDescription;

/// Names that a warning repeats, and characters of each.
const NAMES_MAX: usize = 20;
const NAME_MAX: usize = 100;

/// One sentence for keys of `inputs` that mean no input step. `inputs_by` is how they were read.
pub fn inputs(
    description: &WorkflowDescription,
    unknown: &[&str],
    inputs_by: &str,
) -> Option<String> {
    if unknown.is_empty() {
        return None;
    }
    let known = description.input_steps().map(|step| {
        let label = step.effective_label().map(quoted);
        format!(
            "{} ({})",
            label.as_deref().unwrap_or("no label"),
            step.order_index
        )
    });
    let known = match list(known) {
        empty if empty.is_empty() => "It has no inputs.".to_owned(),
        known => format!("Its inputs, with their step_index: {known}."),
    };
    let unknown = list(unknown.iter().map(|name| quoted(name)));
    Some(format!(
        "No input of the workflow is called {unknown} (inputs_by is {inputs_by}), so what was given for that was ignored. {known}"
    ))
}

/// One sentence for keys of `parameters` that mean no step.
pub fn parameters(
    description: &WorkflowDescription,
    parameters: &Map<String, Value>,
    normalized: bool,
) -> Option<String> {
    let is_known = |key: &str| {
        description.steps.iter().any(|step| {
            let uuid = || step.uuid.is_some_and(|uuid| uuid.to_string() == key);
            step.order_index.to_string() == key
                || !normalized && (step.tool_id.as_deref() == Some(key) || uuid())
        })
    };
    let unknown: Vec<&String> = parameters.keys().filter(|key| !is_known(key)).collect();
    if unknown.is_empty() {
        return None;
    }
    let wanted = match normalized {
        true => "the step_index of a step",
        false => "the step_index or uuid of a step, or the id of a tool",
    };
    Some(format!(
        "No step of the workflow is meant by {} in parameters (a key is {wanted}), so what was given for that was ignored.",
        list(unknown.iter().map(|name| quoted(name)))
    ))
}

fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().take(NAME_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn list(names: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = names.take(NAMES_MAX + 1).collect();
    if shown.len() > NAMES_MAX {
        shown[NAMES_MAX] = "and others".to_owned();
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::workflow::StepDescription;

    fn workflow() -> WorkflowDescription {
        let step = |order_index, step_type: &str, label: Option<&str>| StepDescription {
            order_index,
            step_type: step_type.to_owned(),
            label: label.map(str::to_owned),
            ..Default::default()
        };
        let mut tool = step(2, "tool", Some("count"));
        tool.tool_id = Some("wc".to_owned());
        WorkflowDescription {
            steps: vec![
                step(0, "data_input", Some("Reads")),
                step(1, "data_input", None),
                tool,
            ],
            ..Default::default()
        }
    }

    #[test]
    fn what_means_no_input_is_named_with_what_there_is() {
        assert_eq!(inputs(&workflow(), &[], "name"), None);
        assert_eq!(
            inputs(&workflow(), &["Raeds", "x\n"], "name").as_deref(),
            Some(
                "No input of the workflow is called \"Raeds\", \"x\\n\" (inputs_by is name), so what was given for that was \
                 ignored. Its inputs, with their step_index: \"Reads\" (0), no label (1)."
            )
        );
        let many: Vec<String> = (0..500)
            .map(|n| format!("{n}{}", "x".repeat(300)))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = inputs(&workflow(), &many, "name").expect("a sentence");
        assert!(told.len() < 4_000 && told.contains("and others"), "{told}");
    }

    #[test]
    fn parameters_are_keyed_by_place_uuid_or_tool() {
        let given = |value: Value| value.as_object().cloned().expect("an object");
        let fits = given(json!({"2": {}, "wc": {}}));
        assert_eq!(parameters(&workflow(), &fits, false), None);
        let told = parameters(&workflow(), &fits, true).expect("a sentence");
        assert!(told.contains("\"wc\"") && !told.contains("\"2\""), "{told}");
        let told = parameters(&workflow(), &given(json!({"7": {}})), false);
        assert!(told.is_some_and(|told| told.contains("\"7\"")));
    }
}
