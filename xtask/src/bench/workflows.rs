//! The tools and workflows that are measured.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};

/// Writes the tools' files. `starts` is where `bench_clock` notes, in nanoseconds since 1970, when it runs.
pub fn write_tools(folder: &Path, starts: &Path) -> Result<()> {
    let clock = format!("date +%s%N >> '{}'; echo x > out.txt", starts.display());
    for (id, command, has_input) in [
        ("bench_write", "echo x > out.txt", false),
        ("bench_map", "echo x > out.txt", true),
        ("bench_cat", "cat '$(inputs.input.path)' > out.txt", true),
        ("bench_clock", &clock, false),
        ("bench_clock_after", &clock, true),
    ] {
        write_tool(folder, id, command, has_input)?;
    }
    Ok(())
}

/// Writes one tool's file.
pub fn write_tool(folder: &Path, id: &str, command: &str, has_input: bool) -> Result<()> {
    fs::create_dir_all(folder).map_err(Failure::during(format!("create {}", folder.display())))?;
    let path = folder.join(format!("{id}.yml"));
    // JSON is YAML, and quotes the command for us.
    fs::write(&path, format!("{:#}\n", tool(id, command, has_input)))
        .map_err(Failure::during(format!("write {}", path.display())))
}

fn tool(id: &str, command: &str, has_input: bool) -> Value {
    let input = json!({"name": "input", "type": "data", "format": ["data"]});
    let inputs: Vec<Value> = has_input.then_some(input).into_iter().collect();
    json!({
        "class": "GalaxyTool", "id": id, "name": id, "version": "1.0", "shell_command": command,
        "inputs": inputs,
        "outputs": [{"name": "out", "type": "data", "format": "txt", "from_work_dir": "out.txt"}],
    })
}

/// `count` steps that depend on nothing.
pub fn independent(count: u32) -> Value {
    workflow(
        "independent",
        (0..count)
            .map(|id| tool_step(id, "bench_write", None))
            .collect(),
    )
}

/// `steps` steps, each mapped over the list that is the workflow's input `list`.
pub fn mapped(steps: u32) -> Value {
    mapped_by("bench_map", steps)
}

/// `tools` steps, the first mapped over the workflow's input `list` and each of the others over the results before it.
pub fn mapped_chain(tools: u32) -> Value {
    let mut workflow = mapped_by("bench_cat", tools);
    for id in 2..=tools {
        let before = json!({"id": id - 1, "output_name": "out"});
        workflow["steps"][id.to_string()]["input_connections"]["input"] = before;
    }
    workflow
}

/// A chain of `count` steps and, if there are `levels` left, a subworkflow that goes on with its result and has one inside.
pub fn nested(levels: u32, count: u32) -> Value {
    level(levels, count, false)
}

fn level(levels: u32, count: u32, is_inner: bool) -> Value {
    let mut steps = Vec::new();
    if is_inner {
        steps.push(json!({
            "id": 0, "type": "data_input", "label": "data", "name": "Input dataset",
            "tool_state": "{\"optional\": false}", "input_connections": {},
        }));
    }
    for _ in 0..count {
        let id = steps.len() as u32;
        steps.push(match (id, is_inner) {
            (0, _) => tool_step(id, "bench_write", None),
            (1, true) => tool_step(id, "bench_cat", Some((0, "output"))),
            _ => tool_step(id, "bench_cat", Some((id - 1, "out"))),
        });
    }
    if levels > 1 {
        let id = steps.len();
        steps.push(json!({
            "id": id, "type": "subworkflow", "name": "inner", "label": "inner", "tool_id": null, "tool_state": "{}",
            "subworkflow": level(levels - 1, count, true),
            "input_connections": {"data": {"id": id - 1, "output_name": "out", "input_subworkflow_step_id": 0}},
        }));
    }
    workflow("nested", steps)
}

/// As [`mapped`], with this tool.
pub fn mapped_by(tool: &str, steps: u32) -> Value {
    let list = json!({
        "id": 0, "type": "data_collection_input", "label": "list", "name": "Input dataset collection",
        "tool_state": json!({"collection_type": "list", "optional": false}).to_string(), "input_connections": {},
    });
    let tools = (1..=steps).map(|id| tool_step(id, tool, Some((0, "output"))));
    workflow("mapped", std::iter::once(list).chain(tools).collect())
}

/// `count` steps that each copy the result of the one before.
pub fn chain(count: u32) -> Value {
    let step = |id: u32| match id.checked_sub(1) {
        None => tool_step(id, "bench_write", None),
        Some(before) => tool_step(id, "bench_cat", Some((before, "out"))),
    };
    workflow("chain", (0..count).map(step).collect())
}

/// One step that notes when it runs.
pub fn clock() -> Value {
    workflow("clock", vec![tool_step(0, "bench_clock", None)])
}

/// The input `data`, a pause, and a step that notes when it runs.
pub fn reviewed() -> Value {
    let data = json!({
        "id": 0, "type": "data_input", "label": "data", "name": "Input dataset",
        "tool_state": "{\"optional\": false}", "input_connections": {},
    });
    let pause = json!({
        "id": 1, "type": "pause", "label": "review", "name": "Pause for dataset review", "tool_state": "{}",
        "input_connections": {"input": {"id": 0, "output_name": "output"}},
    });
    let after = tool_step(2, "bench_clock_after", Some((1, "output")));
    workflow("reviewed", vec![data, pause, after])
}

fn tool_step(id: u32, tool: &str, input: Option<(u32, &str)>) -> Value {
    let connections = match input {
        Some((step, output)) => json!({"input": {"id": step, "output_name": output}}),
        None => json!({}),
    };
    json!({
        "id": id, "type": "tool", "name": tool, "label": null, "tool_id": tool, "content_id": tool, "tool_version": "1.0",
        "tool_state": "{}", "input_connections": connections,
    })
}

fn workflow(name: &str, steps: Vec<Value>) -> Value {
    let steps: Map<String, Value> = steps
        .into_iter()
        .enumerate()
        .map(|(position, step)| (position.to_string(), step))
        .collect();
    json!({
        "a_galaxy_workflow": "true", "format-version": "0.1", "name": format!("Benchmark: {name}"),
        "annotation": "", "steps": steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_connected_from_end_to_end() {
        let chain = chain(3);
        assert_eq!(chain["steps"]["0"]["input_connections"], json!({}));
        for id in 1..3 {
            let from = &chain["steps"][id.to_string()]["input_connections"]["input"]["id"];
            assert_eq!(*from, json!(id - 1));
        }
    }

    #[test]
    fn the_tools_are_files_of_galaxys_kind() {
        let folder = tempfile::tempdir().unwrap();
        write_tools(folder.path(), Path::new("/s")).unwrap();
        let text = fs::read_to_string(folder.path().join("bench_clock.yml")).unwrap();
        let tool: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(tool["class"], "GalaxyTool");
        assert_eq!(
            tool["shell_command"],
            "date +%s%N >> '/s'; echo x > out.txt"
        );
    }
}
