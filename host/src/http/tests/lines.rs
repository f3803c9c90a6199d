//! A tool that takes some lines of a dataset, and a workflow around it, for tests that need something that can be invoked.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::seams::Seams;
use crate::tools::Toolbox;

const TOOL: &str = "
class: GalaxyTool
id: lines
name: Some lines
version: '1.0'
shell_command: head -n $(inputs.count) '$(inputs.source.path)' > out
inputs:
  - {name: source, type: data}
  - {name: count, type: integer, value: 3}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out}
";

/// What a server with this one tool is wired to, and the folder that the tool is in.
pub fn seams() -> (Seams, TempDir) {
    let tools = tempfile::tempdir().expect("a folder");
    std::fs::write(tools.path().join("lines.yml"), TOOL).expect("a tool file");
    let toolbox = Toolbox::new(vec![tools.path().to_owned()]);
    (Seams::unwired(Arc::new(toolbox)), tools)
}

pub fn step(id: usize, kind: &str, label: &str, state: Value, from: Value) -> Value {
    let is_tool = kind == "tool";
    json!({"id": id, "type": kind, "label": label, "name": kind, "tool_state": state.to_string(),
        "tool_id": is_tool.then_some("lines"), "tool_version": is_tool.then_some("1.0"),
        "input_connections": from, "workflow_outputs": [], "position": {"left": id * 10, "top": 0}})
}

/// A dataset `reads`, a number `n`, and the tool as `cut`.
pub fn workflow(name: &str) -> Value {
    let number = json!({"parameter_type": "integer", "default": 5});
    let source = json!({"source": {"id": 0, "output_name": "output"}});
    json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": name, "annotation": "", "steps": {
        "0": step(0, "data_input", "reads", json!({}), json!({})),
        "1": step(1, "parameter_input", "n", number, json!({})),
        "2": step(2, "tool", "cut", json!({"count": 4}), source),
    }})
}
