//! What a submission says, checked as far as that needs neither files nor the database.

use serde_json::{Map, Value, json};

use super::attachments::Attachments;
use crate::formats::Format;
use crate::http::config::VERSION_MAJOR;
use crate::http::error::ApiError;

/// The engine's own name.
pub const ENGINE: &str = "barycenter";
/// The names a client may ask for this engine by, with the version of each.
pub const ENGINES: [(&str, &str); 2] = [
    (ENGINE, env!("CARGO_PKG_VERSION")),
    ("galaxy", VERSION_MAJOR),
];
/// Any text is taken, as by Galaxy; these are the ones that are named.
pub const TYPE_VERSIONS: [&str; 1] = ["1.0.0"];
/// Name, type and default of the engine parameters.
pub const PARAMETERS: [(&str, &str, &str); 5] = [
    ("history_id", "string", ""),
    ("history_name", "string", HISTORY_NAME),
    ("use_cached_job", "boolean", "false"),
    ("scheduler", "string", ""),
    ("preferred_object_store_id", "string", ""),
];
/// What a new history is called when nobody says.
pub const HISTORY_NAME: &str = "WES Run";

/// What a workflow is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowType {
    Native,
    Format2,
}

impl WorkflowType {
    pub const ALL: [WorkflowType; 2] = [WorkflowType::Native, WorkflowType::Format2];

    pub fn code(self) -> &'static str {
        match self {
            WorkflowType::Native => "gx_workflow_ga",
            WorkflowType::Format2 => "gx_workflow_format2",
        }
    }

    /// Of a document.
    pub fn of(format: Format) -> WorkflowType {
        match format {
            Format::Native => WorkflowType::Native,
            Format::Format2 | Format::Format2Wrapped => WorkflowType::Format2,
        }
    }
}

/// A submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub workflow_type: WorkflowType,
    pub workflow_type_version: String,
    pub workflow_url: Option<String>,
    pub workflow_params: Map<String, Value>,
    pub tags: Map<String, Value>,
    pub workflow_engine: Option<String>,
    pub workflow_engine_version: Option<String>,
    /// Texts only.
    pub workflow_engine_parameters: Map<String, Value>,
}

impl Submission {
    /// Reads the fields of a form or of a JSON body. 400 for whatever is wrong with them.
    pub fn read(fields: &Map<String, Value>) -> Result<Submission, ApiError> {
        let named = required(fields, "workflow_type")?;
        let workflow_type = WorkflowType::ALL
            .into_iter()
            .find(|t| t.code().eq_ignore_ascii_case(&named))
            .ok_or_else(|| {
                let known = WorkflowType::ALL.map(WorkflowType::code).join(" and ");
                ApiError::invalid(format!(
                    "This server runs workflows of the types {known}, not {named:?}."
                ))
            })?;
        let workflow_engine = text(fields, "workflow_engine")?;
        let workflow_engine_version = text(fields, "workflow_engine_version")?;
        check_engine(
            workflow_engine.as_deref(),
            workflow_engine_version.as_deref(),
        )?;
        Ok(Submission {
            workflow_type,
            workflow_type_version: required(fields, "workflow_type_version")?,
            workflow_url: text(fields, "workflow_url")?,
            workflow_params: object(fields, "workflow_params")?,
            tags: tags(fields)?,
            workflow_engine,
            workflow_engine_version,
            workflow_engine_parameters: texts(fields, "workflow_engine_parameters", true)?,
        })
    }

    /// The request as it is echoed (RunRequest). A workflow that was only attached is named as its file is.
    pub fn echo(&self, attachments: &Attachments) -> Value {
        let only = || attachments.only().map(|a| a.name.clone());
        let url = self.workflow_url.clone().or_else(only).unwrap_or_default();
        let mut echo = json!({
            "workflow_params": self.workflow_params,
            "workflow_type": self.workflow_type.code(),
            "workflow_type_version": self.workflow_type_version,
            "workflow_url": url,
            "tags": self.tags,
        });
        for (name, value) in [
            ("workflow_engine", &self.workflow_engine),
            ("workflow_engine_version", &self.workflow_engine_version),
        ] {
            if let Some(value) = value {
                echo[name] = value.clone().into();
            }
        }
        if !self.workflow_engine_parameters.is_empty() {
            echo[PARAMETERS_FIELD] = Value::Object(self.workflow_engine_parameters.clone());
        }
        echo
    }

    /// An engine parameter, if it is given.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let given = self.workflow_engine_parameters.get(name)?.as_str()?;
        (!given.is_empty()).then_some(given)
    }
}

const PARAMETERS_FIELD: &str = "workflow_engine_parameters";

/// The engine parameters of an echoed request that mean nothing here.
pub fn ignored(request: &Value) -> impl Iterator<Item = &str> {
    let given = request.get(PARAMETERS_FIELD).and_then(Value::as_object);
    given
        .into_iter()
        .flat_map(|given| given.keys())
        .map(String::as_str)
        .filter(|name| PARAMETERS.iter().all(|(known, ..)| known != name))
}

fn check_engine(engine: Option<&str>, version: Option<&str>) -> Result<(), ApiError> {
    let Some(engine) = engine else {
        return match version {
            None => Ok(()),
            Some(_) => Err(ApiError::missing(
                "workflow_engine is required with workflow_engine_version.",
            )),
        };
    };
    let Some((_, ours)) = ENGINES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(engine))
    else {
        return Err(ApiError::invalid(format!(
            "There is no workflow engine {engine:?} here."
        )));
    };
    match version {
        Some(version) if version != *ours => Err(ApiError::invalid(format!(
            "The workflow engine {engine} is of version {ours} here, not {version:?}."
        ))),
        _ => Ok(()),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::invalid(format!("{name} must be a text."))),
    }
}

fn required(fields: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    text(fields, name)?.ok_or_else(|| ApiError::missing(format!("{name} is required.")))
}

/// An object, or JSON text of one; nothing is an empty one.
fn object(fields: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, ApiError> {
    let value = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|e| ApiError::bad_json(format!("{name} is not valid JSON: {e}")))?,
        Some(value) => value.clone(),
    };
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(ApiError::invalid(format!("{name} must be a JSON object."))),
    }
}

/// An object whose values are texts. `lenient`: a boolean or a number counts as its text.
fn texts(
    fields: &Map<String, Value>,
    name: &str,
    lenient: bool,
) -> Result<Map<String, Value>, ApiError> {
    let mut map = object(fields, name)?;
    for (key, value) in &mut map {
        // Not every database keeps it.
        if key.contains('\0') || value.as_str().is_some_and(|text| text.contains('\0')) {
            return Err(ApiError::invalid(format!("{name} holds a NUL character.")));
        }
        match value {
            Value::String(_) => {}
            Value::Bool(_) | Value::Number(_) if lenient => *value = value.to_string().into(),
            _ => {
                return Err(ApiError::invalid(format!(
                    "In {name}, the value of {key:?} must be a text."
                )));
            }
        }
    }
    Ok(map)
}

/// Name and value of a tag are looked for, and an index holds no more, in bytes.
const TAG_MAX: usize = 2000;

fn tags(fields: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let tags = texts(fields, "tags", false)?;
    for (name, value) in &tags {
        let length = name.len() + value.as_str().map_or(0, str::len);
        if length > TAG_MAX {
            let name: String = name.chars().take(40).collect();
            return Err(ApiError::invalid(format!(
                "Name and value of a tag may have {TAG_MAX} bytes together; those of {name:?} have {length}."
            )));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: Value) -> Result<Submission, ApiError> {
        Submission::read(value.as_object().expect("an object"))
    }

    #[test]
    fn a_form_and_json_say_the_same() {
        let form = read(
            json!({"workflow_type": "GX_Workflow_GA", "workflow_type_version": "v1", "tags": "{\"a\": \"b\"}",
            "workflow_params": "{\"n\": 1}", "workflow_engine_parameters": "{\"use_cached_job\": true}"}),
        );
        let json = read(
            json!({"workflow_type": "gx_workflow_ga", "workflow_type_version": "v1", "tags": {"a": "b"},
            "workflow_params": {"n": 1}, "workflow_engine_parameters": {"use_cached_job": "true"}}),
        );
        let form = form.expect("understood");
        assert_eq!(form, json.expect("understood"));
        assert_eq!(form.parameter("use_cached_job"), Some("true"));
        let echo = form.echo(&Attachments::default());
        assert_eq!(echo["workflow_params"], json!({"n": 1}));
        assert!(ignored(&echo).next().is_none());
    }

    #[test]
    fn what_is_wrong_is_refused_with_400() {
        let good = json!({"workflow_type": "gx_workflow_ga", "workflow_type_version": "1"});
        let code = |name: &str, value: Value| {
            let mut fields = good.clone();
            fields[name] = value;
            let error = read(fields).expect_err(name);
            assert_eq!(error.status(), 400);
            error.code()
        };
        assert_eq!(read(json!({})).expect_err("empty").code(), 400_007);
        assert_eq!(code("workflow_type", json!("CWL")), 400_008);
        assert_eq!(code("workflow_type_version", json!("")), 400_007);
        assert_eq!(code("workflow_params", json!("{")), 400_003);
        assert_eq!(code("workflow_params", json!("[]")), 400_008);
        assert_eq!(code("tags", json!({"a": 1})), 400_008);
        assert_eq!(code("tags", json!({"a": "\0"})), 400_008);
        assert_eq!(code("tags", json!("{\"a\\u0000\": \"\"}")), 400_008);
        assert_eq!(code("tags", json!("\"a\"")), 400_008);
        assert_eq!(code("tags", json!({"a": "x".repeat(2000)})), 400_008);
        assert_eq!(code("tags", json!({"é".repeat(1001): ""})), 400_008);
        assert_eq!(code("workflow_engine", json!("cwltool")), 400_008);
        assert_eq!(code("workflow_engine_version", json!("1")), 400_007);
        assert_eq!(
            code("workflow_engine_parameters", json!({"a": {}})),
            400_008
        );
        assert_eq!(code("workflow_url", json!(1)), 400_008);
    }

    #[test]
    fn a_tag_may_be_as_long_as_the_index_takes() {
        let read = read(
            json!({"workflow_type": "gx_workflow_ga", "workflow_type_version": "1",
            "tags": {"a": "x".repeat(1999)}}),
        );
        assert_eq!(read.expect("good").tags.len(), 1);
    }

    #[test]
    fn engines_are_known_by_name_and_version() {
        assert!(check_engine(Some("Galaxy"), None).is_ok());
        assert!(check_engine(Some("barycenter"), Some(env!("CARGO_PKG_VERSION"))).is_ok());
        assert!(check_engine(Some("barycenter"), Some("0.0.0")).is_err());
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(text in "\\PC{0,60}", name in "workflow_(params|url|type|engine)|tags") {
            let _ = read(json!({"workflow_type": "gx_workflow_ga", "workflow_type_version": "1", name: text}));
        }
    }
}
