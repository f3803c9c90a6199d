//! Invoking a workflow: what [`crate::invocation_request`] decides, with the database around it.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::target::{self, Known};
use super::{collection_view, given, shape};
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::exports::on_complete;
use crate::http::extract;
use crate::http::requests::UserTools;
use crate::http::workflows::find::{self, Which};
use crate::invocation_request::{
    Asked, Environment, HistoryChoice, Payload, Person, Reference, build, prepare,
};
use crate::model::hook::{self, Hook};
use crate::model::revision::Revision;
use crate::store::Durability;
use crate::store::histories;
use crate::store::invocations::{self, Invocation};
use crate::store::wes;

/// Invokes a workflow. The answer comes as soon as the request is stored; scheduling goes on in the background.
#[utoipa::path(post, path = "/api/workflows/{workflow_id}/invocations", tag = "invocations", request_body = Value,
    params(("workflow_id" = String, Path, description = "Encoded id or uuid")),
    responses((status = 200, description = "The invocation, or a list for a batch", body = Value)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(workflow_id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let payload = Payload::parse(&body)?;
    let made = invoke(&app, &caller, &workflow_id, &payload).await?;
    let mut q = app.store.reader();
    let shapes = shape::by_ids(&app, &mut q, &made).await?;
    let warned = invocations::warnings(&mut q, &made).await?;
    let view = |invocation: &Invocation| {
        let mut view = collection_view(&app, invocation);
        // Barycenter's own: what of the request was ignored.
        view["warnings"] = json!(warned.get(&invocation.id).unwrap_or(&Vec::new()));
        view
    };
    let mut views: Vec<Value> = shapes.iter().map(view).collect();
    Ok(Json(match payload.batch {
        true => Value::Array(views),
        false => views.pop().unwrap_or_default(),
    }))
}

/// Invokes a workflow: the path of 2014.
#[utoipa::path(post, path = "/api/workflows/{workflow_id}/usage", tag = "invocations", request_body = Value,
    params(("workflow_id" = String, Path)),
    responses((status = 200, description = "As /api/workflows/{workflow_id}/invocations", body = Value)))]
pub async fn create_usage(
    app: State<App>,
    caller: Caller,
    workflow_id: Path<String>,
    body: extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    create(app, caller, workflow_id, body).await
}

/// Stores the invocations that a request asks for, all or none, and wakes whoever schedules them; answers their ids.
pub async fn invoke(
    app: &App,
    caller: &Caller,
    workflow_id: &str,
    payload: &Payload,
) -> Result<Vec<i64>, ApiError> {
    invoke_recorded(app, caller, workflow_id, payload, None).await
}

/// As [`invoke`]; the record of the WES door is kept in the same transaction.
pub async fn invoke_recorded(
    app: &App,
    caller: &Caller,
    workflow_id: &str,
    payload: &Payload,
    record: Option<&wes::Record>,
) -> Result<Vec<i64>, ApiError> {
    caller.user_id()?;
    check_hooks(app, payload)?;
    let mut q = app.store.reader();
    let which = Which {
        instance: payload.instance,
        version: payload.version,
    };
    let found = find::workflow(app, &mut q, caller, workflow_id, which, Wish::Read).await?;
    let revision = find::revision(app, &mut q, found.revision_id).await?;
    let tools = UserTools::of(app, &mut q, caller, &revision).await?;
    let workflow = Wanted {
        found,
        revision,
        tools,
    };
    let Some(outline) = given::outline(app, payload)? else {
        return store(app, caller, &workflow, payload, record).await;
    };
    // What can be refused without having made anything comes first.
    prepare(
        &outline,
        &workflow.revision,
        workflow.environment(app, &|text| app.decode(text).ok()),
    )?;
    let name = &workflow.found.stored.name;
    let taken_in = given::take_in(app, caller, payload, name).await?;
    let stored = store(app, caller, &workflow, &taken_in.payload, record).await;
    if stored.is_err() {
        taken_in.undo(app).await;
    }
    stored
}

/// Whether what is to be done on completion may be done. File sources that are not there are told of when the time comes,
/// as Galaxy does.
fn check_hooks(app: &App, payload: &Payload) -> Result<(), ApiError> {
    let Some(asked) = &payload.on_complete else {
        return Ok(());
    };
    for hook in hook::parse_all(asked).map_err(ApiError::invalid)? {
        let refusal = match &hook {
            Hook::Webhook { url } => app.sender.check(url).err().map(|refusal| refusal.0),
            Hook::ExportToFileSource(export)
                if export
                    .target_uri
                    .as_deref()
                    .is_some_and(|uri| uri.starts_with("file:")) =>
            {
                on_complete::destination(app, export, "archive").err()
            }
            _ => None,
        };
        if let Some(why) = refusal {
            return Err(ApiError::disabled(why));
        }
    }
    Ok(())
}

/// A workflow to be invoked, and the tools of its steps.
struct Wanted {
    found: find::Found,
    revision: Arc<Revision>,
    tools: UserTools,
}

impl Wanted {
    fn environment<'a>(
        &'a self,
        app: &'a App,
        decode: &'a (dyn Fn(&str) -> Option<i64> + Sync),
    ) -> Environment<'a> {
        let seams = app.seams();
        Environment {
            step_types: seams.step_types.as_ref(),
            schedulers: seams.schedulers.as_ref(),
            tools: &self.tools,
            resource_values: &seams.workflows.resource_values,
            decode,
        }
    }
}

async fn store(
    app: &App,
    caller: &Caller,
    workflow: &Wanted,
    payload: &Payload,
    record: Option<&wes::Record>,
) -> Result<Vec<i64>, ApiError> {
    let user_id = caller.user_id()?;
    let Wanted {
        found, revision, ..
    } = workflow;
    let mut q = app.store.reader();
    let decode = |text: &str| app.decode(text).ok();
    let environment = workflow.environment(app, &decode);
    let prepared = prepare(payload, revision, environment)?;
    let existing = match &payload.history {
        HistoryChoice::Existing(id) => {
            let history = access::history(app, &mut q, caller, id, Wish::Change).await?;
            access::require_open(&history)?;
            Some(history.id)
        }
        _ => None,
    };
    let known = Known::look_up(app, &mut q, caller, prepared.references()).await?;
    let others = known.items();
    let asked = Asked {
        payload,
        prepared: &prepared,
        revision,
        environment,
    };
    let now_ms = app.now_ms();
    let mut made = Vec::with_capacity(prepared.runs.len());
    let mut tx = app.store.begin().await?;
    for run in &prepared.runs {
        let history_id = match existing {
            Some(id) => id,
            None => {
                let id = app.store.ids.history(&mut tx).await?;
                let name = target::history_name(payload, &found.stored.name, &known, run);
                histories::create(&mut tx, id, user_id, &name, now_ms).await?;
                id
            }
        };
        let inputs = match payload.no_add_to_history {
            true => others.clone(),
            false => {
                let wanted: Vec<&Reference> = run.references().collect();
                known.copied_into(app, &mut tx, history_id, &wanted).await?
            }
        };
        let person = Person {
            user_id,
            history_id,
            handler: app.seams().handlers.assign(history_id),
        };
        let mut new = build(asked, run, &person, &inputs, &others, &mut uuid_v1)?;
        if !payload.no_add_to_history {
            known
                .copy_once_more(app, &mut tx, history_id, &inputs, &mut new)
                .await?;
        }
        let id = invocations::create(&mut tx, &app.store.ids, &new, now_ms).await?;
        if let Some(record) = record {
            wes::insert(&mut tx, id, record).await?;
        }
        made.push(id);
        histories::touch(&mut tx, history_id, now_ms).await?;
    }
    tx.commit(Durability::Acknowledged, "invocation.create")
        .await?;
    app.signals.invocations_changed();
    Ok(made)
}

/// A uuid of the time, as Galaxy's invocations have. The node is random, chosen once for each process.
fn uuid_v1() -> Uuid {
    static NODE: OnceLock<[u8; 6]> = OnceLock::new();
    let node = NODE.get_or_init(|| {
        let mut node = [0; 6];
        node.copy_from_slice(&Uuid::new_v4().as_bytes()[..6]);
        // The mark of a node that is no network card.
        node[0] |= 1;
        node
    });
    Uuid::now_v1(node)
}
