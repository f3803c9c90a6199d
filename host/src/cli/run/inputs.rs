//! What a workflow is given: `-i LABEL=VALUE` and Planemo's job files, matched with the workflow's inputs.
//!
//! Pure but for looking whether files are there. All that is wrong is told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::http::upload::local::{self, Local, LocalElement, LocalFile};
use crate::model::parameter_input;
use crate::model::workflow::{StepDescription, WorkflowDescription};
use crate::plugins::did_you_mean;

/// What is given to each input step, by order_index.
pub type Inputs = BTreeMap<usize, Input>;

/// What an input step is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Files to be taken in first.
    Files(Local),
    /// The value of a parameter.
    Value(Value),
}

/// A job file's text, and the folder that its paths are relative to.
pub struct JobFile<'a> {
    pub name: &'a str,
    pub text: &'a str,
    pub folder: &'a Path,
}

/// Matches everything with the workflow. `flags` are `LABEL=VALUE`; they beat the job file.
pub fn collect(
    workflow: &WorkflowDescription,
    job: Option<JobFile<'_>>,
    flags: &[String],
) -> Result<Inputs, Vec<String>> {
    let mut collector = Collector {
        workflow,
        faults: Vec::new(),
        faulty: BTreeSet::new(),
        inputs: Inputs::new(),
    };
    if let Some(job) = job {
        collector.job_file(&job);
    }
    collector.flags(flags);
    collector.missing();
    match collector.faults.is_empty() {
        true => Ok(collector.inputs),
        false => Err(collector.faults),
    }
}

struct Collector<'a> {
    workflow: &'a WorkflowDescription,
    faults: Vec<String>,
    /// Inputs that are given something of which a fault tells.
    faulty: BTreeSet<usize>,
    inputs: Inputs,
}

impl<'a> Collector<'a> {
    /// The input step with this label; one without a label goes by its number, from 1.
    fn step(&mut self, label: &str) -> Option<&'a StepDescription> {
        let workflow = self.workflow;
        let by_label = workflow
            .input_steps()
            .find(|s| s.effective_label() == Some(label));
        let by_number = || {
            let number: usize = label.parse().ok()?;
            let mut steps = workflow.input_steps();
            steps.find(|s| s.order_index + 1 == number && s.effective_label().is_none())
        };
        let found = by_label.or_else(by_number);
        if found.is_none() {
            let names: Vec<String> = workflow.input_steps().map(name_of).collect();
            let hint = did_you_mean(label, names.iter().map(String::as_str));
            let known = match names.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has: {}", names.join(", ")),
            };
            self.faults.push(format!(
                "The workflow has no input {label:?}{hint} ({known})."
            ));
        }
        found
    }

    fn job_file(&mut self, job: &JobFile<'_>) {
        let document: Value = match serde_saphyr::from_str(job.text) {
            Ok(Value::Null) => return,
            Ok(document) => document,
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                self.faults
                    .push(format!("{} cannot be read: {line}", job.name));
                self.all_are_faulty();
                return;
            }
        };
        let Value::Object(map) = document else {
            let name = job.name;
            self.faults.push(format!(
                "{name} must map the labels of inputs to what they are given."
            ));
            self.all_are_faulty();
            return;
        };
        for (label, value) in &map {
            let Some(step) = self.step(label) else {
                continue;
            };
            if value.is_null() {
                continue;
            }
            match from_job(step, label, value, job.folder) {
                Ok(input) => drop(self.inputs.insert(step.order_index, input)),
                Err(fault) => {
                    self.faulty.insert(step.order_index);
                    self.faults.push(format!("{}: {label}: {fault}", job.name));
                }
            }
        }
    }

    fn flags(&mut self, flags: &[String]) {
        let mut given: Vec<(&StepDescription, &str, Vec<&str>)> = Vec::new();
        for flag in flags {
            let Some((label, value)) = split(flag, self.workflow) else {
                self.faults
                    .push(format!("-i takes LABEL=VALUE or LABEL=FILE, not {flag:?}."));
                continue;
            };
            let Some(step) = self.step(label) else {
                continue;
            };
            match given
                .iter_mut()
                .find(|(s, ..)| s.order_index == step.order_index)
            {
                Some((_, _, values)) => values.push(value),
                None => given.push((step, label, vec![value])),
            }
        }
        for (step, label, values) in given {
            match from_flags(step, label, &values) {
                Ok(input) => drop(self.inputs.insert(step.order_index, input)),
                Err(fault) => {
                    self.faulty.insert(step.order_index);
                    self.faults.push(format!("-i {label}: {fault}"));
                }
            }
        }
    }

    /// What a job file that cannot be read gives to the inputs is not known.
    fn all_are_faulty(&mut self) {
        let inputs = self.workflow.input_steps();
        self.faulty.extend(inputs.map(|step| step.order_index));
    }

    fn missing(&mut self) {
        for step in self.workflow.input_steps() {
            let place = step.order_index;
            let is_given = self.inputs.contains_key(&place) || self.faulty.contains(&place);
            if is_given || step.input_optional() || step.input_default().is_some() {
                continue;
            }
            let (name, wanted) = (name_of(step), wanted(step));
            // Whoever misspelled a label was told so; this one is then told as well.
            self.faults.push(format!(
                "The input {name:?} is missing: give {wanted} with -i {name:?}=…"
            ));
        }
    }
}

/// At the first `=` after which the label is one of the workflow's, else at the first.
fn split<'f>(flag: &'f str, workflow: &WorkflowDescription) -> Option<(&'f str, &'f str)> {
    let parts = flag
        .match_indices('=')
        .map(|(at, _)| (&flag[..at], &flag[at + 1..]));
    let is_label = |label: &str| {
        workflow
            .input_steps()
            .any(|s| s.effective_label() == Some(label))
    };
    let known = parts.clone().find(|(label, _)| is_label(label));
    known
        .or_else(|| parts.into_iter().next())
        .filter(|(label, _)| !label.is_empty())
}

fn name_of(step: &StepDescription) -> String {
    match step.effective_label() {
        Some(label) => label.to_owned(),
        None => (step.order_index + 1).to_string(),
    }
}

fn wanted(step: &StepDescription) -> String {
    match step.step_type.as_str() {
        "data_input" => "a file".to_owned(),
        "data_collection_input" => format!("a collection ({})", collection_type(step)),
        _ => format!("a value ({})", step.parameter_type().unwrap_or("text")),
    }
}

fn collection_type(step: &StepDescription) -> &str {
    let named = step
        .tool_inputs
        .get("collection_type")
        .and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or("list")
}

fn from_flags(step: &StepDescription, label: &str, values: &[&str]) -> Result<Input, String> {
    match (step.step_type.as_str(), values) {
        ("data_input", [path]) => {
            let file = file(Path::new(path), None)?;
            Ok(Input::Files(Local::Dataset(file)))
        }
        ("data_collection_input", paths) => {
            let kind = collection_type(step);
            if kind != "list" {
                return Err(format!(
                    "files make a list, but this takes a {kind}; describe it in a job file (--inputs)."
                ));
            }
            Ok(Input::Files(Local::Collection {
                name: label.to_owned(),
                collection_type: kind.to_owned(),
                elements: list_of(paths)?,
            }))
        }
        ("parameter_input", [text]) => {
            let value = typed(step.parameter_type().unwrap_or("text"), text)?;
            checked(step, value)
        }
        ("parameter_input", texts)
            if step.tool_inputs.get("multiple") == Some(&Value::Bool(true)) =>
        {
            let kind = step.parameter_type().unwrap_or("text");
            let values = texts
                .iter()
                .map(|text| typed(kind, text))
                .collect::<Result<_, _>>()?;
            checked(step, Value::Array(values))
        }
        _ => Err("it is given more than once.".to_owned()),
    }
}

fn checked(step: &StepDescription, value: Value) -> Result<Input, String> {
    parameter_input::check(&step.tool_inputs, &value)?;
    Ok(Input::Value(value))
}

/// Text from a command line as the type that the parameter has.
fn typed(kind: &str, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    match kind {
        "integer" => match trimmed.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(format!("{text:?} is not an integer.")),
        },
        "float" => match trimmed.parse::<f64>().ok().filter(|n| n.is_finite()) {
            Some(number) => Ok(number.into()),
            None => Err(format!("{text:?} is not a number.")),
        },
        "boolean" => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(true.into()),
            "false" | "no" | "0" => Ok(false.into()),
            _ => Err(format!("{text:?} is neither true nor false.")),
        },
        _ => Ok(text.into()),
    }
}

/// The files named, and those in the folders named, by file name without ending.
fn list_of(paths: &[&str]) -> Result<Vec<(String, LocalElement)>, String> {
    let mut files = Vec::new();
    for path in paths.iter().map(Path::new) {
        if !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let broken = |error| format!("the folder {} cannot be read: {error}", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(broken)? {
            inside.push(entry.map_err(broken)?.path());
        }
        inside.retain(|path| path.is_file() && !is_hidden(path));
        inside.sort();
        files.append(&mut inside);
    }
    let mut elements: Vec<(String, LocalElement)> = Vec::with_capacity(files.len());
    for path in files {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let stem = match name.split_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
            _ => name.clone(),
        };
        let is_taken = |wanted: &str| elements.iter().any(|(known, _)| known == wanted);
        let identifier = if is_taken(&stem) { name } else { stem };
        elements.push((identifier, LocalElement::File(file(&path, None)?)));
    }
    Ok(elements)
}

/// What tools leave in folders beside the data, and shells leave out as well.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// What a job file says of one input.
fn from_job(
    step: &StepDescription,
    label: &str,
    value: &Value,
    folder: &Path,
) -> Result<Input, String> {
    let class = value.get("class").and_then(Value::as_str);
    match (step.step_type.as_str(), class) {
        ("data_input", Some("File")) => Ok(Input::Files(Local::Dataset(job_file(value, folder)?))),
        ("data_collection_input", Some("Collection")) => {
            let wanted = collection_type(step);
            let named = value.get("collection_type").and_then(Value::as_str);
            Ok(Input::Files(Local::Collection {
                name: value
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or(label)
                    .to_owned(),
                collection_type: named.unwrap_or(wanted).to_owned(),
                elements: job_elements(value, folder, 0)?,
            }))
        }
        ("parameter_input", None) => checked(step, value.clone()),
        (_, Some(class @ ("File" | "Collection"))) => Err(format!(
            "a {class} does not fit: this input takes {}.",
            wanted(step)
        )),
        (_, Some(class)) => Err(format!(
            "there is no class {class:?}; use File or Collection."
        )),
        ("data_input", None) => Err("write `class: File` and `path: …`.".to_owned()),
        ("data_collection_input", None) => {
            Err("write `class: Collection`, `collection_type: …` and `elements: […]`.".to_owned())
        }
        _ => Err(format!("this input takes {}.", wanted(step))),
    }
}

/// Deeper collections are refused.
const DEPTH_MAX: usize = 8;

fn job_elements(
    value: &Value,
    folder: &Path,
    depth: usize,
) -> Result<Vec<(String, LocalElement)>, String> {
    if depth > DEPTH_MAX {
        return Err(format!(
            "collections are nested more than {DEPTH_MAX} deep."
        ));
    }
    let listed = value.get("elements").and_then(Value::as_array);
    let listed = listed.ok_or("a Collection needs `elements: […]`.")?;
    let mut elements = Vec::with_capacity(listed.len());
    for element in listed {
        let text = |key: &str| element.get(key).and_then(Value::as_str);
        let identifier = text("identifier").or(text("name"));
        let identifier = identifier
            .ok_or("every element needs an `identifier`.")?
            .to_owned();
        let made = match text("class") {
            Some("Collection") => LocalElement::Inner(job_elements(element, folder, depth + 1)?),
            Some("File") | None => {
                let file = job_file(element, folder);
                LocalElement::File(file.map_err(|fault| format!("element {identifier}: {fault}"))?)
            }
            Some(class) => {
                return Err(format!(
                    "element {identifier}: there is no class {class:?}."
                ));
            }
        };
        elements.push((identifier, made));
    }
    Ok(elements)
}

fn job_file(value: &Value, folder: &Path) -> Result<LocalFile, String> {
    let empty = Map::new();
    let map = value.as_object().unwrap_or(&empty);
    let text = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| map.get(*key)?.as_str());
        found.map(str::to_owned)
    };
    let Some(path) = text(&["path", "location", "url"]) else {
        return Err("a File needs a `path`.".to_owned());
    };
    let path = path.strip_prefix("file://").unwrap_or(&path);
    if path.contains("://") {
        return Err(format!(
            "{path} would have to be fetched; download it and give its path."
        ));
    }
    let extension = text(&["filetype", "file_type", "ext"]).filter(|ext| ext != "auto");
    Ok(LocalFile {
        name: text(&["name"]),
        dbkey: text(&["dbkey"]),
        ..file(&folder.join(path), extension)?
    })
}

/// A file that is there.
fn file(path: &Path, extension: Option<String>) -> Result<LocalFile, String> {
    let shown = path.display();
    if path.as_os_str().is_empty() {
        return Err("no file is named.".to_owned());
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(format!("{shown} is a folder, not a file.")),
        Ok(_) => match std::fs::File::open(path) {
            Ok(_) => Ok(LocalFile {
                from: local::From::Path(PathBuf::from(path)),
                name: None,
                extension,
                dbkey: None,
                hashes: Vec::new(),
            }),
            Err(error) => Err(format!("{shown} cannot be read: {error}.")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("there is no file {shown}."))
        }
        Err(error) => Err(format!("{shown} cannot be read: {error}.")),
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
