//! What a job was told to do, as people read it.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::find;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::db::Query;
use crate::store::jobs::{self, Item, Job};
use crate::tools::model::{Input, InputKind};
use crate::tools::parameters::active_branch;

/// A job's parameters, as the tool labels them.
#[utoipa::path(get, path = "/api/jobs/{id}/parameters_display", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`parameters` (`text`, `depth`, `value`), `has_parameter_errors`, `outputs`", body = Value)))]
pub async fn display(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    let inputs = jobs::inputs(&mut q, job.id).await?;
    let outputs = jobs::outputs(&mut q, job.id).await?;
    let mut lines = Vec::new();
    let known = match parameters(&app, &mut q, &job).await? {
        Some((tool, state)) => {
            let mut lines = Lines {
                app: &app,
                inputs: &inputs,
                found: &mut lines,
            };
            lines.group(&tool.inputs, &state, "", 1);
            true
        }
        None => false,
    };
    let mut shown = serde_json::Map::new();
    for item in &outputs {
        let one = json!({"label": null, "value": {"src": item.src, "id": app.encode(item.id)}});
        let list = shown.entry(item.name.clone()).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(one);
        }
    }
    Ok(Json(json!({
        "parameters": lines,
        "has_parameter_errors": !known,
        "outputs": shown,
    })))
}

/// The tool, and the parameters in one object; None where the tool is gone.
async fn parameters(
    app: &App,
    q: &mut impl Query,
    job: &Job,
) -> Result<Option<(std::sync::Arc<crate::tools::Tool>, Value)>, ApiError> {
    let Some(tool) = crate::http::tools::tool_by_id(app, &job.tool_id, job.tool_version.as_deref())
    else {
        return Ok(None);
    };
    let stored = jobs::parameters(q, job.id).await?;
    let state = stored.into_iter().map(|(name, text)| {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (name, value)
    });
    Ok(Some((tool, Value::Object(state.collect()))))
}

struct Lines<'a> {
    app: &'a App,
    inputs: &'a [Item],
    found: &'a mut Vec<Value>,
}

impl Lines<'_> {
    fn group(&mut self, inputs: &[Input], state: &Value, prefix: &str, depth: usize) {
        for input in inputs {
            let value = state.get(&input.name).unwrap_or(&Value::Null);
            let path = format!("{prefix}{}", input.name);
            let label = input.label.as_deref().unwrap_or(&input.name);
            match &input.kind {
                InputKind::Section { inputs } => {
                    self.line(label, depth, Value::Null);
                    self.group(inputs, value, &format!("{path}|"), depth + 1);
                }
                InputKind::Repeat { inputs, .. } => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.line(&format!("{label} {}", n + 1), depth, Value::Null);
                        self.group(inputs, item, &format!("{path}_{n}|"), depth + 1);
                    }
                }
                InputKind::Conditional { test, whens } => {
                    let inner = format!("{path}|");
                    self.group(std::slice::from_ref(test), value, &inner, depth);
                    if let Some(when) = active_branch(whens, &value[&test.name]) {
                        self.group(&when.inputs, value, &inner, depth + 1);
                    }
                }
                kind if kind.is_data() => {
                    let app = self.app;
                    let of_input = self.inputs.iter().filter(|item| {
                        let rest = item.name.strip_prefix(&path);
                        rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
                    });
                    let items =
                        of_input.map(|item| json!({"src": item.src, "id": app.encode(item.id)}));
                    let items: Vec<Value> = items.collect();
                    self.line(label, depth, Value::Array(items));
                }
                _ => {
                    let text = match value {
                        Value::Null => "Not available.".to_owned(),
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    self.line(label, depth, text.into());
                }
            }
        }
    }

    fn line(&mut self, text: &str, depth: usize, value: Value) {
        self.found
            .push(json!({"text": text, "depth": depth, "value": value, "notes": null}));
    }
}
