//! What feeds the steps: sources as they are written, links in a state, and the inputs of subworkflows.

use super::*;

/// The inputs of a step as written, before names are resolved.
#[derive(Default)]
pub(super) struct Wires {
    pub(super) inputs: Vec<(StepInput, Vec<String>)>,
    pub(super) place_of: HashMap<String, usize>,
}

impl Wires {
    pub(super) fn input(&mut self, name: &str) -> &mut (StepInput, Vec<String>) {
        let next = self.inputs.len();
        let place = *self.place_of.entry(name.to_owned()).or_insert(next);
        if place == next {
            let input = StepInput {
                name: name.to_owned(),
                ..Default::default()
            };
            self.inputs.push((input, Vec::new()));
        }
        &mut self.inputs[place]
    }

    /// Reads `in`, and `connect` as it was called before.
    pub(super) fn read_in(&mut self, fields: &Object) -> Result<(), ImportError> {
        for field in ["connect", "in"] {
            for (name, fields) in entries(fields, field, "source")? {
                let missing = || ImportError::missing(format!("an entry of {field} has no id."));
                let name = name.ok_or_else(missing)?;
                let told =
                    |error: ImportError| error.within(format_args!("{field} {}", shown(&name)));
                let sources = texts(&fields, "source").map_err(told)?;
                let (input, known) = self.input(&name);
                known.extend(sources);
                details(input, &fields).map_err(told)?;
            }
        }
        Ok(())
    }

    pub(super) fn connect(self, names: &Names) -> Result<Vec<StepInput>, ImportError> {
        let connect = |(mut input, sources): (StepInput, Vec<String>)| {
            let only_after = input.name == AFTER_INPUT;
            let told = |error: ImportError| error.within(format_args!("in {}", shown(&input.name)));
            let mut connections = Vec::with_capacity(sources.len());
            for source in sources {
                let (output_step, output_name) = match only_after {
                    false => names.resolve(&source),
                    true => names
                        .resolve(&format!("{source}/{NO_INPUT_OUTPUT_NAME}"))
                        .map(|(step, _)| (step, NO_INPUT_OUTPUT_NAME.to_owned())),
                }
                .map_err(told)?;
                connections.push(Connection {
                    output_step,
                    output_name,
                    input_subworkflow_step: None,
                });
            }
            if only_after {
                input.name = NO_INPUT_OUTPUT_NAME.to_owned();
            }
            input.connections = connections;
            Ok(input)
        };
        self.inputs.into_iter().map(connect).collect()
    }
}

pub(super) fn step_state(fields: &Object, wires: &mut Wires) -> Result<Object, ImportError> {
    let runtime_inputs = texts(fields, "runtime_inputs")?;
    let structured = given(fields, "state");
    let mut tool_state = match structured {
        Some(structured) => {
            let mut structured = object(structured, "state")?.clone();
            let mut path = String::new();
            for (key, value) in &mut structured {
                path.clone_from(key);
                take_links(value, &mut path, wires)?;
            }
            structured
        }
        None if runtime_inputs.is_empty() => state::decode(fields.get("tool_state"))?,
        None => Object::new(),
    };
    for input in runtime_inputs {
        tool_state.insert(input, json!({"__class__": "RuntimeValue"}));
    }
    Ok(tool_state)
}

/// Replaces each `{"$link": source}` in `value` by the marker, noting the source at its path.
pub(super) fn take_links(
    value: &mut Value,
    path: &mut String,
    wires: &mut Wires,
) -> Result<(), ImportError> {
    let path_length = path.len();
    let connected = || json!({"__class__": "ConnectedValue"});
    if let Some(source) = link(value)? {
        wires.input(path).1.push(source);
        *value = connected();
        return Ok(());
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push('|');
                path.push_str(key);
                take_links(value, path, wires)?;
                path.truncate(path_length);
            }
        }
        Value::Array(list) => {
            let mut all_links = !list.is_empty();
            for (place, item) in list.iter_mut().enumerate() {
                // A link directly in a list is one of several values of one input; anything
                // else is an entry of a repeat.
                match link(item)? {
                    Some(source) => {
                        wires.input(path).1.push(source);
                        *item = Value::Null;
                    }
                    None => {
                        all_links = false;
                        path.push_str(&format!("_{place}"));
                        take_links(item, path, wires)?;
                        path.truncate(path_length);
                    }
                }
            }
            if all_links {
                *value = connected();
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn link(value: &Value) -> Result<Option<String>, ImportError> {
    match value {
        Value::Object(map) if map.contains_key("$link") => {
            let missing = || ImportError::malformed("$link in state names no source.");
            text_if_any(map, "$link")?.ok_or_else(missing).map(Some)
        }
        _ => Ok(None),
    }
}

/// Finds the step inside a subworkflow that each input feeds: the input so labelled, or the
/// one whose number begins the name.
pub(super) fn feed_inside(
    step: &mut StepDescription,
    inner: &WorkflowDescription,
) -> Result<(), ImportError> {
    let labels = input_labels(inner);
    let by_prefix = |name: &str| {
        let synthetic = name.strip_prefix(UNLABELED_INPUT);
        let number = synthetic.unwrap_or_else(|| name.split(':').next().unwrap_or(name));
        let index = number.parse().ok()?;
        inner
            .step(index)
            .filter(|step| step.is_input_step())
            .map(|_| index)
    };
    let when = step.when_expression.clone();
    for input in &mut step.inputs {
        if input.name == NO_INPUT_OUTPUT_NAME || input.connections.is_empty() {
            continue;
        }
        let name = input.name.as_str();
        let found = labels.get(name).copied().or_else(|| by_prefix(name));
        if found.is_none() && !when.as_deref().is_some_and(|when| when.contains(name)) {
            return Err(validate::unknown_subworkflow_input(name));
        }
        for connection in &mut input.connections {
            connection.input_subworkflow_step = found;
        }
    }
    Ok(())
}
