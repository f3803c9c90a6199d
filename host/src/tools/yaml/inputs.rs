//! The `inputs` of a YAML tool.

use super::YamlToolError;
use super::node::{Kind, Place, Reader};
use crate::tools::model::{Check, Input, InputKind, SelectOption, Validator, When};

/// Reads a list or map of parameters, refusing two of the same name.
pub fn inputs(place: Place) -> Result<Vec<Input>, YamlToolError> {
    let mut found: Vec<Input> = Vec::new();
    let (line, path) = (place.node.line, place.path.clone());
    for (name, item) in place.named()? {
        let input = input(name, item)?;
        if found.iter().any(|other| other.name == input.name) {
            let message = format!("{path}: two inputs are called '{}'", input.name);
            return Err(YamlToolError::at(line, message));
        }
        found.push(input);
    }
    Ok(found)
}

fn input(name: Option<String>, place: Place) -> Result<Input, YamlToolError> {
    let mut map = place.map()?;
    let name = match name {
        Some(name) => {
            map.take("name");
            name
        }
        None => map.require("name")?.text()?,
    };
    if name.is_empty() || name.contains('|') || name.starts_with("__") {
        return Err(map.fault(format!("'{name}' cannot be the name of an input")));
    }
    // Tells Galaxy which kind of parameter model is meant; the type says the same.
    map.take("parameter_type");
    let kind = match map.require("type")?.text()?.as_str() {
        "boolean" => boolean(&mut map)?,
        "integer" => InputKind::Integer {
            value: integer_value(&mut map)?,
            min: map.take("min").map(Place::integer).transpose()?,
            max: map.take("max").map(Place::integer).transpose()?,
        },
        "float" => InputKind::Float {
            value: map
                .take_any(&["value", "default"])
                .map(Place::number)
                .transpose()?,
            min: map.take("min").map(Place::number).transpose()?,
            max: map.take("max").map(Place::number).transpose()?,
        },
        "text" => InputKind::Text {
            value: map
                .take_any(&["value", "default"])
                .map(Place::scalar_text)
                .transpose()?,
            area: map.flag("area")?,
        },
        "color" => InputKind::Color {
            value: map
                .take_any(&["value", "default"])
                .map(Place::text)
                .transpose()?,
        },
        "select" => select(&mut map)?,
        "data" => InputKind::Data {
            extensions: words(map.take_any(&["format", "extensions"]))?,
            multiple: map.flag("multiple")?,
        },
        "data_collection" => InputKind::Collection {
            collection_types: words(map.take("collection_type"))?,
            extensions: words(map.take_any(&["format", "extensions"]))?,
        },
        "conditional" => conditional(&mut map)?,
        "rules" => InputKind::Rules,
        "repeat" => InputKind::Repeat {
            inputs: inputs(required_any(&mut map, &["parameters", "blocks"])?)?,
            min: map.take("min").map(Place::count).transpose()?.unwrap_or(0),
            max: map.take("max").map(Place::count).transpose()?,
        },
        "section" => {
            map.take("expanded");
            InputKind::Section {
                inputs: inputs(required_any(&mut map, &["parameters", "blocks"])?)?,
            }
        }
        other => return Err(map.fault(format!("an input of type '{other}' is not known"))),
    };
    let mut validators = Vec::new();
    if let Some(place) = map.take("validators") {
        for item in place.list()? {
            validators.push(validator(item)?);
        }
    }
    let input = Input {
        label: map.text("label")?.or(map.text("title")?),
        help: map.text("help")?,
        optional: map.flag("optional")?,
        name,
        kind,
        validators,
    };
    map.finish()?;
    Ok(input)
}

fn required_any(map: &mut Reader, keys: &[&str]) -> Result<Place, YamlToolError> {
    map.take_any(keys)
        .ok_or_else(|| map.fault(format!("the key '{}' is missing", keys[0])))
}

fn boolean(map: &mut Reader) -> Result<InputKind, YamlToolError> {
    let value = map
        .take_any(&["value", "default", "checked"])
        .map(Place::boolean)
        .transpose()?;
    Ok(InputKind::Boolean { value })
}

fn integer_value(map: &mut Reader) -> Result<Option<i64>, YamlToolError> {
    map.take_any(&["value", "default"])
        .map(Place::integer)
        .transpose()
}

/// A list of words, or one text with commas.
fn words(place: Option<Place>) -> Result<Vec<String>, YamlToolError> {
    let mut found = Vec::new();
    if let Some(place) = place {
        for item in place.list_or_one()? {
            let text = item.text()?;
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            found.extend(parts.map(str::to_owned));
        }
    }
    Ok(found)
}

fn select(map: &mut Reader) -> Result<InputKind, YamlToolError> {
    let multiple = map.flag("multiple")?;
    let default = match map.take_any(&["value", "default"]) {
        Some(place) => place
            .list_or_one()?
            .into_iter()
            .map(Place::scalar_text)
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let mut options: Vec<SelectOption> = Vec::new();
    if let Some(place) = map.take("options") {
        for item in place.list()? {
            options.push(option(item)?);
        }
    }
    for value in &default {
        match options.iter_mut().find(|option| option.value == *value) {
            Some(option) => option.selected = true,
            None => return Err(map.fault(format!("the value '{value}' is not one of the options"))),
        }
    }
    if !multiple && options.iter().filter(|option| option.selected).count() > 1 {
        return Err(map.fault("only one option can be selected"));
    }
    Ok(InputKind::Select { options, multiple })
}

fn option(place: Place) -> Result<SelectOption, YamlToolError> {
    if let Kind::Scalar(_) = place.node.kind {
        let value = place.scalar_text()?;
        return Ok(SelectOption {
            label: value.clone(),
            value,
            selected: false,
        });
    }
    let mut map = place.map()?;
    let value = map.require("value")?.scalar_text()?;
    let option = SelectOption {
        label: match map.take("label") {
            Some(label) => label.scalar_text()?,
            None => value.clone(),
        },
        value,
        selected: map.flag("selected")?,
    };
    map.finish()?;
    Ok(option)
}

fn conditional(map: &mut Reader) -> Result<InputKind, YamlToolError> {
    let test = input(None, map.require("test_parameter")?)?;
    let allowed: Vec<String> = match &test.kind {
        InputKind::Boolean { .. } => vec!["true".to_owned(), "false".to_owned()],
        InputKind::Select {
            options,
            multiple: false,
        } => options.iter().map(|option| option.value.clone()).collect(),
        _ => return Err(map.fault("the test parameter is a boolean or a select of one option")),
    };
    let mut whens: Vec<When> = Vec::new();
    if let Some(place) = map.take("whens") {
        for item in place.list()? {
            let mut item = item.map()?;
            let discriminator = item.require("discriminator")?.scalar_text()?;
            // Galaxy's editor marks the branch that is shown first; the test's default says it.
            item.take("is_default_when");
            let inputs = match item.take_any(&["parameters", "blocks"]) {
                Some(place) => inputs(place)?,
                None => Vec::new(),
            };
            item.finish()?;
            whens.push(When {
                discriminator,
                inputs,
            });
        }
    } else if let Some(place) = map.take("when") {
        for (discriminator, item) in place.named()? {
            let Some(discriminator) = discriminator else {
                return Err(item.fault("'when' is a map from value to parameters"));
            };
            let inputs = if item.node.is_null() {
                Vec::new()
            } else {
                inputs(item)?
            };
            whens.push(When {
                discriminator,
                inputs,
            });
        }
    }
    for (index, when) in whens.iter().enumerate() {
        let name = &when.discriminator;
        if !allowed.contains(name) {
            return Err(map.fault(format!(
                "there is a branch for '{name}', which the test parameter cannot be"
            )));
        }
        if whens[..index]
            .iter()
            .any(|other| other.discriminator == *name)
        {
            return Err(map.fault(format!("there are two branches for '{name}'")));
        }
        if when.inputs.iter().any(|input| input.name == test.name) {
            return Err(map.fault(format!("two inputs are called '{}'", test.name)));
        }
    }
    Ok(InputKind::Conditional {
        test: Box::new(test),
        whens,
    })
}

fn validator(place: Place) -> Result<Validator, YamlToolError> {
    let mut map = place.map()?;
    let check = match map.require("type")?.text()?.as_str() {
        "regex" => {
            let pattern = map.require("expression")?.text()?;
            // Python's re.match: anchored at the beginning only.
            let regex = regex::Regex::new(&format!("^(?:{pattern})"));
            Check::Regex(regex.map_err(|_| {
                map.fault(format!(
                    "'{pattern}' is not a regular expression that is supported here"
                ))
            })?)
        }
        "length" => Check::Length {
            min: map.take("min").map(Place::count).transpose()?,
            max: map.take("max").map(Place::count).transpose()?,
        },
        "in_range" => Check::InRange {
            min: map.take("min").map(Place::number).transpose()?,
            max: map.take("max").map(Place::number).transpose()?,
            exclude_min: map.flag("exclude_min")?,
            exclude_max: map.flag("exclude_max")?,
        },
        "empty_field" => Check::EmptyField,
        "no_options" => Check::NoOptions,
        other => return Err(map.fault(format!("a validator of type '{other}' is not known"))),
    };
    let validator = Validator {
        check,
        message: map.text("message")?,
        negate: map.flag("negate")?,
    };
    // Part of the published schema, without meaning outside of Galaxy's own forms.
    map.take("implicit");
    map.finish()?;
    Ok(validator)
}
