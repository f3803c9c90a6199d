//! What this service is and can.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::base::Base;
use super::state;
use super::submission::{ENGINES, PARAMETERS, TYPE_VERSIONS, WorkflowType};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::store::wes;

/// What this service is and can. Readable without credentials.
#[utoipa::path(get, path = "/ga4gh/wes/v1/service-info", tag = "wes",
    responses((status = 200, description = "ServiceInfo of GA4GH WES 1.1", body = Value)))]
pub async fn service_info(State(app): State<App>, base: Base) -> Result<Json<Value>, ApiError> {
    let mut counts: Map<String, Value> = state::ALL
        .iter()
        .map(|name| ((*name).to_owned(), json!(0)))
        .collect();
    let mut add = |name: &str, n: i64| {
        let so_far = counts.get(name).and_then(Value::as_i64).unwrap_or(0);
        counts.insert(name.to_owned(), json!(so_far + n));
    };
    for (state, (all, paused)) in wes::state_counts(&mut app.store.reader()).await? {
        add(state::of(state, false), all - paused);
        add(state::of(state, true), paused);
    }
    let types: Map<String, Value> = WorkflowType::ALL
        .iter()
        .map(|t| {
            (
                t.code().to_owned(),
                json!({ "workflow_type_version": TYPE_VERSIONS }),
            )
        })
        .collect();
    let engines: Map<String, Value> = ENGINES
        .iter()
        .map(|(name, version)| {
            (
                (*name).to_owned(),
                json!({"workflow_engine_version": [version]}),
            )
        })
        .collect();
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|(name, kind, default)| json!({"name": name, "type": kind, "default_value": default}))
        .collect();
    // What the server holds or is sent, and what it may fetch.
    let mut protocols = vec!["gxworkflow", "base64", "data"];
    protocols.extend(app.fetcher.rules().schemes());
    let reversed: Vec<&str> = base.host().rsplit('.').collect();
    let url = base.url();
    Ok(Json(json!({
        "id": format!("{}.wes", reversed.join(".")),
        "name": format!("{} WES API", app.settings.brand),
        "type": {"group": "org.ga4gh", "artifact": "wes", "version": "1.1.0"},
        "description": "Runs Galaxy workflows: in the background, scheduled by plugins.",
        "organization": {"name": app.settings.brand, "url": url},
        "documentationUrl": format!("{url}/api/openapi.json"),
        "version": env!("CARGO_PKG_VERSION"),
        "workflow_type_versions": types,
        "supported_wes_versions": ["1.0.0", "1.1.0"],
        "supported_filesystem_protocols": protocols,
        "workflow_engine_versions": engines,
        "default_workflow_engine_parameters": parameters,
        "system_state_counts": counts,
        "auth_instructions_url": format!("{url}/api/openapi.json"),
        "tags": {},
    })))
}
