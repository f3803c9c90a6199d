//! The plugins: how they are, for everybody; reload, disable and enable, for administrators.

use axum::Json;
use axum::extract::{Path, State};
use barycenter_plugin_api::PluginKind;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use super::extract::Params;
use super::time;
use crate::plugins::{FAULTS, Lifecycle, MethodStats, PluginView, Refusal, Report};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(reload))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

fn lifecycle(app: &App) -> Result<Lifecycle, ApiError> {
    let plugins = app.seams().plugins.clone();
    plugins.ok_or_else(|| ApiError::not_implemented("This server has no plugins."))
}

/// Every plugin: what it is, how it is, how its calls went. Paths, digests and messages that may name files are for
/// administrators.
#[utoipa::path(get, path = "/api/plugins", tag = "plugins",
    responses((status = 200, description = "Plugins", body = Vec<Value>)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    require_known(&caller)?;
    let views = views(&app, &caller).await?;
    let shapes = views.iter().map(|view| shape(view, caller.is_admin));
    Ok(Json(shapes.collect()))
}

/// One plugin. An id may be there once for each kind: then say `kind:id`, or name the `kind`.
#[utoipa::path(get, path = "/api/plugins/{id}", tag = "plugins",
    params(("id" = String, Path, description = "The id in plugins.toml, or `kind:id`"),
        ("kind" = Option<String>, Query, description = "`scheduler`, `workflow_module` or `job_runner`")),
    responses((status = 200, description = "The plugin", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    require_known(&caller)?;
    let (kind, id) = addressed(&app, &caller, &id, &params).await?;
    one(&app, &caller, kind, &id).await.map(Json)
}

/// Takes the plugin in anew, as plugins.toml and its library are now: a new instance beside the old one, with its state,
/// rehearsed, in its place. What is under way ends where it began. If anything is wrong nothing is changed (409). Also for
/// a plugin that was not loaded, or that was added to the file. For administrators.
#[utoipa::path(post, path = "/api/plugins/{id}/reload", tag = "plugins",
    params(("id" = String, Path, description = "The id in plugins.toml, or `kind:id`"),
        ("kind" = Option<String>, Query, description = "`scheduler`, `workflow_module` or `job_runner`")),
    responses((status = 200, description = "The plugin, with what was `reloaded`", body = Value)))]
async fn reload(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let (kind, id) = addressed(&app, &caller, &id, &params).await?;
    let name = id.clone();
    let reloaded = change(&app, move |plugins| plugins.reload(kind, &name)).await?;
    let mut answer = one(&app, &caller, kind, &id).await?;
    let before = reloaded.before;
    answer["reloaded"] = json!({
        "was_loaded": before.is_some(),
        "version_before": before.as_ref().map(|(version, _)| version),
        "sha256_before": before.as_ref().map(|(_, sha256)| sha256),
        "state_handed_over": reloaded.has_state,
        "rehearsal": reloaded.shadow.map(|shadow| json!({
            "cycles": shadow.cycles,
            "differences": shadow.differences,
        })),
    });
    Ok(Json(answer))
}

/// From now on the plugin gets no new work; what it has it brings to its end. Invocations of a scheduler wait, or go to the
/// one that `on_failure` names; steps of a module wait; a runner gets no more jobs. Until it is enabled or the server starts
/// again. For administrators.
#[utoipa::path(post, path = "/api/plugins/{id}/disable", tag = "plugins",
    params(("id" = String, Path, description = "The id in plugins.toml, or `kind:id`"),
        ("kind" = Option<String>, Query, description = "`scheduler`, `workflow_module` or `job_runner`")),
    responses((status = 200, description = "The plugin, with whether it `changed`", body = Value)))]
async fn disable(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    turn(&app, &caller, &id, &params, Lifecycle::disable).await
}

/// The plugin gets work again, also one that was in quarantine. One that is not loaded is loaded. For administrators.
#[utoipa::path(post, path = "/api/plugins/{id}/enable", tag = "plugins",
    params(("id" = String, Path, description = "The id in plugins.toml, or `kind:id`"),
        ("kind" = Option<String>, Query, description = "`scheduler`, `workflow_module` or `job_runner`")),
    responses((status = 200, description = "The plugin, with whether it `changed`", body = Value)))]
async fn enable(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    turn(&app, &caller, &id, &params, Lifecycle::enable).await
}

/// Disables or enables.
async fn turn(
    app: &App,
    caller: &Caller,
    id: &str,
    params: &Params,
    which: fn(&Lifecycle, PluginKind, &str) -> Result<bool, Refusal>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let (kind, id) = addressed(app, caller, id, params).await?;
    let name = id.clone();
    let changed = change(app, move |plugins| which(plugins, kind, &name)).await?;
    let mut answer = one(app, caller, kind, &id).await?;
    answer["changed"] = json!(changed);
    Ok(Json(answer))
}

fn require_known(caller: &Caller) -> Result<(), ApiError> {
    match caller.is_known() {
        true => Ok(()),
        false => Err(ApiError::login_required(
            "You must be logged in to do this.",
        )),
    }
}

/// Reads files and waits for plugins where that is allowed.
async fn apart<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Lifecycle) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let plugins = lifecycle(app)?;
    let done = tokio::task::spawn_blocking(move || work(&plugins)).await;
    done.map_err(ApiError::broken)
}

async fn change<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Lifecycle) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, ApiError> {
    apart(app, work).await?.map_err(|refusal| match refusal {
        Refusal::Unknown(text) => ApiError::not_found(text),
        Refusal::Refused(text) => ApiError::conflict(text),
    })
}

/// Administrators see what plugins.toml declares meanwhile; others do not have files read.
async fn views(app: &App, caller: &Caller) -> Result<Vec<PluginView>, ApiError> {
    match caller.is_admin {
        true => apart(app, Lifecycle::view).await,
        false => Ok(lifecycle(app)?.view_known()),
    }
}

async fn one(app: &App, caller: &Caller, kind: PluginKind, id: &str) -> Result<Value, ApiError> {
    let views = views(app, caller).await?;
    let mut views = views.iter();
    let found = views.find(|view| view.kind == kind && view.id == id);
    let found = found.ok_or_else(|| unknown(id))?;
    Ok(shape(found, caller.is_admin))
}

fn unknown(text: &str) -> ApiError {
    let text: String = text.chars().take(100).collect();
    ApiError::not_found(format!("There is no plugin {text}."))
}

/// Which plugin is meant.
async fn addressed(
    app: &App,
    caller: &Caller,
    text: &str,
    params: &Params,
) -> Result<(PluginKind, String), ApiError> {
    let named = params.text("kind").map(|word| {
        kind_of(word).ok_or_else(|| {
            ApiError::invalid("kind must be scheduler, workflow_module or job_runner.")
        })
    });
    let named = named.transpose()?;
    let spelled = text
        .split_once(':')
        .and_then(|(kind, id)| Some((kind_of(kind)?, id.to_owned())));
    let (kind, id) = match spelled {
        Some((kind, id)) => (Some(kind), id),
        None => (named, text.to_owned()),
    };
    let mut kinds = lifecycle(app)?.kinds_of(&id);
    let is_known = kind.map_or(!kinds.is_empty(), |kind| kinds.contains(&kind));
    if !is_known && caller.is_admin {
        let asked = id.clone();
        kinds.extend(apart(app, move |plugins| plugins.declared_kinds_of(&asked)).await?);
    }
    match (kind, kinds.as_slice()) {
        (Some(kind), kinds) if kinds.contains(&kind) => Ok((kind, id)),
        (None, [kind]) => Ok((*kind, id)),
        (None, [_, ..]) => {
            let forms: Vec<String> = kinds.iter().map(|kind| format!("{kind}:{id}")).collect();
            Err(ApiError::invalid(format!(
                "There are several plugins of this id; say which: {}.",
                forms.join(", ")
            )))
        }
        _ => Err(unknown(text)),
    }
}

fn kind_of(word: &str) -> Option<PluginKind> {
    PluginKind::ALL.into_iter().find(|kind| kind.name() == word)
}

fn shape(view: &PluginView, is_admin: bool) -> Value {
    let api = match view.api {
        (0, 0, 0) => Value::Null,
        (major, minor, patch) => json!(format!("{major}.{minor}.{patch}")),
    };
    let mut shape = json!({
        "model_class": "Plugin",
        "kind": view.kind.name(),
        "id": view.id,
        "type": view.type_id,
        "state": view.state,
        "since": view.since_ms.map(time::iso),
        "report": view.report.as_ref().map(|report| report_shape(report, is_admin)),
        "version": text_or_null(&view.version),
        "api": api,
        "isolation": view.isolation.map(|(isolation, _)| isolation.word()),
        "isolation_reason": view.isolation.map(|(_, why)| why),
        "sha256": text_or_null(&view.sha256),
        "capabilities": view.capabilities,
        "active": view.active,
        "on_failure": view.fallback.as_ref().map(|id| format!("fallback:{id}")),
        "reloads": view.reloads,
        "reloads_refused": view.reloads_refused,
        "rollbacks": view.rollbacks,
        "draining": view.draining,
        "rehearsal": view.shadow.map(|shadow| json!({
            "cycles": shadow.cycles,
            "differences": shadow.differences,
        })),
        "calls": view.methods.iter().map(calls).collect::<Vec<_>>(),
    });
    if let Some(status) = &view.supervision {
        shape["supervision"] = json!({
            "state": status.state.word(),
            "restarts": status.restarts,
            "losses": status.losses,
            "timeouts": status.timeouts,
            "quarantines": status.quarantines,
            "threads_written_off": status.threads_written_off,
        });
    }
    if is_admin {
        let path = view.path.display().to_string();
        shape["path"] = text_or_null(&path);
        shape["dropped_capabilities"] = view
            .dropped_capabilities
            .iter()
            .map(|(id, reason)| json!({ "id": id, "reason": reason }))
            .collect();
        if let Some(status) = &view.supervision {
            shape["supervision"]["pid"] = json!(status.pid);
            shape["supervision"]["last_error"] = json!(status.last_error);
        }
    }
    shape
}

/// What went wrong may name files and quote what a plugin said: administrators read all of it.
fn report_shape(report: &Report, is_admin: bool) -> Value {
    match is_admin {
        true => json!({ "code": report.code, "text": report.text, "command": report.command }),
        false => json!({ "code": report.code }),
    }
}

fn text_or_null(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => json!(text),
    }
}

fn calls(method: &MethodStats) -> Value {
    let faults: serde_json::Map<String, Value> = FAULTS
        .iter()
        .zip(method.faults)
        .map(|(fault, count)| ((*fault).to_owned(), json!(count)))
        .collect();
    json!({
        "method": method.method,
        "calls": method.calls,
        "faults": faults,
        "seconds": method.total.as_secs_f64(),
    })
}
