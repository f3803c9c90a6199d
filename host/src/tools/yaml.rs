//! Galaxy's YAML tools: `class: GalaxyTool` and `class: GalaxyUserTool` (tools spec, section 3).
//!
//! Beyond the published schema, a `GalaxyTool` may have an id with capitals and blanks, may be
//! `hidden`, and may have an `expression` in place of a command: JavaScript that returns an object
//! with a key per output, as Galaxy's XML expression tools do. An output of it may be there only for
//! certain values of a parameter (`only_if`).

mod inputs;
mod node;
mod outputs;

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::model::{
    Action, Citation, CollectionOperation, ConfigFile, CrossReference, Help, Input, Requirements,
    Tool, ToolClass,
};
use super::template::Template;
use node::{Node, Place, Reader};

/// Why a tool was refused: one line that names the file, the line and the place in the tool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", place(file, *line))]
pub struct YamlToolError {
    pub file: String,
    /// From 1; 0 when it is not known.
    pub line: u64,
    pub message: String,
}

impl YamlToolError {
    fn at(line: u64, message: String) -> YamlToolError {
        YamlToolError {
            file: String::new(),
            line,
            message,
        }
    }
}

fn place(file: &str, line: u64) -> String {
    match (file, line) {
        ("", 0) => String::new(),
        ("", line) => format!("line {line}: "),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}:{line}: "),
    }
}

/// Parses a tool file; `file` is its name in messages.
pub fn parse(text: &str, file: &str) -> Result<Tool, YamlToolError> {
    let tool = Node::from_yaml(text).and_then(|node| tool(node, text.to_owned()));
    tool.map_err(|error| YamlToolError {
        file: file.to_owned(),
        ..error
    })
}

/// A tool sent as JSON, the `representation` of `POST /api/unprivileged_tools`.
pub fn parse_representation(representation: &Value) -> Result<Tool, YamlToolError> {
    let source = serde_json::to_string_pretty(representation).unwrap_or_default();
    tool(Node::from_json(representation), source)
}

fn tool(node: Node, source: String) -> Result<Tool, YamlToolError> {
    let mut root = Place {
        node,
        path: String::new(),
    }
    .map()?;
    let class = match root.require("class")?.text()?.as_str() {
        "GalaxyTool" => ToolClass::GalaxyTool,
        "GalaxyUserTool" => ToolClass::GalaxyUserTool,
        other => {
            let message = format!("class is GalaxyTool or GalaxyUserTool, not '{other}'");
            return Err(root.fault(message));
        }
    };
    let user_tool = class == ToolClass::GalaxyUserTool;
    let id = id(&mut root, user_tool)?;
    let name = match root.text("name")? {
        Some(name) if user_tool && name.chars().count() < 5 => {
            return Err(root.fault("the name of a user's tool has at least 5 characters"));
        }
        Some(name) => name,
        None if user_tool => return Err(root.fault("the key 'name' is missing")),
        None => id.clone(),
    };
    let version = match root.text("version")? {
        Some(version) => version,
        None if user_tool => return Err(root.fault("the key 'version' is missing")),
        None => "1.0".to_owned(),
    };
    let mut container = root.text("container")?;
    let requirements = requirements(&mut root, user_tool, &mut container)?;
    if user_tool && container.is_none() {
        return Err(root.fault("the key 'container' is missing: a user's tool must name its image"));
    }
    let inputs = match root.take("inputs") {
        Some(place) => inputs::inputs(place)?,
        None => Vec::new(),
    };
    let action = action(&mut root, &inputs, user_tool)?;
    let made_by_host = matches!(action, Action::Collection(_));
    let (outputs, precreate_directories) = match root.take("outputs") {
        Some(place) => outputs::outputs(place, user_tool, made_by_host)?,
        None => Default::default(),
    };
    let config_files = config_files(&mut root, &inputs)?;
    for output in &outputs {
        if let Some(label) = &output.label {
            let template = Template::parse(label).map_err(|error| root.fault(error))?;
            declared(&template, &inputs).map_err(|message| {
                root.fault(format!("the label of {}: {message}", output.name))
            })?;
        }
    }
    let tool = Tool {
        description: root.text("description")?.unwrap_or_default(),
        help: help(&mut root)?,
        license: root.text("license")?,
        citations: pairs(&mut root, "citations", "content")?
            .into_iter()
            .map(|(kind, content)| Citation { kind, content })
            .collect(),
        edam_operations: root.texts("edam_operations")?,
        edam_topics: root.texts("edam_topics")?,
        xrefs: pairs(&mut root, "xrefs", "value")?
            .into_iter()
            .map(|(kind, value)| CrossReference { kind, value })
            .collect(),
        tests: tests(&mut root)?,
        profile: match root.take("profile") {
            Some(place) => place.scalar_text()?,
            None => "24.2".to_owned(),
        },
        hidden: !user_tool && root.flag("hidden")?,
        id,
        name,
        version,
        class,
        inputs,
        outputs,
        action,
        config_files,
        requirements,
        container,
        precreate_directories,
        source,
    };
    root.finish()?;
    Ok(tool)
}

fn id(root: &mut Reader, user_tool: bool) -> Result<String, YamlToolError> {
    let place = root.require("id")?;
    let fault = |message: &str| place.fault(message);
    let too_strange = fault("an operator's id has 1 to 255 printable characters and no slash");
    let not_user = fault(
        "a user's id has 3 to 255 of the characters a-z, 0-9, _ and -, beginning with a letter",
    );
    let id = place.text()?;
    if user_tool {
        let first = id
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = id.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
        });
        if !first || !rest || !(3..=255).contains(&id.len()) {
            return Err(not_user);
        }
    } else if id.trim() != id
        || !(1..=255).contains(&id.chars().count())
        || id.chars().any(|c| c.is_control() || c == '/')
    {
        return Err(too_strange);
    }
    Ok(id)
}

fn requirements(
    root: &mut Reader,
    user_tool: bool,
    container: &mut Option<String>,
) -> Result<Requirements, YamlToolError> {
    let mut found = Requirements::default();
    let Some(place) = root.take("requirements") else {
        return Ok(found);
    };
    for item in place.list()? {
        let mut item = item.map()?;
        match item.require("type")?.text()?.as_str() {
            "javascript" => found.expression_lib.extend(item.texts("expression_lib")?),
            "resource" => resource(&mut item, &mut found)?,
            "container" if !user_tool => {
                let mut inner = item.require("container")?.map()?;
                inner.take("type");
                let image = inner.require("container_id")?.text()?;
                inner.finish()?;
                container.get_or_insert(image);
            }
            other => {
                let message = format!("a requirement of type '{other}' is not known");
                return Err(item.fault(message));
            }
        }
        item.finish()?;
    }
    Ok(found)
}

fn resource(item: &mut Reader, found: &mut Requirements) -> Result<(), YamlToolError> {
    let mut amount = |key: &str| -> Result<Option<u64>, YamlToolError> {
        let Some(place) = item.take(key) else {
            return Ok(None);
        };
        let fault = place.fault("this must be a number that is not negative");
        let number = place.number()?;
        // A fraction of a core or mebibyte is asked for in full.
        if (0.0..1e15).contains(&number) {
            Ok(Some(number.ceil() as u64))
        } else {
            Err(fault)
        }
    };
    let cores = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX).max(1);
    if let Some(min) = amount("cores_min")? {
        found.cores_min = cores(min);
    }
    found.cores_max = amount("cores_max")?.map(cores);
    if let Some(min) = amount("ram_min")? {
        found.ram_min_mb = min;
    }
    found.ram_max_mb = amount("ram_max")?;
    found.time_limit = amount("timelimit")?
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    // Understood and not acted upon: no runner here hands out disk, shared memory or GPUs.
    for key in [
        "tmpdir_min",
        "tmpdir_max",
        "shm_size",
        "cuda_version_min",
        "cuda_compute_capability",
        "gpu_memory_min",
        "cuda_device_count_min",
        "cuda_device_count_max",
    ] {
        item.take(key);
    }
    Ok(())
}

fn action(root: &mut Reader, inputs: &[Input], user_tool: bool) -> Result<Action, YamlToolError> {
    let shell = root.take("shell_command");
    let base = root.take("base_command");
    let arguments = root.take("arguments");
    let (expression, operation) = match user_tool {
        true => (None, None),
        false => (root.take("expression"), root.take("collection_operation")),
    };
    if let Some(operation) = operation {
        if shell.is_some() || base.is_some() || expression.is_some() {
            return Err(root.fault("a tool has either a command or a collection_operation"));
        }
        let word = operation.text()?;
        return match CollectionOperation::parse(&word) {
            Some(operation) => Ok(Action::Collection(operation)),
            None => Err(root.fault(format!("there is no collection_operation '{word}'"))),
        };
    }
    match (shell, base, arguments, expression) {
        (Some(shell), None, None, None) => Ok(Action::Shell(template(shell, inputs)?)),
        (None, Some(base), arguments, None) => {
            let base_command = base
                .list_or_one()?
                .into_iter()
                .map(Place::text)
                .collect::<Result<_, _>>()?;
            let mut templates = Vec::new();
            if let Some(arguments) = arguments {
                for argument in arguments.list_or_one()? {
                    templates.push(template(argument, inputs)?);
                }
            }
            Ok(Action::Arguments {
                base_command,
                arguments: templates,
            })
        }
        (None, None, None, Some(expression)) => Ok(Action::Expression(expression.text()?)),
        _ => Err(root.fault("a tool has either shell_command or base_command (with arguments)")),
    }
}

fn config_files(root: &mut Reader, inputs: &[Input]) -> Result<Vec<ConfigFile>, YamlToolError> {
    let mut files: Vec<ConfigFile> = Vec::new();
    let Some(place) = root.take("configfiles") else {
        return Ok(files);
    };
    for (index, item) in place.list()?.into_iter().enumerate() {
        let mut item = item.map()?;
        if let Some(engine) = item.text("eval_engine")?
            && engine != "ecmascript"
        {
            return Err(item.fault(format!("eval_engine is ecmascript, not '{engine}'")));
        }
        let name = item.text("name")?;
        let filename = match item.text("filename")? {
            Some(filename) => filename,
            None => format!(
                "configs/{}",
                name.clone().unwrap_or_else(|| index.to_string())
            ),
        };
        if !stays_inside(&filename) {
            return Err(item.fault("the file name must be relative and without '..'"));
        }
        if files.iter().any(|file| file.filename == filename) {
            return Err(item.fault(format!("the file {filename} is written twice")));
        }
        let content = template(item.require("content")?, inputs)?;
        item.finish()?;
        files.push(ConfigFile {
            name,
            filename,
            content,
        });
    }
    Ok(files)
}

/// A relative path that cannot leave the directory it is relative to.
fn stays_inside(path: &str) -> bool {
    use std::path::{Component, Path};
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && Path::new(path).file_name().is_some()
}

fn template(place: Place, inputs: &[Input]) -> Result<Template, YamlToolError> {
    let (line, path) = (place.node.line, place.path.clone());
    let fault = |message: String| YamlToolError::at(line, format!("{path}: {message}"));
    let text = place.text()?;
    let template = Template::parse(&text).map_err(|error| fault(error.to_string()))?;
    declared(&template, inputs).map_err(fault)?;
    Ok(template)
}

fn declared(template: &Template, inputs: &[Input]) -> Result<(), String> {
    let known = |name: &String| inputs.iter().any(|input| input.name == *name);
    match template.input_names().iter().find(|name| !known(name)) {
        Some(name) => Err(format!(
            "inputs.{name} is used and there is no input called '{name}'"
        )),
        None => Ok(()),
    }
}

fn help(root: &mut Reader) -> Result<Option<Help>, YamlToolError> {
    let Some(place) = root.take("help") else {
        return Ok(None);
    };
    if let node::Kind::Scalar(Value::String(content)) = place.node.kind {
        return Ok(Some(Help {
            format: "markdown".to_owned(),
            content,
        }));
    }
    let mut map = place.map()?;
    let help = Help {
        format: map.text("format")?.unwrap_or_else(|| "markdown".to_owned()),
        content: map.require("content")?.text()?,
    };
    map.finish()?;
    Ok(Some(help))
}

fn pairs(
    root: &mut Reader,
    key: &str,
    value: &str,
) -> Result<Vec<(String, String)>, YamlToolError> {
    let mut found = Vec::new();
    if let Some(place) = root.take(key) {
        for item in place.list()? {
            let mut item = item.map()?;
            found.push((item.require("type")?.text()?, item.require(value)?.text()?));
            item.finish()?;
        }
    }
    Ok(found)
}

fn tests(root: &mut Reader) -> Result<Vec<Value>, YamlToolError> {
    const KEYS: [&str; 10] = [
        "doc",
        "inputs",
        "outputs",
        "assert_stdout",
        "assert_stderr",
        "command",
        "expect_exit_code",
        "expect_failure",
        "expect_test_failure",
        "credentials",
    ];
    let mut found = Vec::new();
    if let Some(place) = root.take("tests") {
        for item in place.list()? {
            found.push(item.node.to_json());
            let mut item = item.map()?;
            for key in KEYS {
                item.take(key);
            }
            item.finish()?;
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod unit_tests;
