//! Workflows that several themes use, in format 2.

use std::path::Path;

/// A dataset is copied, waits for review, and is copied again.
pub const REVIEWED: &str = r"
class: GalaxyWorkflow
label: Reviewed copy
inputs:
  data: data
outputs:
  before: {outputSource: first/out}
  reviewed: {outputSource: review/output}
  after: {outputSource: second/out}
steps:
  first:
    tool_id: copy
    in: {input: data}
  review:
    type: pause
    in: {input: first/out}
  second:
    tool_id: copy
    in: {input: review/output}
";

/// The part of a script that waits until a file is there.
pub fn wait_for(file: &Path) -> String {
    format!("until [ -e {} ]; do sleep 0.02; done", file.display())
}

/// One step that runs `script` on the dataset `data`.
pub fn script(script: &str) -> String {
    steps(&[("work", script, "data")])
}

/// Steps of the tool `script`, each with its label, its script and where its input comes from: `data`, or
/// `LABEL/out`. What each writes to `out.txt` is the workflow output with its label.
pub fn steps(steps: &[(&str, &str, &str)]) -> String {
    let mut text = String::from("class: GalaxyWorkflow\ninputs:\n  data: data\noutputs:\n");
    for (label, ..) in steps {
        text += &format!("  {label}_out: {{outputSource: {label}/out}}\n");
    }
    text += "steps:\n";
    for (label, script, input) in steps {
        let script = serde_json::Value::from(*script);
        text += &format!(
            "  {label}:\n    tool_id: script\n    in: {{input: {input}}}\n    state: {{script: {script}}}\n"
        );
    }
    text
}

/// `count` steps that each append their label (`m0`, `m1`, …) to `marks` and sleep. Every fifth begins a chain, the
/// others follow the one before them.
pub fn marks(count: usize, marks: &Path, seconds: &str) -> String {
    let mut text = String::from("class: GalaxyWorkflow\ninputs: {}\noutputs:\n");
    for n in 0..count {
        text += &format!("  o{n}: {{outputSource: m{n}/out}}\n");
    }
    text += "steps:\n";
    for n in 0..count {
        let input = match n % 5 {
            0 => String::from("{}"),
            _ => format!("{{input: m{}/out}}", n - 1),
        };
        text += &format!(
            "  m{n}:\n    tool_id: mark\n    in: {input}\n    state: {{mark: m{n}, marks: {:?}, seconds: \"{seconds}\"}}\n",
            marks.display().to_string()
        );
    }
    text
}
