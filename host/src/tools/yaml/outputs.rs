//! The `outputs` of a YAML tool.

use super::node::{Place, Reader};
use super::{YamlToolError, stays_inside};
use crate::tools::model::{
    CollectionOutput, Condition, DataOutput, Discovery, Output, OutputFiles, OutputKind,
    ScalarKind, ScalarOutput, SortKey,
};

/// Galaxy's limit for a label, in characters.
const LABEL_MAX: usize = 250;

/// Reads a list or map of outputs, and the directories that must exist before the command runs.
///
/// `made_by_host`: the outputs are no files of a command, so nothing says where they lie.
pub fn outputs(
    place: Place,
    user_tool: bool,
    made_by_host: bool,
) -> Result<(Vec<Output>, Vec<String>), YamlToolError> {
    let mut found: Vec<Output> = Vec::new();
    let mut directories = Vec::new();
    let (line, path) = (place.node.line, place.path.clone());
    for (name, item) in place.named()? {
        let output = output(name, item, user_tool, made_by_host, &mut directories)?;
        if found.iter().any(|other| other.name == output.name) {
            let message = format!("{path}: two outputs are called '{}'", output.name);
            return Err(YamlToolError::at(line, message));
        }
        found.push(output);
    }
    Ok((found, directories))
}

fn output(
    name: Option<String>,
    place: Place,
    user_tool: bool,
    made_by_host: bool,
    directories: &mut Vec<String>,
) -> Result<Output, YamlToolError> {
    let mut map = place.map()?;
    let name = match name {
        Some(name) => {
            map.take("name");
            name
        }
        None => map.require("name")?.text()?,
    };
    let label = map.text("label")?;
    if label
        .as_ref()
        .is_some_and(|label| label.chars().count() > LABEL_MAX)
    {
        return Err(map.fault(format!("the label has more than {LABEL_MAX} characters")));
    }
    let hidden = map.flag("hidden")?;
    let default_identifier_source = map.text("default_identifier_source")?;
    let kind = map.require("type")?.text()?;
    let kind = match kind.as_str() {
        "data" => OutputKind::Data(DataOutput {
            format: map.text("format")?,
            format_source: map.text("format_source")?,
            metadata_source: map.text("metadata_source")?,
            files: files(&mut map, directories)?,
            from: map.text("from")?,
        }),
        "collection" => OutputKind::Collection(collection(&mut map, made_by_host, directories)?),
        "text" | "integer" | "float" | "boolean" if !user_tool => {
            OutputKind::Scalar(ScalarOutput {
                kind: match kind.as_str() {
                    "text" => ScalarKind::Text,
                    "integer" => ScalarKind::Integer,
                    "float" => ScalarKind::Float,
                    _ => ScalarKind::Boolean,
                },
                files: files(&mut map, directories)?,
                from: map.text("from")?,
            })
        }
        other => return Err(map.fault(format!("an output of type '{other}' is not known"))),
    };
    let (files, from) = match &kind {
        OutputKind::Data(data) => (Some(&data.files), &data.from),
        OutputKind::Scalar(scalar) => (Some(&scalar.files), &scalar.from),
        OutputKind::Collection(_) => (None, &None),
    };
    let only_if = match map.take("only_if") {
        Some(place) if !user_tool => Some(condition(place)?),
        Some(_) => return Err(map.fault("a user's tool has all its outputs always")),
        None => None,
    };
    if let (Some(OutputFiles::Discover(discover)), None) = (files, from)
        && discover.is_empty()
        && !made_by_host
    {
        return Err(map.fault("an output must have from_work_dir or discover_datasets"));
    }
    map.finish()?;
    Ok(Output {
        name,
        label,
        hidden,
        kind,
        only_if,
        default_identifier_source,
    })
}

fn condition(place: Place) -> Result<Condition, YamlToolError> {
    let mut map = place.map()?;
    let input = map.require("input")?.text()?;
    let values = map
        .require("value")?
        .list_or_one()?
        .into_iter()
        .map(Place::scalar_text)
        .collect::<Result<_, _>>()?;
    map.finish()?;
    Ok(Condition { input, values })
}

fn files(map: &mut Reader, directories: &mut Vec<String>) -> Result<OutputFiles, YamlToolError> {
    let precreate = map.flag("precreate_directory")?;
    let discover = discoveries(map, directories, precreate)?;
    match map.text("from_work_dir")? {
        Some(_) if !discover.is_empty() => {
            Err(map.fault("an output has either from_work_dir or discover_datasets"))
        }
        Some(path) if !stays_inside(&path) => {
            Err(map.fault("from_work_dir must be relative and without '..'"))
        }
        Some(path) => Ok(OutputFiles::WorkDir(path)),
        None => Ok(OutputFiles::Discover(discover)),
    }
}

fn collection(
    map: &mut Reader,
    made_by_host: bool,
    directories: &mut Vec<String>,
) -> Result<CollectionOutput, YamlToolError> {
    let precreate = map.flag("precreate_directory")?;
    // An operator's file may put the structure one level down, as Galaxy's XML does.
    let mut nested = map.take("structure").map(Place::map).transpose()?;
    let mut found = CollectionOutput {
        format: map.text("format")?,
        format_source: map.text("format_source")?,
        inherit_format: map.flag("inherit_format")?,
        ..CollectionOutput::default()
    };
    structure(map, directories, precreate, &mut found)?;
    if let Some(mut nested) = nested.take() {
        structure(&mut nested, directories, precreate, &mut found)?;
        nested.finish()?;
    }
    if found.discover.is_empty() && !made_by_host {
        return Err(map.fault("a collection must have discover_datasets"));
    }
    let types = [
        &found.collection_type,
        &found.collection_type_source,
        &found.structured_like,
    ];
    if types.iter().all(|given| given.is_none()) && !made_by_host {
        return Err(map.fault(
            "a collection must have collection_type, collection_type_source or structured_like",
        ));
    }
    Ok(found)
}

fn structure(
    map: &mut Reader,
    directories: &mut Vec<String>,
    precreate: bool,
    found: &mut CollectionOutput,
) -> Result<(), YamlToolError> {
    let text =
        |map: &mut Reader, key: &str, slot: &mut Option<String>| -> Result<(), YamlToolError> {
            if let Some(value) = map.text(key)? {
                *slot = Some(value);
            }
            Ok(())
        };
    text(map, "collection_type", &mut found.collection_type)?;
    text(
        map,
        "collection_type_source",
        &mut found.collection_type_source,
    )?;
    text(map, "structured_like", &mut found.structured_like)?;
    found
        .discover
        .extend(discoveries(map, directories, precreate)?);
    Ok(())
}

fn discoveries(
    map: &mut Reader,
    directories: &mut Vec<String>,
    precreate: bool,
) -> Result<Vec<Discovery>, YamlToolError> {
    let mut found = Vec::new();
    if let Some(place) = map.take("discover_datasets") {
        for item in place.list_or_one()? {
            let discovery = discovery(item.map()?)?;
            if let (true, Some(directory)) = (precreate, &discovery.directory) {
                directories.push(directory.clone());
            }
            found.push(discovery);
        }
    }
    Ok(found)
}

fn discovery(mut map: Reader) -> Result<Discovery, YamlToolError> {
    match map.text("discover_via")?.as_deref() {
        None | Some("pattern") => {}
        Some(other) => {
            return Err(map.fault(format!(
                "discover_via '{other}' is not supported here: use a pattern"
            )));
        }
    }
    let directory = map.text("directory")?;
    if directory
        .as_ref()
        .is_some_and(|path| path != "." && !stays_inside(path))
    {
        return Err(map.fault("the directory must be relative and without '..'"));
    }
    let given = map
        .text("pattern")?
        .unwrap_or_else(|| "__default__".to_owned());
    let (mut sort_key, mut numeric, mut reverse) = sort_by(&mut map)?;
    if let Some(key) = map.text("sort_key")? {
        sort_key =
            key_named(&key).ok_or_else(|| map.fault(format!("sort_key '{key}' is not known")))?;
    }
    match map.text("sort_comp")?.as_deref() {
        None => {}
        Some("lexical") => numeric = false,
        Some("numeric") => numeric = true,
        Some(other) => return Err(map.fault(format!("sort_comp '{other}' is not known"))),
    }
    if let Some(place) = map.take("sort_reverse") {
        reverse = place.boolean()?;
    }
    let discovery = Discovery {
        pattern: pattern(&given).map_err(|_| {
            map.fault(format!(
                "'{given}' is not a regular expression that is supported here"
            ))
        })?,
        format: map
            .take_any(&["format", "ext"])
            .map(Place::text)
            .transpose()?,
        directory,
        recurse: map.flag("recurse")?,
        match_relative_path: map.flag("match_relative_path")?,
        visible: map.flag("visible")?,
        assign_primary_output: map.flag("assign_primary_output")?,
        sort_key,
        numeric,
        reverse,
    };
    map.finish()?;
    Ok(discovery)
}

/// Galaxy's shortcuts and Python's `re.match`, which is anchored at the beginning only.
fn pattern(given: &str) -> Result<regex::Regex, regex::Error> {
    let pattern = match given {
        "__default__" => {
            r"primary_[^_]+_(?P<designation>[^_]+)_(?P<visible>[^_]+)_(?P<ext>[^_]+)(_(?P<dbkey>[^_]+))?"
        }
        "__name__" => r"(?P<name>.*)",
        "__designation__" => r"(?P<designation>.*)",
        "__name_and_ext__" => r"(?P<name>.*)\.(?P<ext>[^\.]+)?",
        "__designation_and_ext__" => r"(?P<designation>.*)\.(?P<ext>[^\._]+)?",
        other => other,
    };
    regex::Regex::new(&format!("^(?:{pattern})"))
}

/// `sort_by` as XML has it: `[reverse_][numeric_|lexical_]key`.
fn sort_by(map: &mut Reader) -> Result<(SortKey, bool, bool), YamlToolError> {
    let Some(given) = map.text("sort_by")? else {
        return Ok((SortKey::Filename, false, false));
    };
    let (rest, reverse) = match given.strip_prefix("reverse_") {
        Some(rest) => (rest, true),
        None => (given.as_str(), false),
    };
    let (rest, numeric) = match rest.strip_prefix("numeric_") {
        Some(rest) => (rest, true),
        None => (rest.strip_prefix("lexical_").unwrap_or(rest), false),
    };
    match key_named(rest) {
        Some(key) => Ok((key, numeric, reverse)),
        None => Err(map.fault(format!("sort_by '{given}' is not known"))),
    }
}

fn key_named(name: &str) -> Option<SortKey> {
    Some(match name {
        "filename" => SortKey::Filename,
        "name" => SortKey::Name,
        "designation" => SortKey::Designation,
        "dbkey" => SortKey::Dbkey,
        _ => return None,
    })
}
