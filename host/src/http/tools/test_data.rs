//! The tests of a tool, as Galaxy tells of them.

use serde_json::{Map, Value, json};

use crate::tools::Tool;

/// A description of each test.
pub fn tests(tool: &Tool) -> Value {
    let tests = tool.tests.iter().enumerate();
    tests
        .map(|(index, test)| describe(tool, index, test))
        .collect()
}

fn describe(tool: &Tool, index: usize, test: &Value) -> Value {
    let mut inputs = Map::new();
    if let Some(given) = test.get("inputs") {
        flatten(given, "", &mut inputs);
    }
    let mut outputs = Vec::new();
    let mut collections = Vec::new();
    let given = test.get("outputs").and_then(Value::as_object);
    for (name, output) in given.into_iter().flatten() {
        match output.get("element_tests").or(output.get("elements")) {
            Some(elements) => collections.push(json!({
                "name": name, "attributes": output.get("attributes"), "element_tests": elements,
            })),
            None => outputs.push(json!({
                "name": name,
                "value": output.get("file").or(output.get("path")),
                "attributes": output,
            })),
        }
    }
    let or_null = |name: &str| test.get(name).cloned().unwrap_or_default();
    json!({
        "name": test.get("doc").and_then(Value::as_str).map_or_else(|| format!("Test-{}", index + 1), str::to_owned),
        "tool_id": tool.id,
        "tool_version": tool.version,
        "test_index": index,
        "inputs": inputs,
        "outputs": outputs,
        "output_collections": collections,
        "num_outputs": null,
        "required_files": [],
        "required_data_tables": [],
        "required_loc_files": [],
        "stdout": or_null("assert_stdout"),
        "stderr": or_null("assert_stderr"),
        "command": or_null("command"),
        "command_version": null,
        "expect_exit_code": or_null("expect_exit_code"),
        "expect_failure": test.get("expect_failure") == Some(&json!(true)),
        "expect_test_failure": test.get("expect_test_failure") == Some(&json!(true)),
        "maxseconds": null,
        "error": false,
        "exception": null,
    })
}

/// Values by pipe path, each in a list, as Galaxy has them.
fn flatten(value: &Value, path: &str, found: &mut Map<String, Value>) {
    let is_plain = |object: &Map<String, Value>| object.contains_key("class") || object.is_empty();
    match value {
        Value::Object(object) if path.is_empty() || !is_plain(object) => {
            for (key, inner) in object {
                let name = match path {
                    "" => key.clone(),
                    path => format!("{path}|{key}"),
                };
                match inner {
                    Value::Array(items)
                        if items
                            .iter()
                            .all(|i| i.is_object() && i.get("class").is_none()) =>
                    {
                        for (index, item) in items.iter().enumerate() {
                            flatten(item, &format!("{name}_{index}"), found);
                        }
                    }
                    _ => flatten(inner, &name, found),
                }
            }
        }
        Value::Array(_) => drop(found.insert(path.to_owned(), value.clone())),
        plain => drop(found.insert(path.to_owned(), json!([plain]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_told_by_their_paths() {
        let mut found = Map::new();
        let given = json!({"n": 3, "c": {"x": "y"}, "rep": [{"f": {"class": "File", "path": "a"}}], "many": ["a", "b"]});
        flatten(&given, "", &mut found);
        let expected = json!({"n": [3], "c|x": ["y"], "rep_0|f": [{"class": "File", "path": "a"}], "many": ["a", "b"]});
        assert_eq!(Value::Object(found), expected);
    }
}
