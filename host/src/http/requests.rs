//! Between the checks that are plain functions and HTTP: their refusals in Galaxy's envelope, and the tools that
//! they may look up.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use uuid::Uuid;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use crate::formats::{ImportError, ImportErrorCode};
use crate::invocation_request::{FoundTool, Kind, RequestError, Tools};
use crate::model::revision::Revision;
use crate::model::workflow::StepDescription;
use crate::store::StoreError;
use crate::store::db::Query;
use crate::store::dynamic_tools::{self, DynamicTool};
use crate::tools::{Tool, Toolbox, yaml};

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> ApiError {
        let refused = match error.kind {
            Kind::Message => ApiError::message(error.message),
            Kind::Missing => ApiError::missing(error.message),
            Kind::Invalid => ApiError::invalid(error.message),
            Kind::MalformedId => ApiError::malformed_id(&error.message),
            Kind::NotFound => ApiError::not_found(error.message),
        };
        match error.err_data {
            Some(data) => refused.with("err_data", data),
            None => refused,
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> ApiError {
        match error.code {
            ImportErrorCode::Message => ApiError::message(error.message),
            code => ApiError::new(StatusCode::BAD_REQUEST, code.err_code(), error.message),
        }
    }
}

/// 403 403004 where users may not define tools. An administrator may, since `dynamic_tools` is theirs anyway.
pub fn may_define_tools(app: &App, caller: &Caller) -> Result<(), ApiError> {
    match app.settings.enable_user_defined_tools || caller.is_admin {
        true => Ok(()),
        false => Err(ApiError::disabled(
            "User-defined tools are switched off on this server (option enable_user_defined_tools).",
        )),
    }
}

/// Whether this caller may run a stored tool: one of an administrator's, or an own one where users may have such.
fn is_usable(app: &App, caller: &Caller, tool: &DynamicTool) -> bool {
    let user_id = caller.user.as_ref().map(|user| user.id);
    tool.is_for(user_id) && (tool.user_id.is_none() || may_define_tools(app, caller).is_ok())
}

/// The tools that a user may run: the toolbox's, and the user-defined ones among `dynamic`.
pub struct UserTools {
    toolbox: Arc<Toolbox>,
    dynamic: HashMap<i64, Arc<Tool>>,
}

impl UserTools {
    /// For the steps of a revision and of the subworkflows inside it.
    pub async fn of(
        app: &App,
        q: &mut impl Query,
        caller: &Caller,
        revision: &Revision,
    ) -> Result<UserTools, StoreError> {
        let mut ids = Vec::new();
        collect(revision, &mut ids);
        ids.sort_unstable();
        ids.dedup();
        let mut dynamic = HashMap::new();
        for (id, stored) in dynamic_tools::by_ids(q, &ids).await? {
            if is_usable(app, caller, &stored)
                && let Some(tool) = load(app, &stored)
            {
                dynamic.insert(id, tool);
            }
        }
        Ok(UserTools {
            toolbox: app.seams().toolbox.clone(),
            dynamic,
        })
    }
}

fn collect(revision: &Revision, ids: &mut Vec<i64>) {
    ids.extend(revision.dynamic_tool_ids.iter().flatten());
    for inner in revision.subrevisions.values() {
        collect(inner, ids);
    }
}

impl Tools for UserTools {
    fn find(&self, step: &StepDescription, dynamic_tool_id: Option<i64>) -> Option<FoundTool> {
        if step.tool_uuid.is_some() || dynamic_tool_id.is_some() {
            let tool = self.dynamic.get(&dynamic_tool_id?)?.clone();
            return Some(FoundTool { tool, exact: true });
        }
        let id = step.tool_id.as_deref()?;
        let found = self.toolbox.get(id, step.tool_version.as_deref())?;
        Some(FoundTool {
            tool: found.tool,
            exact: found.exact,
        })
    }
}

/// The tool behind a stored representation; None when this version cannot read it any more.
pub fn load(app: &App, stored: &DynamicTool) -> Option<Arc<Tool>> {
    let toolbox = &app.seams().toolbox;
    if let Some(tool) = toolbox.get_dynamic(&stored.uuid) {
        return Some(tool);
    }
    let tool = yaml::parse_representation(&stored.value).ok()?;
    Some(toolbox.insert_dynamic(stored.uuid, tool))
}

/// The user-defined tool with this uuid, if this user may run it.
pub async fn dynamic_tool(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    uuid: Uuid,
) -> Result<Option<(DynamicTool, Arc<Tool>)>, StoreError> {
    let stored = dynamic_tools::by_uuid(q, uuid).await?;
    let usable = stored.filter(|tool| is_usable(app, caller, tool));
    Ok(usable.and_then(|stored| {
        let tool = load(app, &stored)?;
        Some((stored, tool))
    }))
}
