//! The strict form of a tool's inputs (Galaxy's request state, `POST /api/jobs`): nested, every value in its own type, and
//! nothing that the tool does not have. What is not said takes its default.

use serde_json::{Map, Value, json};

use crate::tools::Tool;
use crate::tools::model::{Input, InputKind};
use crate::tools::parameters::{ParameterError, active_branch};

/// Groups nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// The inputs with batches in the form that [`super::tool_request::runs`] reads, or every fault by its path.
pub fn read(
    tool: &Tool,
    inputs: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<ParameterError>> {
    let mut faults = Vec::new();
    let read = group(&tool.inputs, inputs, "", 0, &mut faults);
    match faults.is_empty() {
        true => Ok(read),
        false => Err(faults),
    }
}

fn fault(faults: &mut Vec<ParameterError>, name: String, message: impl Into<String>) {
    faults.push(ParameterError {
        name,
        message: message.into(),
    });
}

fn group(
    inputs: &[Input],
    given: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    faults: &mut Vec<ParameterError>,
) -> Map<String, Value> {
    let mut read = Map::with_capacity(given.len());
    if depth > DEPTH_MAX {
        fault(
            faults,
            prefix.trim_end_matches('|').to_owned(),
            "nested too deeply",
        );
        return read;
    }
    for (name, value) in given {
        let path = format!("{prefix}{name}");
        match inputs.iter().find(|input| input.name == *name) {
            None => fault(faults, path, "the tool has no such input"),
            Some(input) => {
                let value = one(input, value, path, depth, faults);
                read.insert(name.clone(), value);
            }
        }
    }
    read
}

fn one(
    input: &Input,
    value: &Value,
    path: String,
    depth: usize,
    faults: &mut Vec<ParameterError>,
) -> Value {
    match (&input.kind, value) {
        (InputKind::Section { inputs }, Value::Object(given)) => {
            Value::Object(group(inputs, given, &format!("{path}|"), depth + 1, faults))
        }
        (InputKind::Repeat { inputs, .. }, Value::Array(items)) => {
            let items = items.iter().enumerate().map(|(n, item)| match item {
                Value::Object(given) => {
                    let prefix = format!("{path}_{n}|");
                    Value::Object(group(inputs, given, &prefix, depth + 1, faults))
                }
                _ => {
                    fault(faults, format!("{path}_{n}"), "an object is needed here");
                    Value::Null
                }
            });
            Value::Array(items.collect())
        }
        (InputKind::Conditional { test, whens }, Value::Object(given)) => {
            let mut inputs = vec![(**test).clone()];
            let chosen = given
                .get(&test.name)
                .and_then(|value| active_branch(whens, value));
            let branch = chosen.or_else(|| {
                let default = crate::tools::parameters::default_value(test);
                active_branch(whens, &default).filter(|_| !given.contains_key(&test.name))
            });
            inputs.extend(branch.iter().flat_map(|when| when.inputs.clone()));
            Value::Object(group(
                &inputs,
                given,
                &format!("{path}|"),
                depth + 1,
                faults,
            ))
        }
        (
            InputKind::Section { .. } | InputKind::Repeat { .. } | InputKind::Conditional { .. },
            _,
        ) => {
            fault(faults, path, "a group of inputs is needed here");
            Value::Null
        }
        (_, Value::Object(object)) if object.get("__class__") == Some(&json!("Batch")) => {
            batch(input, object, path, faults)
        }
        _ => {
            if let Err(why) = leaf(input, value) {
                fault(faults, path, why);
            }
            value.clone()
        }
    }
}

fn batch(
    input: &Input,
    batch: &Map<String, Value>,
    path: String,
    faults: &mut Vec<ParameterError>,
) -> Value {
    if batch.get("linked") == Some(&Value::Bool(false)) {
        fault(
            faults,
            path,
            "batches are gone through side by side; for every combination there are the cross product tools",
        );
        return Value::Null;
    }
    let Some(values) = batch.get("values").and_then(Value::as_array) else {
        fault(faults, path, "a batch has a list of values");
        return Value::Null;
    };
    for value in values {
        // A collection in a batch is mapped over, whatever the input takes.
        let mapped =
            value.get("src") == Some(&json!("hdca")) && reference(value, &["hdca"]).is_ok();
        if !mapped && let Err(why) = leaf(input, value) {
            fault(faults, path.clone(), why);
        }
    }
    json!({"batch": true, "values": values})
}

fn leaf(input: &Input, value: &Value) -> Result<(), &'static str> {
    if value.is_null() {
        return match input.optional {
            true => Ok(()),
            false => Err("null is only for optional inputs"),
        };
    }
    let needed = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    match &input.kind {
        InputKind::Boolean { .. } => needed(value.is_boolean(), "a boolean is needed here"),
        InputKind::Integer { .. } => needed(value.is_i64(), "an integer is needed here"),
        InputKind::Float { .. } => needed(value.is_number(), "a number is needed here"),
        InputKind::Text { .. } | InputKind::Color { .. } => {
            needed(value.is_string(), "a text is needed here")
        }
        InputKind::Select { multiple: true, .. } => {
            let texts = value
                .as_array()
                .is_some_and(|v| v.iter().all(Value::is_string));
            needed(texts, "a list of texts is needed here")
        }
        InputKind::Select { .. } => needed(value.is_string(), "a text is needed here"),
        InputKind::Data { multiple: true, .. } => match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| reference(item, &["hda", "hdca"])),
            one => reference(one, &["hda", "hdca"]),
        },
        InputKind::Data { .. } => reference(value, &["hda"]),
        InputKind::Collection { .. } => reference(value, &["hdca"]),
        InputKind::Rules => needed(value.is_object(), "an object is needed here"),
        // Dealt with where groups are.
        InputKind::Section { .. } | InputKind::Repeat { .. } | InputKind::Conditional { .. } => {
            Ok(())
        }
    }
}

fn reference(value: &Value, sources: &[&str]) -> Result<(), &'static str> {
    let src = value.get("src").and_then(Value::as_str);
    if src == Some("url") || value.get("class").is_some() {
        return Err("data are named by src and id here; upload first what has a URL");
    }
    let known = src.is_some_and(|src| sources.contains(&src));
    match known && value.get("id").is_some_and(Value::is_string) {
        true => Ok(()),
        false if sources == ["hdca"] => Err("{\"src\": \"hdca\", \"id\": …} is needed here"),
        false => Err("{\"src\": \"hda\", \"id\": …} is needed here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = r#"
class: GalaxyTool
id: t
version: "1"
name: t
shell_command: "true"
inputs:
  - {name: input, type: data}
  - {name: many, type: data, multiple: true, optional: true}
  - {name: all, type: data_collection, collection_type: list, optional: true}
  - {name: n, type: integer, value: 1}
  - {name: word, type: text, optional: true}
  - name: choice
    type: conditional
    test_parameter: {name: kind, type: select, options: [{label: a, value: a, selected: true}, {label: b, value: b}]}
    whens:
      - {discriminator: a, parameters: [{name: x, type: float, value: 0.5}]}
      - {discriminator: b, parameters: [{name: y, type: boolean, value: true}]}
  - {name: rep, type: repeat, parameters: [{name: z, type: text, value: q}]}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out}
"#;

    fn faults(inputs: Value) -> Vec<String> {
        let tool = crate::tools::yaml::parse(TOOL, "t.yml").expect("a good tool");
        let Value::Object(inputs) = inputs else {
            panic!("an object")
        };
        let found = read(&tool, &inputs).err().unwrap_or_default();
        found.into_iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn the_strict_form_takes_each_value_in_its_own_type() {
        let hda = json!({"src": "hda", "id": "f00"});
        let list = json!({"src": "hdca", "id": "f00"});
        for good in [
            json!({"input": hda}),
            json!({"input": hda, "many": [hda, list], "all": list, "n": 3, "word": null}),
            json!({"input": {"__class__": "Batch", "values": [list]}, "choice": {"x": 1}}),
            json!({"input": hda, "choice": {"kind": "b", "y": false}, "rep": [{"z": "1"}, {}]}),
        ] {
            assert!(
                faults(good.clone()).is_empty(),
                "{good}: {:?}",
                faults(good.clone())
            );
        }
        for (bad, at) in [
            (json!({"input": list}), "input"),
            (json!({"input": hda, "n": "3"}), "n"),
            (json!({"input": hda, "n": 3.0}), "n"),
            (json!({"input": hda, "n": null}), "n"),
            (json!({"input": hda, "word": 4}), "word"),
            (json!({"input": hda, "other": 4}), "other"),
            (json!({"input": hda, "rep_0|z": "4"}), "rep_0|z"),
            (
                json!({"input": hda, "choice": {"kind": "b", "x": 1}}),
                "choice|x",
            ),
            (json!({"input": hda, "rep": [{"z": true}]}), "rep_0|z"),
            (json!({"input": hda, "rep": {"z": "a"}}), "rep"),
            (
                json!({"input": {"__class__": "Batch", "values": [list], "linked": false}}),
                "input",
            ),
            (json!({"input": {"__class__": "Batch"}}), "input"),
            (json!({"input": {"src": "url", "url": "http://x"}}), "input"),
        ] {
            assert_eq!(faults(bad.clone()), [at], "{bad}");
        }
    }

    #[test]
    fn a_batch_becomes_what_runs_are_made_of() {
        let tool = crate::tools::yaml::parse(TOOL, "t.yml").expect("a good tool");
        let given = json!({"input": {"__class__": "Batch", "values": [{"src": "hda", "id": "a"}]}});
        let read = read(&tool, given.as_object().expect("an object")).expect("good");
        assert_eq!(
            read["input"],
            json!({"batch": true, "values": [{"src": "hda", "id": "a"}]})
        );
    }
}
