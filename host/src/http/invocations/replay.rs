//! The request of an invocation, such that sending it again runs the same.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::show::find;
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::workflows;
use crate::invocation_request::tool_request::encoded;
use crate::model::invocation::{RequestParameterKind as Kind, meta};
use crate::model::revision::Revision;
use crate::store::Reader;
use crate::store::invocations::{StoredRequest, load_request};

/// What the invocation was asked for with.
#[utoipa::path(get, path = "/api/invocations/{id}/request", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "A body for POST /api/workflows/{workflow_id}/invocations", body = Value)))]
pub async fn request(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let revision = workflows::find::revision(&app, &mut q, invocation.workflow_id).await?;
    let stored = load_request(&mut q, invocation.id).await?;
    let mut inputs = Map::new();
    let index = |step_id: i64| {
        revision
            .order_index_of(step_id)
            .map(|index| index.to_string())
    };
    for (list, src) in [
        (&stored.input_datasets, "hda"),
        (&stored.input_collections, "hdca"),
    ] {
        for input in list {
            if let Some(index) = index(input.step_id) {
                let value = match &input.request {
                    Some(source) => source.clone(),
                    None => json!({"src": src, "id": app.encode(input.item_id)}),
                };
                inputs.insert(index, value);
            }
        }
    }
    for (step_id, value) in &stored.input_parameters {
        if let Some(index) = index(*step_id) {
            inputs.insert(index, value.clone());
        }
    }
    let texts = |kind: Kind| -> Value {
        let pairs = stored
            .of_kind(kind)
            .map(|(k, v)| (k.to_owned(), Value::from(v)));
        Value::Object(pairs.collect())
    };
    let is = |name: &str| stored.meta(name) == Some("true");
    let parameters = parameters(&app, &mut q, &revision, &stored).await?;
    let mut shape = json!({
        "workflow_id": app.encode(invocation.workflow_id),
        "history_id": app.encode(invocation.history_id),
        "inputs": inputs,
        "inputs_by": "step_index|step_uuid",
        "replacement_params": texts(Kind::Replacement),
        "resource_params": texts(Kind::Resource),
        "use_cached_job": is(meta::USE_CACHED_JOB),
        "preferred_object_store_id": stored.meta(meta::OBJECT_STORE),
        "preferred_outputs_object_store_id": stored.meta(meta::OUTPUTS_OBJECT_STORE),
        "preferred_intermediate_object_store_id": stored.meta(meta::INTERMEDIATE_OBJECT_STORE),
        "on_complete": invocation.on_complete,
        "scheduler": invocation.scheduler,
        "instance": true,
        "parameters": parameters,
        "parameters_normalized": true,
    });
    if stored.meta(meta::COPY_INPUTS_TO_HISTORY) == Some("false") {
        shape["no_add_to_history"] = json!(true);
    }
    Ok(Json(shape))
}

/// The overrides by order_index; those inside subworkflows as `<inner index>|name`.
async fn parameters(
    app: &App,
    q: &mut Reader,
    revision: &Revision,
    stored: &StoredRequest,
) -> Result<Map<String, Value>, ApiError> {
    // Depth first without recursion: (prefix of the names, outermost index, revision, its request).
    let mut found: HashMap<usize, Map<String, Value>> = HashMap::new();
    let mut waiting = vec![(None::<(usize, String)>, revision.clone(), stored.clone())];
    while let Some((place, revision, stored)) = waiting.pop() {
        for (index, step_id) in revision.step_ids.iter().enumerate() {
            let outermost = place.as_ref().map_or(index, |(outermost, _)| *outermost);
            let prefix = match &place {
                None => String::new(),
                Some((_, prefix)) => format!("{prefix}{index}|"),
            };
            if let Some(Value::Object(values)) = stored.step_parameters(*step_id) {
                let of_step = found.entry(outermost).or_default();
                for (name, value) in values {
                    let value = encoded(&value, &|id| app.encode(id));
                    of_step.insert(format!("{prefix}{name}"), value);
                }
            }
            if let (Some(inner), Some(child)) = (
                revision.subrevisions.get(&index),
                stored.children.get(step_id),
            ) {
                let request = load_request(q, *child).await?;
                waiting.push((Some((outermost, prefix)), inner.as_ref().clone(), request));
            }
        }
    }
    let named = found
        .into_iter()
        .map(|(index, values)| (index.to_string(), Value::Object(values)));
    Ok(named.collect())
}
