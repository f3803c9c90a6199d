//! Importing workflows, from whatever they come as.

use std::path::Path as FilePath;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::shape;
use crate::formats::{self, imported_name};
use crate::http::access::Wish;
use crate::http::app::{App, blocking};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::invocations;
use crate::http::payload::Payload;
use crate::http::requests::may_define_tools;
use crate::model::workflow::WorkflowDescription;
use crate::store::dynamic_tools::{self, NewDynamicTool};
use crate::store::workflows::{self, Attributes, StoredWorkflow};
use crate::store::{Durability, Tx};
use crate::tools::{Tool, yaml};

/// Imports a workflow, or (with `workflow_id`) runs one as in 2014.
#[utoipa::path(post, path = "/api/workflows", tag = "workflows", request_body = Value,
    description = "Exactly one of workflow, archive_source, archive_file, from_path, shared_workflow_id and from_history_id (with job_ids, dataset_ids, dataset_collection_ids, workflow_name); or workflow_id.",
    responses((status = 200, description = "The workflow; or the invocation with its outputs", body = Value)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    payload: Payload,
) -> Result<Json<Value>, ApiError> {
    if payload
        .fields
        .get("workflow_id")
        .is_some_and(|id| !id.is_null())
    {
        let body = Value::Object(payload.fields);
        return invocations::legacy::run(&app, &caller, body)
            .await
            .map(Json);
    }
    import(app, caller, payload).await
}

/// Imports the workflow in `workflow`.
#[utoipa::path(post, path = "/api/workflows/upload", tag = "workflows", request_body = Value,
    responses((status = 200, description = "The workflow", body = Value)))]
pub async fn upload(
    State(app): State<App>,
    caller: Caller,
    payload: Payload,
) -> Result<Json<Value>, ApiError> {
    import(app, caller, payload).await
}

const SOURCES: [&str; 6] = [
    "workflow",
    "archive_source",
    "archive_file",
    "from_path",
    "from_history_id",
    "shared_workflow_id",
];

async fn import(app: App, caller: Caller, payload: Payload) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let is_given = |name: &&&str| {
        payload
            .fields
            .get(**name)
            .is_some_and(|value| !value.is_null() && value != "")
            || payload.files.contains_key(**name)
    };
    let given: Vec<&&str> = SOURCES.iter().filter(is_given).collect();
    let source = match given.as_slice() {
        [one] => **one,
        [] => {
            return Err(ApiError::missing(format!(
                "One of {} is needed.",
                SOURCES.join(", ")
            )));
        }
        more => {
            let names: Vec<&str> = more.iter().map(|name| **name).collect();
            return Err(ApiError::invalid(format!(
                "Only one of {} can be given.",
                names.join(", ")
            )));
        }
    };
    let flag = |name: &str, default| match payload.fields.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) => crate::http::extract::parse_flag(text)
            .ok_or_else(|| ApiError::invalid(format!("{name} must be true or false."))),
        Some(_) => Err(ApiError::invalid(format!("{name} must be true or false."))),
    };
    let publish = flag("publish", false)?;
    let importable = flag("importable", publish)?;
    if publish && !importable {
        return Err(ApiError::invalid(
            "A published workflow must be importable.",
        ));
    }
    let mut from_path = None;
    let (description, is_archive) = match source {
        "workflow" => {
            let value = payload.json("workflow")?.unwrap_or_default();
            let description = match value.get("src").and_then(Value::as_str) {
                Some("from_path") => {
                    caller.require_admin()?;
                    let path = value.get("path").and_then(Value::as_str);
                    read_path(path.unwrap_or_default()).await?
                }
                _ => blocking(move || Ok(formats::import(&value))).await??,
            };
            (description, false)
        }
        "archive_source" => {
            let bytes = archive(payload.required("archive_source")?)?;
            let mut description = blocking(move || Ok(formats::import_bytes(&bytes))).await??;
            description.name = imported_name(&description.name, "URL");
            (description, true)
        }
        "archive_file" => {
            let Some(file) = payload.files.get("archive_file") else {
                return Err(ApiError::invalid("archive_file must be a file of a form."));
            };
            let mut description = read_file(file.path.as_path()).await?;
            description.name = imported_name(&description.name, "uploaded file");
            (description, true)
        }
        "from_path" => {
            caller.require_admin()?;
            let path = payload.required("from_path")?;
            let description = read_path(path).await?;
            from_path = Some(path.to_owned());
            (description, true)
        }
        "shared_workflow_id" => {
            let id = payload.required("shared_workflow_id")?;
            let mut q = app.store.reader();
            let which = Default::default();
            let found = super::find::workflow(&app, &mut q, &caller, id, which, Wish::Read).await?;
            let revision = super::find::revision(&app, &mut q, found.revision_id).await?;
            let mut description = revision.description.clone();
            description.name = format!("imported: {}", found.stored.name);
            description.annotation = found.stored.annotation;
            description.tags = found.stored.tags;
            (description, false)
        }
        _ => (
            super::from_history::read(&app, &caller, &payload).await?,
            false,
        ),
    };
    let attributes = Attributes {
        published: publish.then_some(true),
        importable: importable.then_some(true),
        ..Default::default()
    };
    let stored = store(
        &app,
        &caller,
        user_id,
        description,
        from_path.as_deref(),
        attributes,
    )
    .await?;
    let summary = shape::summary(&app, &stored.0);
    if !is_archive {
        return Ok(Json(Value::Object(summary)));
    }
    let (message, status) = match &stored.1 {
        d if d.steps.is_empty() => (
            "Imported, but this workflow has no steps.".to_owned(),
            "error",
        ),
        d if d.has_cycles => (
            "Imported, but this workflow contains cycles.".to_owned(),
            "error",
        ),
        d if d.has_errors => (
            "Imported, but some steps in this workflow have validation errors.".to_owned(),
            "error",
        ),
        d => (
            format!("Workflow {:?} imported successfully.", d.name),
            "success",
        ),
    };
    let id = summary.get("id").cloned().unwrap_or_default();
    Ok(Json(
        json!({"message": message, "status": status, "id": id}),
    ))
}

/// Stores a workflow that was read, with the tools that came embedded in it.
pub async fn store(
    app: &App,
    caller: &Caller,
    user_id: i64,
    mut description: WorkflowDescription,
    from_path: Option<&str>,
    attributes: Attributes,
) -> Result<(StoredWorkflow, WorkflowDescription), ApiError> {
    let now_ms = app.now_ms();
    let ids = &app.store.ids;
    let new_tools = adopt_tools(app, caller, &mut description)?;
    let mut tx = app.store.begin().await?;
    save_tools(app, &mut tx, user_id, &new_tools).await?;
    let (id, _) =
        workflows::create_stored_workflow(&mut tx, ids, user_id, &description, from_path, now_ms)
            .await?;
    if !attributes.is_empty() {
        workflows::set_attributes(&mut tx, id, &attributes, now_ms).await?;
    }
    let stored = workflows::by_id(&mut tx, id).await?;
    tx.commit(Durability::Acknowledged, "workflow.create")
        .await?;
    let stored = stored.ok_or_else(|| ApiError::internal("The workflow was not stored."))?;
    Ok((stored, description))
}

/// A tool that came embedded in a workflow.
pub struct NewTool {
    uuid: Uuid,
    tool: Tool,
    representation: Value,
}

/// Marks the steps whose tool is missing, and gives embedded tools a uuid. Users may bring user tools only.
pub fn adopt_tools(
    app: &App,
    caller: &Caller,
    description: &mut WorkflowDescription,
) -> Result<Vec<NewTool>, ApiError> {
    let mut new = Vec::new();
    adopt(app, caller, description, &mut new)?;
    Ok(new)
}

fn adopt(
    app: &App,
    caller: &Caller,
    description: &mut WorkflowDescription,
    new: &mut Vec<NewTool>,
) -> Result<(), ApiError> {
    for step in &mut description.steps {
        if let Some(inner) = step.subworkflow.as_deref_mut() {
            adopt(app, caller, inner, new)?;
            description.has_errors |= inner.has_errors;
        }
        if step.step_type != "tool" {
            let problems = app.seams().step_types.problems(step);
            if !problems.is_empty() {
                step.tool_errors = Some(json!(problems.join("; ")));
                description.has_errors = true;
            }
            continue;
        }
        if let Some(representation) = &step.tool_representation {
            let class = representation.get("class").and_then(Value::as_str);
            if class != Some("GalaxyUserTool") {
                caller.require_admin()?;
            }
            may_define_tools(app, caller)?;
            let tool = yaml::parse_representation(representation).map_err(|error| {
                let number = step.order_index + 1;
                ApiError::message(format!(
                    "The tool embedded in step {number} was refused: {error}"
                ))
            })?;
            let uuid = Uuid::new_v4();
            step.tool_uuid = Some(uuid);
            step.tool_id = Some(tool.id.clone());
            step.tool_version = Some(tool.version.clone());
            step.tool_errors = None;
            new.push(NewTool {
                uuid,
                tool,
                representation: representation.clone(),
            });
            continue;
        }
        let id = step.tool_id.as_deref().unwrap_or_default();
        let missing = step.tool_uuid.is_none() && app.seams().toolbox.get(id, None).is_none();
        if missing {
            step.tool_errors = Some(json!("Tool is not installed"));
            description.has_errors = true;
        }
    }
    Ok(())
}

/// Stores the tools that came with a workflow, before the workflow itself.
pub async fn save_tools(
    app: &App,
    tx: &mut Tx,
    user_id: i64,
    new_tools: &[NewTool],
) -> Result<(), ApiError> {
    for new in new_tools {
        let row = NewDynamicTool {
            uuid: new.uuid,
            user_id: Some(user_id),
            tool_id: &new.tool.id,
            tool_version: &new.tool.version,
            hidden: true,
            value: &new.representation,
        };
        dynamic_tools::create(tx, &app.store.ids, &row, app.now_ms()).await?;
    }
    Ok(())
}

/// A file of the server's machine, for administrators.
async fn read_path(path: &str) -> Result<WorkflowDescription, ApiError> {
    match FilePath::new(path) {
        path if path.is_absolute() => read_file(path).await,
        _ => Err(ApiError::invalid("The path must be an absolute one.")),
    }
}

async fn read_file(path: &FilePath) -> Result<WorkflowDescription, ApiError> {
    /// Longer files are no workflows.
    const BYTES_MAX: u64 = 64 << 20;
    let path = path.to_owned();
    let unreadable = || ApiError::invalid("The file could not be read.");
    let read = blocking(move || {
        use std::io::Read as _;
        let Ok(file) = std::fs::File::open(&path) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        Ok(read.ok().map(|_| formats::import_bytes(&bytes)))
    });
    Ok(read.await?.ok_or_else(unreadable)??)
}

/// The bytes in a `data:` or `base64://` URL; nothing is fetched from elsewhere.
fn archive(url: &str) -> Result<Vec<u8>, ApiError> {
    let broken = || ApiError::invalid("The data in archive_source cannot be decoded.");
    if let Some(text) = url.strip_prefix("base64://") {
        return STANDARD.decode(text.trim()).map_err(|_| broken());
    }
    let Some(rest) = url.strip_prefix("data:") else {
        return Err(ApiError::disabled(
            "This server does not fetch workflows by URL; send the workflow itself.",
        ));
    };
    let (kind, data) = rest.split_once(',').ok_or_else(broken)?;
    if kind.ends_with(";base64") {
        return STANDARD.decode(data.trim()).map_err(|_| broken());
    }
    Ok(percent_encoding::percent_decode_str(data).collect())
}
