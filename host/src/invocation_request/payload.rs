//! The body of an invocation request, read as leniently as Galaxy reads it (spec 6.3).

use serde_json::{Map, Value};

use super::RequestError;
use crate::model::hook;

/// A request as its fields say, before anything is known about the workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Payload {
    /// Version number of the revision, from 0.
    pub version: Option<u32>,
    /// The id in the path is a revision's.
    pub instance: bool,
    pub inputs: Map<String, Value>,
    /// As sent; None for the default.
    pub inputs_by: Option<String>,
    /// The inputs came as the deprecated `ds_map`.
    pub is_ds_map: bool,
    pub parameters: Map<String, Value>,
    pub parameters_normalized: bool,
    pub history: HistoryChoice,
    /// Use items of other histories where they are.
    pub no_add_to_history: bool,
    pub scheduler: Option<String>,
    pub batch: bool,
    pub require_exact_tool_versions: bool,
    pub allow_tool_state_corrections: bool,
    pub use_cached_job: bool,
    pub replacement_params: Vec<(String, String)>,
    pub resource_params: Map<String, Value>,
    pub preferred_object_store_id: Option<String>,
    pub preferred_outputs_object_store_id: Option<String>,
    pub preferred_intermediate_object_store_id: Option<String>,
    pub on_complete: Option<Value>,
}

/// Where the outputs go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HistoryChoice {
    /// A new history, named after the workflow.
    #[default]
    Unnamed,
    New(String),
    /// An existing one, by encoded id.
    Existing(String),
}

impl Payload {
    /// Reads the body; null counts as absent everywhere but in `no_add_to_history`, whose presence alone counts.
    pub fn parse(body: &Value) -> Result<Payload, RequestError> {
        let Value::Object(body) = body else {
            return Err(RequestError::invalid("The request must be a JSON object."));
        };
        let fields = Fields(body);
        if fields.get("effective_outputs").is_some() {
            return Err(RequestError::invalid(
                "effective_outputs cannot be set by a request.",
            ));
        }
        let inputs = fields.map("inputs")?;
        let ds_map = fields.map("ds_map")?;
        if !inputs.is_empty() && !ds_map.is_empty() {
            return Err(RequestError::invalid("Specify inputs or ds_map, not both."));
        }
        let is_ds_map = !ds_map.is_empty();
        let step_parameters = fields.map("step_parameters")?;
        let mut parameters = fields.map("parameters")?;
        if !step_parameters.is_empty() {
            if !parameters.is_empty() {
                return Err(RequestError::invalid(
                    "Specify parameters or step_parameters, not both.",
                ));
            }
            parameters = step_parameters;
        }
        let mut replacement_params = Vec::new();
        for (name, value) in fields.map("replacement_params")? {
            let Value::String(text) = value else {
                return Err(RequestError::invalid(format!(
                    "The replacement parameter {name} must be a text."
                )));
            };
            replacement_params.push((name, text));
        }
        let payload = Payload {
            version: fields.version()?,
            instance: fields.flag("instance", false)?,
            inputs: if is_ds_map { ds_map } else { inputs },
            inputs_by: fields.text("inputs_by")?,
            is_ds_map,
            parameters,
            parameters_normalized: fields.flag("parameters_normalized", false)?,
            history: fields.history()?,
            no_add_to_history: body.contains_key("no_add_to_history"),
            scheduler: fields.text("scheduler")?.filter(|id| !id.is_empty()),
            batch: fields.flag("batch", false)?,
            require_exact_tool_versions: fields.flag("require_exact_tool_versions", true)?,
            allow_tool_state_corrections: fields.flag("allow_tool_state_corrections", false)?,
            use_cached_job: fields.flag("use_cached_job", false)?,
            replacement_params,
            resource_params: fields.map("resource_params")?,
            preferred_object_store_id: fields.text("preferred_object_store_id")?,
            preferred_outputs_object_store_id: fields.text("preferred_outputs_object_store_id")?,
            preferred_intermediate_object_store_id: fields
                .text("preferred_intermediate_object_store_id")?,
            on_complete: fields.on_complete()?,
        };
        Ok(payload)
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A map, or JSON text of one.
    fn map(&self, name: &str) -> Result<Map<String, Value>, RequestError> {
        let decoded = match self.get(name) {
            None => return Ok(Map::new()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(Map::new()),
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
            Some(value) => value.clone(),
        };
        match decoded {
            Value::Object(map) => Ok(map),
            _ => Err(RequestError::invalid(format!(
                "{name} must be an object, or JSON text of one."
            ))),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, RequestError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(RequestError::invalid(format!("{name} must be a text."))),
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, RequestError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(RequestError::invalid(format!(
                "{name} must be true or false."
            ))),
        }
    }

    fn version(&self) -> Result<Option<u32>, RequestError> {
        let number = match self.get("version") {
            None => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        number
            .map(Some)
            .ok_or_else(|| RequestError::invalid("version must be a whole number from 0."))
    }

    fn history(&self) -> Result<HistoryChoice, RequestError> {
        let texts = [
            self.text("history_id")?,
            self.text("new_history_name")?,
            self.text("history")?,
        ];
        if texts.iter().flatten().count() > 1 {
            return Err(RequestError::invalid(
                "Specify at most one of history_id, new_history_name and history.",
            ));
        }
        Ok(match texts {
            [Some(id), _, _] => HistoryChoice::Existing(id),
            [_, Some(name), _] => HistoryChoice::New(name),
            [_, _, Some(either)] => match either.strip_prefix("hist_id=") {
                Some(id) => HistoryChoice::Existing(id.to_owned()),
                None => HistoryChoice::New(either),
            },
            _ => HistoryChoice::Unnamed,
        })
    }

    fn on_complete(&self) -> Result<Option<Value>, RequestError> {
        let Some(value) = self.get("on_complete") else {
            return Ok(None);
        };
        match hook::parse_all(value) {
            Ok(_) => Ok(Some(value.clone())),
            Err(fault) => Err(RequestError::invalid(fault)),
        }
    }
}
