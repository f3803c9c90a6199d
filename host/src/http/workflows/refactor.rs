//! Changing a workflow by actions.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::find::{self, Which};
use crate::formats::refactor::{self, Action, ToolInput, Tools};
use crate::formats::{self, Exported, Style};
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{self, Params};
use crate::store::Durability;
use crate::store::workflows::{self, Attributes};
use crate::tools::Toolbox;
use crate::tools::parameters::{TerminalKind, normalise_leniently, terminals};

/// Changes a workflow by actions, as a new revision; with `dry_run` only shows what it would become.
#[utoipa::path(put, path = "/api/workflows/{id}/refactor", tag = "workflows", request_body = Value,
    params(("id" = String, Path), ("instance" = Option<bool>, Query)),
    description = "`{actions: [{action_type, …}], dry_run}`. Types: update_name, update_annotation, update_license, update_creator, \
        update_report, update_step_label, update_step_position, update_output_label, add_step, add_input, connect, disconnect, \
        extract_input, extract_untyped_parameter, remove_unlabeled_workflow_outputs, fill_defaults, fill_step_defaults, \
        upgrade_tool, upgrade_subworkflow (with content_id), upgrade_all_steps.",
    responses((status = 200, description = "`{action_executions, workflow, dry_run}`", body = Value)))]
pub async fn refactor(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Change).await?;
    let written = body
        .get("actions")
        .ok_or_else(|| ApiError::missing("actions is required."))?;
    let dry_run = match body.get("dry_run") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(dry_run)) => *dry_run,
        Some(_) => return Err(ApiError::invalid("dry_run must be true or false.")),
    };
    let actions = refactor::parse(written)?;
    let mut subworkflows = HashMap::new();
    for action in &actions {
        let content_id = match action {
            Action::UpgradeSubworkflow { content_id, .. } => content_id.as_ref(),
            Action::AddStep(new) if new.step_type == "subworkflow" => new.content_id.as_ref(),
            _ => None,
        };
        if let Some(content) = content_id
            && !subworkflows.contains_key(content)
        {
            let which = Which::default();
            let other = find::workflow(&app, &mut q, &caller, content, which, Wish::Read).await?;
            let revision = find::revision(&app, &mut q, other.revision_id).await?;
            subworkflows.insert(content.clone(), revision.description.clone());
        }
    }
    let mut description = find::revision(&app, &mut q, found.revision_id)
        .await?
        .description
        .clone();
    description.annotation = found.stored.annotation.clone();
    description.tags = found.stored.tags.clone();
    let told = refactor::apply(
        &mut description,
        &actions,
        &Installed(&app.seams().toolbox),
        &subworkflows,
    )?;
    if !dry_run {
        description.uuid = None;
        let now_ms = app.now_ms();
        let attributes = Attributes {
            name: Some(description.name.clone()),
            annotation: description.annotation.clone(),
            ..Default::default()
        };
        let mut tx = app.store.begin().await?;
        let stored = found.stored.id;
        workflows::add_revision(&mut tx, &app.store.ids, stored, &description, now_ms).await?;
        workflows::set_attributes(&mut tx, stored, &attributes, now_ms).await?;
        tx.commit(Durability::Acknowledged, "workflow.refactor")
            .await?;
    }
    let workflow = match formats::export(&description, Style::Native) {
        Exported::Json(value) => value,
        Exported::Yaml(text) => Value::String(text),
    };
    let actions = written.as_array().into_iter().flatten();
    let executions: Vec<Value> = actions
        .zip(&told)
        .map(|(action, messages)| {
            let messages: Vec<Value> = messages.iter().map(|m| m.to_json()).collect();
            json!({"action": action, "messages": messages})
        })
        .collect();
    Ok(Json(
        json!({"action_executions": executions, "workflow": workflow, "dry_run": dry_run}),
    ))
}

struct Installed<'a>(&'a Toolbox);

impl Tools for Installed<'_> {
    fn newest(&self, id: &str) -> Option<String> {
        self.0.get(id, None).map(|found| found.tool.version.clone())
    }

    fn input(
        &self,
        id: &str,
        version: Option<&str>,
        state: &Value,
        path: &str,
    ) -> Option<ToolInput> {
        let tool = self.0.get(id, version)?.tool;
        let terminal = terminals(&tool, state)
            .into_iter()
            .find(|t| t.name == path)?;
        let type_name = match terminal.kind {
            TerminalKind::Dataset { .. } => "data",
            TerminalKind::Collection { .. } => "data_collection",
            TerminalKind::Parameter { type_name, .. } => type_name,
        };
        Some(ToolInput {
            type_name: type_name.to_owned(),
            optional: terminal.optional,
        })
    }

    fn with_defaults(&self, id: &str, version: Option<&str>, state: &Value) -> Option<Value> {
        let found = self.0.get(id, version)?;
        (found.exact || version.is_none()).then(|| normalise_leniently(&found.tool, state).0)
    }
}
