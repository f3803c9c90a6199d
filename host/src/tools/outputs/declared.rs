//! What an output is before its job has run: its extension, its collection type, its label.

use serde_json::Value;

use crate::tools::Tool;
use crate::tools::inputs_json::{CollectionView, DataView, DataViews, data_refs, refs_of};
use crate::tools::model::{Output, OutputKind};
use crate::tools::parameters::{data_inputs, get_path};
use crate::tools::template::{PathPart, Script, Segment, Template};

/// The extension an output has when its job is created. `auto` stays: the job's end settles it.
pub fn output_extension(tool: &Tool, output: &Output, state: &Value, data: &DataViews) -> String {
    let (format, source, fallback) = match &output.kind {
        OutputKind::Data(made) => (
            &made.format,
            made.format_source.as_ref().or(made
                .metadata_source
                .as_ref()
                .filter(|_| made.format.is_none())),
            "data",
        ),
        OutputKind::Scalar(_) => return "expression.json".to_owned(),
        OutputKind::Collection(made) => {
            let like = made
                .structured_like
                .as_ref()
                .filter(|_| made.inherit_format);
            (&made.format, made.format_source.as_ref().or(like), "data")
        }
    };
    let from_source = source.and_then(|name| source_extension(tool, name, state, data));
    match (from_source, format) {
        (Some(ext), _) => ext,
        (None, Some(format)) if format != "input" => format.clone(),
        // `input` is Galaxy's old word for "as the first dataset given".
        (None, Some(_)) => first_extension(state, data).unwrap_or_else(|| fallback.to_owned()),
        (None, None) => fallback.to_owned(),
    }
}

fn source_extension(tool: &Tool, name: &str, state: &Value, data: &DataViews) -> Option<String> {
    // A name without its path is looked for at every level, as Galaxy does.
    let value = get_path(state, name).or_else(|| {
        let wanted = data_inputs(tool, state)
            .into_iter()
            .find(|terminal| terminal.name.rsplit('|').next() == Some(name))?;
        get_path(state, &wanted.name)
    })?;
    refs_of(value)
        .iter()
        .find_map(|reference| extension_of(data.get(reference)?))
}

fn first_extension(state: &Value, data: &DataViews) -> Option<String> {
    data_refs(state)
        .iter()
        .find_map(|reference| extension_of(data.get(reference)?))
}

fn extension_of(view: &DataView) -> Option<String> {
    match view {
        DataView::Dataset(dataset) => Some(dataset.ext.clone()),
        DataView::Collection(collection) => collection
            .elements
            .iter()
            .find_map(|element| extension_of(&element.object)),
    }
}

/// The type of a collection output, `None` for other outputs or when the source is not known.
pub fn output_collection_type(
    tool: &Tool,
    output: &Output,
    state: &Value,
    data: &DataViews,
) -> Option<String> {
    let OutputKind::Collection(made) = &output.kind else {
        return None;
    };
    if let Some(declared) = &made.collection_type {
        return Some(declared.clone());
    }
    let source = made
        .collection_type_source
        .as_ref()
        .or(made.structured_like.as_ref())?;
    source_collection(tool, source, state, data).map(|view| view.collection_type.clone())
}

fn source_collection<'d>(
    tool: &Tool,
    name: &str,
    state: &Value,
    data: &'d DataViews,
) -> Option<&'d CollectionView> {
    let value = get_path(state, name).or_else(|| {
        let wanted = data_inputs(tool, state)
            .into_iter()
            .find(|terminal| terminal.name.rsplit('|').next() == Some(name))?;
        get_path(state, &wanted.name)
    })?;
    match data.get(refs_of(value).first()?)? {
        DataView::Collection(collection) => Some(collection),
        DataView::Dataset(_) => None,
    }
}

/// What an output is called: its label with `$(inputs.x.name)`, `$(inputs.x)` and
/// `$(runtime.on_string)` filled in as text (what cannot be filled stays as written), else
/// "Tool name on dataset 1".
pub fn output_label(
    tool: &Tool,
    output: &Output,
    on_string: &str,
    state: &Value,
    data: &DataViews,
) -> String {
    let Some(label) = &output.label else {
        return if on_string.is_empty() {
            tool.name.clone()
        } else {
            format!("{} on {on_string}", tool.name)
        };
    };
    // Galaxy's own labels use the template words of XML.
    let label = label
        .replace("${tool.name}", &tool.name)
        .replace("${on_string}", on_string);
    let Ok(template) = Template::parse(&label) else {
        return label;
    };
    let mut text = String::new();
    for segment in template.segments() {
        match segment {
            Segment::Text(literal) => text.push_str(literal),
            Segment::Script(script) => match script {
                Script::Expression(code) => text.push_str(&format!("$({code})")),
                Script::Body(code) => text.push_str(&format!("${{{code}}}")),
            },
            Segment::Reference(reference) => {
                let path: Vec<&str> = reference
                    .path
                    .iter()
                    .map(|part| match part {
                        PathPart::Key(key) => key.as_str(),
                        PathPart::Index(_) => "",
                    })
                    .collect();
                let filled = match path.as_slice() {
                    ["runtime", "on_string"] => Some(on_string.to_owned()),
                    ["inputs", rest @ ..] => label_value(rest, state, data),
                    _ => None,
                };
                match filled {
                    Some(value) => text.push_str(&value),
                    None => text.push_str(&format!("$({})", reference.script.code())),
                }
            }
        }
    }
    text
}

fn label_value(path: &[&str], state: &Value, data: &DataViews) -> Option<String> {
    let mut value = state;
    for (depth, part) in path.iter().enumerate() {
        if let Some(reference) = refs_of(value).first() {
            let rest = &path[depth..];
            return match (data.get(reference)?, rest) {
                (DataView::Dataset(dataset), ["name"]) => Some(dataset.name.clone()),
                (DataView::Dataset(dataset), ["element_identifier"]) => Some(
                    dataset
                        .element_identifier
                        .clone()
                        .unwrap_or_else(|| dataset.name.clone()),
                ),
                (DataView::Dataset(dataset), ["ext" | "format"]) => Some(dataset.ext.clone()),
                (DataView::Collection(collection), ["name"]) => Some(collection.name.clone()),
                (DataView::Collection(collection), ["collection_type"]) => {
                    Some(collection.collection_type.clone())
                }
                _ => None,
            };
        }
        value = value.as_object()?.get(*part)?;
    }
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// What a job's outputs are "on", from the history numbers of its input datasets:
/// "dataset 1", "dataset 1 and 2", "dataset 1, 2, and others".
pub fn on_string(hids: &[i64]) -> String {
    numbered("dataset", hids)
}

/// The same for datasets and collections: "dataset 1 and collection 2".
pub fn on_string_of(datasets: &[i64], collections: &[i64]) -> String {
    let parts = [
        numbered("dataset", datasets),
        numbered("collection", collections),
    ];
    let given: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    given.join(" and ")
}

fn numbered(what: &str, hids: &[i64]) -> String {
    match hids {
        [] => String::new(),
        [one] => format!("{what} {one}"),
        [one, two] => format!("{what} {one} and {two}"),
        [one, two, three] => format!("{what} {one}, {two}, and {three}"),
        [one, two, ..] => format!("{what} {one}, {two}, and others"),
    }
}
