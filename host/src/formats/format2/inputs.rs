//! The entries of `inputs`: each becomes an input step.

use super::*;

pub(super) fn input_step(
    index: usize,
    id: Option<&str>,
    fields: &Object,
) -> Result<StepDescription, ImportError> {
    let (written_type, multiple) = input_type(fields)?;
    let (step_type, parameter_type) = match written_type.as_str() {
        "File" | "data" | "data_input" => ("data_input", None),
        "collection" | "data_collection" | "data_collection_input" => {
            ("data_collection_input", None)
        }
        "text" | "string" => ("parameter_input", Some("text")),
        "integer" | "int" => ("parameter_input", Some("integer")),
        kind @ ("float" | "boolean" | "color" | "directory_uri") => ("parameter_input", Some(kind)),
        other => {
            let message = format!("type {} is not known.", shown(other));
            return Err(ImportError::parameter(message));
        }
    };

    let mut state = Object::new();
    if let Some(parameter_type) = parameter_type {
        state.insert("parameter_type".into(), json!(parameter_type));
    }
    if multiple {
        state.insert("multiple".into(), json!(true));
    }
    if let Some(optional) = given(fields, "optional") {
        let refusal = || ImportError::invalid("optional should be true or false.");
        let optional = truth(optional).ok_or_else(refusal)?;
        state.insert("optional".into(), json!(optional));
    }
    match given(fields, "format") {
        None => {}
        Some(Value::String(one)) => {
            state.insert("format".into(), json!([one]));
        }
        Some(formats) => {
            state.insert("format".into(), formats.clone());
        }
    }
    // Whatever else is written is state: collection_type, restrictions, suggestions …
    for (field, value) in fields {
        if !INPUT_FIELDS.contains(&field.as_str()) && !value.is_null() {
            state.insert(field.clone(), value.clone());
        }
    }
    validators(fields, parameter_type, &mut state)?;

    let mut inputs = Vec::new();
    if let Some(default) = fields.get("default") {
        if parameter_type.is_none() && default.get("class").is_some() {
            inputs.push(StepInput {
                name: "input".into(),
                default_value: Some(default.clone()),
                default_value_set: true,
                ..Default::default()
            });
        } else if parameter_type == Some("boolean") {
            let default = truth(default).map_or_else(|| default.clone(), Value::Bool);
            state.insert("default".into(), default);
        } else {
            state.insert("default".into(), default.clone());
        }
    }
    Ok(StepDescription {
        order_index: index,
        step_type: step_type.to_owned(),
        name: module_name(step_type).map(str::to_owned),
        tool_inputs: Value::Object(state),
        position: position(index, fields),
        label: label_of(id),
        uuid: uuid_v4(fields, "uuid")?,
        annotation: doc(fields)?,
        inputs,
        ..Default::default()
    })
}

/// The type, and whether it was written as a list of one.
pub(super) fn input_type(fields: &Object) -> Result<(String, bool), ImportError> {
    match given(fields, "type") {
        None => Ok(("data".into(), false)),
        Some(Value::String(one)) => Ok((one.clone(), false)),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(one)] => Ok((one.clone(), true)),
            _ => Err(ImportError::parameter("type should be a list of one type.")),
        },
        Some(_) => Err(ImportError::parameter("type should be text.")),
    }
}

pub(super) fn validators(
    fields: &Object,
    parameter_type: Option<&str>,
    state: &mut Object,
) -> Result<(), ImportError> {
    let range = ["min", "max"].map(|bound| given(fields, bound));
    let is_number = matches!(parameter_type, Some("integer" | "float"));
    if is_number && range.iter().any(Option::is_some) {
        let [min, max] = range;
        let validator = json!({"type": "in_range", "min": min, "max": max, "negate": false});
        match state.entry("validators").or_insert_with(|| json!([])) {
            Value::Array(list) => list.push(validator),
            _ => return Err(ImportError::invalid("validators should be a list.")),
        }
    }
    let list = state.get_mut("validators").and_then(Value::as_array_mut);
    for validator in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        validator.entry("negate").or_insert(Value::Bool(false));
    }
    Ok(())
}
