//! Running a workflow as in 2014: `POST /api/workflows` with `workflow_id`. The answer has the invocation's fields and,
//! beside them, `history` and the list `outputs`. A small workflow is waited for, so that the list is not empty.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::create::invoke;
use super::shape::collection_view;
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::workflows::find::{self, Which};
use crate::invocation_request::Payload;
use crate::model::state::InvocationState;
use crate::model::workflow::WorkflowDescription;
use crate::store::invocations;
use crate::tools::Toolbox;
use crate::tools::model::OutputKind;

/// Stores the request and, where the rule says foreground, waits until the invocation was looked at.
pub async fn run(app: &App, caller: &Caller, body: Value) -> Result<Value, ApiError> {
    let Some(workflow_id) = body.get("workflow_id").and_then(Value::as_str) else {
        return Err(ApiError::invalid("workflow_id must be a text."));
    };
    let payload = Payload::parse(&body)?;
    let mut q = app.store.reader();
    let which = Which {
        instance: payload.instance,
        version: payload.version,
    };
    let found = find::workflow(app, &mut q, caller, workflow_id, which, Wish::Read).await?;
    let revision = find::revision(app, &mut q, found.revision_id).await?;
    let settings = &app.seams().workflows;
    let rule = Rule {
        min_steps: settings.force_beta_workflow_scheduled_min_steps,
        for_collections: settings.force_beta_workflow_scheduled_for_collections,
    };
    let waits = !in_background(&revision.description, rule, &app.seams().toolbox);
    let mut progress = app.signals.iterations();
    let made = invoke(app, caller, workflow_id, &payload).await?;
    let deadline = Instant::now() + settings.foreground_wait_max;
    let mut shapes = Vec::with_capacity(made.len());
    for id in made {
        let missing = || ApiError::not_found("No such invocation found.");
        let mut invocation = invocations::by_id(&mut q, id).await?.ok_or_else(missing)?;
        while waits && invocation.state == InvocationState::New {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Looked at again now and then, so that nothing depends on a signal arriving.
            let _ = timeout(left.min(LOOK_AGAIN), progress.changed()).await;
            invocation = invocations::by_id(&mut q, id).await?.ok_or_else(missing)?;
        }
        let mut shape = collection_view(app, &invocation);
        let steps = invocations::steps(&mut q, &[id]).await?;
        // As in 2014: what tools put out, not what was given.
        let is_tool = |order_index: usize| {
            let step = revision.description.steps.get(order_index);
            step.is_some_and(|step| step.step_type == "tool")
        };
        let of_tools = steps
            .iter()
            .filter(|step| is_tool(step.order_index as usize));
        let steps: Vec<i64> = of_tools.map(|step| step.id).collect();
        let details = invocations::step_details(&mut q, &steps).await?;
        let in_order = steps.iter().filter_map(|step| details.get(step));
        let outputs = in_order.flat_map(|details| details.outputs.iter().map(|o| app.encode(o.id)));
        shape["outputs"] = outputs.map(Value::from).collect();
        shape["history"] = json!(app.encode(invocation.history_id));
        shapes.push(shape);
    }
    Ok(match payload.batch {
        true => Value::Array(shapes),
        false => shapes.pop().unwrap_or_default(),
    })
}

const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What an operator decides about waiting.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub min_steps: usize,
    pub for_collections: bool,
}

/// Whether nobody waits for a run: too many steps, a collection input (if so decided), a step type that may take its
/// time, or a tool whose outputs are only known when it is done.
pub fn in_background(description: &WorkflowDescription, rule: Rule, toolbox: &Toolbox) -> bool {
    let special = |step_type: &str| {
        !matches!(step_type, "tool" | "data_input" | "data_collection_input")
            || (rule.for_collections && step_type == "data_collection_input")
    };
    let discovers = |tool_id: &str, version: Option<&str>| {
        toolbox.get(tool_id, version).is_some_and(|found| {
            found.tool.outputs.iter().any(|output| {
                matches!(&output.kind, OutputKind::Collection(made) if !made.discover.is_empty())
            })
        })
    };
    description.steps.len() > rule.min_steps
        || description.steps.iter().any(|step| {
            special(&step.step_type)
                || (step.tool_id.as_deref())
                    .is_some_and(|id| discovers(id, step.tool_version.as_deref()))
        })
}
