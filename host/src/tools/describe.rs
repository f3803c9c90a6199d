//! Galaxy's JSON about a tool, for the API.

use serde_json::{Map, Value, json};

use super::Tool;
use super::model::{Input, InputKind, Output, OutputKind, When};
use super::parameters::{active_branch, normalise_leniently};

/// An entry of `GET /api/tools?in_panel=false`.
pub fn summary(tool: &Tool) -> Value {
    json!({
        "model_class": if tool.is_expression() { "ExpressionTool" } else { "Tool" },
        "id": tool.id,
        "name": tool.name,
        "version": tool.version,
        "description": tool.description,
        "labels": [],
        "edam_operations": tool.edam_operations,
        "edam_topics": tool.edam_topics,
        "xrefs": tool.xrefs.iter().map(|xref| json!({"type": xref.kind, "value": xref.value})).collect::<Vec<_>>(),
        "hidden": if tool.hidden { "hidden" } else { "" },
        "is_workflow_compatible": true,
        "panel_section_id": "tools",
        "panel_section_name": "Tools",
        "form_style": "regular",
        "target": "galaxy_main",
        "link": format!("/tool_runner?tool_id={}", tool.id),
        "min_width": -1,
        "config_file": Value::Null,
        "uuid": Value::Null,
    })
}

/// `GET /api/tools/{id}?io_details=true`.
pub fn io_details(tool: &Tool) -> Value {
    let mut details = summary(tool);
    if let Value::Object(object) = &mut details {
        object.insert("inputs".to_owned(), input_list(&tool.inputs));
        object.insert(
            "outputs".to_owned(),
            tool.outputs.iter().map(output).collect(),
        );
    }
    details
}

/// The body of `GET /api/tools/{id}/build`: the details with `state_inputs` and a value per input.
pub fn build(tool: &Tool, state: &Value) -> Value {
    let (state, _) = normalise_leniently(tool, state);
    let mut details = io_details(tool);
    if let Value::Object(object) = &mut details {
        object.insert("inputs".to_owned(), with_values(&tool.inputs, &state));
        object.insert("state_inputs".to_owned(), state);
        object.insert("display".to_owned(), json!(true));
        object.insert("errors".to_owned(), json!({}));
        object.insert("warnings".to_owned(), json!(""));
        object.insert("message".to_owned(), json!(""));
        object.insert("versions".to_owned(), json!([tool.version]));
        object.insert(
            "help".to_owned(),
            json!(tool.help.as_ref().map(|help| &help.content)),
        );
        object.insert("license".to_owned(), json!(tool.license));
    }
    details
}

fn input_list(inputs: &[Input]) -> Value {
    inputs.iter().map(input).collect()
}

fn with_values(inputs: &[Input], state: &Value) -> Value {
    inputs
        .iter()
        .map(|one| {
            let mut details = input(one);
            let value = state.get(&one.name).cloned().unwrap_or(Value::Null);
            if let Value::Object(object) = &mut details {
                match &one.kind {
                    InputKind::Section { inputs } => {
                        object.insert("inputs".to_owned(), with_values(inputs, &value));
                    }
                    InputKind::Repeat { inputs, .. } => {
                        let cache = value.as_array().into_iter().flatten();
                        let cache = cache
                            .map(|instance| with_values(inputs, instance))
                            .collect();
                        object.insert("cache".to_owned(), cache);
                    }
                    InputKind::Conditional { test, whens } => {
                        let mut shown = input(test);
                        shown["value"] = value.get(&test.name).cloned().unwrap_or(Value::Null);
                        object.insert("test_param".to_owned(), shown);
                        object.insert("cases".to_owned(), cases(test, whens, Some(&value)));
                    }
                    _ => {
                        object.insert("value".to_owned(), value);
                    }
                }
            }
            details
        })
        .collect()
}

fn input(input: &Input) -> Value {
    let kind = &input.kind;
    let mut details = Map::new();
    let mut put = |key: &str, value: Value| {
        details.insert(key.to_owned(), value);
    };
    put("model_class", json!(model_class(kind)));
    put("name", json!(input.name));
    put("type", json!(kind.type_name()));
    put(
        "label",
        json!(input.label.as_deref().unwrap_or(&input.name)),
    );
    put("help", json!(input.help.as_deref().unwrap_or("")));
    put("optional", json!(input.optional));
    put("argument", Value::Null);
    put("refresh_on_change", json!(kind.is_data()));
    put("hidden", json!(false));
    put("is_dynamic", json!(false));
    let default = || super::parameters::default_value(input);
    match kind {
        InputKind::Boolean { .. } => {
            put("value", default());
            put("truevalue", json!("true"));
            put("falsevalue", json!("false"));
        }
        InputKind::Integer { min, max, .. } => {
            put("value", default());
            put("min", json!(min));
            put("max", json!(max));
        }
        InputKind::Float { min, max, .. } => {
            put("value", default());
            put("min", json!(min));
            put("max", json!(max));
        }
        InputKind::Text { area, .. } => {
            put("value", default());
            put("area", json!(area));
            put("datalist", json!([]));
        }
        InputKind::Color { .. } => put("value", default()),
        InputKind::Select { options, multiple } => {
            put("value", default());
            put("multiple", json!(multiple));
            put("display", Value::Null);
            put("textable", json!(false));
            let options: Vec<Value> = options
                .iter()
                .map(|option| json!([option.label, option.value, option.selected]))
                .collect();
            put("options", json!(options));
        }
        InputKind::Data {
            extensions,
            multiple,
        } => {
            put("value", Value::Null);
            put("multiple", json!(multiple));
            put("extensions", json!(extensions_or_any(extensions)));
            put("edam", json!({"edam_formats": [], "edam_data": []}));
            put("options", json!({"hda": [], "hdca": []}));
        }
        InputKind::Collection {
            collection_types,
            extensions,
        } => {
            put("value", Value::Null);
            put("multiple", json!(false));
            put("collection_types", json!(collection_types));
            put("extensions", json!(extensions_or_any(extensions)));
            put("options", json!({"hda": [], "hdca": []}));
        }
        InputKind::Conditional { test, whens } => {
            put("test_param", self::input(test));
            put("cases", cases(test, whens, None));
        }
        InputKind::Repeat { inputs, min, max } => {
            put(
                "title",
                json!(input.label.as_deref().unwrap_or(&input.name)),
            );
            put("min", json!(min));
            put("max", json!(max));
            put("default", json!(min));
            put("inputs", input_list(inputs));
            put("cache", json!([]));
        }
        InputKind::Rules => put("value", Value::Null),
        InputKind::Section { inputs } => {
            put(
                "title",
                json!(input.label.as_deref().unwrap_or(&input.name)),
            );
            put("expanded", json!(false));
            put("inputs", input_list(inputs));
        }
    }
    Value::Object(details)
}

fn cases(test: &Input, whens: &[When], state: Option<&Value>) -> Value {
    let active = state.and_then(|state| active_branch(whens, state.get(&test.name)?));
    whens
        .iter()
        .map(|when| {
            let inputs = match (state, active) {
                (Some(state), Some(active)) if std::ptr::eq(active, when) => {
                    with_values(&when.inputs, state)
                }
                _ => input_list(&when.inputs),
            };
            json!({"model_class": "ConditionalWhen", "value": when.discriminator, "inputs": inputs})
        })
        .collect()
}

fn extensions_or_any(extensions: &[String]) -> Vec<&str> {
    if extensions.is_empty() {
        vec!["data"]
    } else {
        extensions.iter().map(String::as_str).collect()
    }
}

/// The names of Galaxy's parameter classes, which clients see.
fn model_class(kind: &InputKind) -> &'static str {
    match kind {
        InputKind::Boolean { .. } => "BooleanToolParameter",
        InputKind::Integer { .. } => "IntegerToolParameter",
        InputKind::Float { .. } => "FloatToolParameter",
        InputKind::Text { .. } => "TextToolParameter",
        InputKind::Color { .. } => "ColorToolParameter",
        InputKind::Select { .. } => "SelectToolParameter",
        InputKind::Data { .. } => "DataToolParameter",
        InputKind::Collection { .. } => "DataCollectionToolParameter",
        InputKind::Conditional { .. } => "Conditional",
        InputKind::Repeat { .. } => "Repeat",
        InputKind::Section { .. } => "Section",
        InputKind::Rules => "RulesListToolParameter",
    }
}

fn output(output: &Output) -> Value {
    let mut details = json!({
        "model_class": "ToolOutput",
        "name": output.name,
        "label": output.label,
        "hidden": output.hidden,
        "output_type": "data",
        "format": "data",
        "edam_format": "",
        "edam_data": "",
    });
    match &output.kind {
        OutputKind::Data(made) => {
            let inherited = made.format_source.as_ref().map(|_| "input");
            details["format"] = json!(made.format.as_deref().or(inherited).unwrap_or("data"));
            details["format_source"] = json!(made.format_source);
        }
        OutputKind::Scalar(made) => {
            details["output_type"] = json!(made.kind.as_str());
            details["format"] = json!("expression.json");
        }
        OutputKind::Collection(made) => {
            details["model_class"] = json!("ToolOutputCollection");
            details["output_type"] = json!("collection");
            details["collection_type"] = json!(made.collection_type);
            details["collection_type_source"] = json!(made.collection_type_source);
            details["structured_like"] = json!(made.structured_like);
            details["format"] = json!(made.format.as_deref().unwrap_or("data"));
            details["format_source"] = json!(made.format_source);
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Toolbox;

    #[test]
    fn details_have_the_shape_that_clients_read() {
        let tool = Toolbox::new(Vec::new())
            .get("random_lines1", None)
            .unwrap()
            .tool;
        assert_eq!(summary(&tool)["model_class"], "Tool");
        let details = io_details(&tool);
        let inputs = details["inputs"].as_array().unwrap();
        let named: Vec<_> = inputs
            .iter()
            .map(|input| (&input["name"], &input["type"]))
            .collect();
        assert_eq!(
            json!(named),
            json!([
                ["num_lines", "integer"],
                ["input", "data"],
                ["seed_source", "conditional"]
            ])
        );
        assert_eq!(inputs[1]["extensions"], json!(["data"]));
        let conditional = &inputs[2];
        assert_eq!(
            conditional["test_param"]["options"][0],
            json!(["Don't set seed", "no_seed", true])
        );
        assert_eq!(conditional["cases"][1]["value"], "set_seed");
        assert_eq!(conditional["cases"][1]["inputs"][0]["name"], "seed");
        assert_eq!(details["outputs"][0]["name"], "out_file1");
        assert_eq!(details["outputs"][0]["format"], "input");
    }

    #[test]
    fn a_form_carries_the_values_of_its_state() {
        let tool = Toolbox::new(Vec::new())
            .get("random_lines1", None)
            .unwrap()
            .tool;
        let state = json!({"num_lines": "3", "seed_source|seed_source_selector": "set_seed", "seed_source|seed": "x"});
        let form = build(&tool, &state);
        assert_eq!(form["inputs"][0]["value"], 3);
        assert_eq!(form["inputs"][2]["test_param"]["value"], "set_seed");
        assert_eq!(form["inputs"][2]["cases"][1]["inputs"][0]["value"], "x");
        assert_eq!(form["state_inputs"]["seed_source"]["seed"], "x");
    }
}
