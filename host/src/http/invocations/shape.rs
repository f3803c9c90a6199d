//! The JSON that clients read about an invocation.

use serde_json::{Map, Value, json};

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::jobs::summary as job_summary;
use crate::http::time::iso;
use crate::invoker::writes::Held;
use crate::store::db::Query;
use crate::store::invocations::{
    self, Details, Invocation, JobSource, JobsSummary, MessageRow, OutputRow, Step, StepDetails,
};

use crate::store::scheduling::holds::StoredHold;

/// `collection` view: the invocation's own fields.
pub fn collection_view(app: &App, invocation: &Invocation) -> Value {
    json!({
        "id": app.encode(invocation.id),
        "create_time": iso(invocation.create_time),
        "update_time": iso(invocation.update_time),
        "workflow_id": app.encode(invocation.workflow_id),
        "history_id": app.encode(invocation.history_id),
        "uuid": invocation.uuid.to_string(),
        "state": invocation.state.code(),
        "landing_uuid": null,
        "on_complete": invocation.on_complete,
        "model_class": "WorkflowInvocation",
    })
}

/// Which steps are shown, and how much of each.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    pub element: bool,
    pub step_details: bool,
    /// Repeat each step for each of its jobs.
    pub legacy_job_state: bool,
}

/// `element` view: with steps, inputs, outputs and messages.
pub fn element_view(
    app: &App,
    invocation: &Invocation,
    details: &Details,
    view: View,
    of_step: &dyn Fn(i64) -> Option<StepDetails>,
) -> Value {
    let mut steps = Vec::with_capacity(details.steps.len());
    for step in &details.steps {
        let more = (view.step_details || view.legacy_job_state)
            .then(|| of_step(step.id))
            .flatten();
        let shown = more.as_ref().filter(|_| view.step_details);
        let shape = step_view(app, step, shown);
        match &more {
            Some(more) if view.legacy_job_state => {
                steps.extend(repeated(app, &shape, more));
            }
            _ => steps.push(shape),
        }
    }
    let mut inputs = Map::new();
    for input in &details.inputs {
        let shape = json!({
            "id": app.encode(input.id),
            "src": input.src,
            "label": input.label,
            "workflow_step_id": app.encode(input.workflow_step_id),
        });
        inputs.insert(input.order_index.to_string(), shape);
    }
    let mut parameters = Map::new();
    for parameter in &details.input_parameters {
        let name = match &parameter.label {
            Some(label) => label.clone(),
            None => format!("{}: Unnamed parameter", parameter.order_index + 1),
        };
        let shape = json!({
            "parameter_value": parameter.value,
            "label": name,
            "workflow_step_id": app.encode(parameter.workflow_step_id),
        });
        parameters.insert(name, shape);
    }
    let mut values = Map::new();
    for value in &details.output_values {
        if let Some(label) = &value.label {
            values.insert(label.clone(), value.value.clone());
        }
    }
    let mut shape = collection_view(app, invocation);
    shape["steps"] = Value::Array(steps);
    shape["inputs"] = Value::Object(inputs);
    shape["input_step_parameters"] = Value::Object(parameters);
    shape["outputs"] = outputs(app, &details.outputs, "hda");
    shape["output_collections"] = outputs(app, &details.output_collections, "hdca");
    shape["output_values"] = Value::Object(values);
    shape["messages"] = details.messages.iter().map(|m| message(app, m)).collect();
    shape["holds"] = details.holds.iter().map(hold).collect();
    shape["warnings"] = json!(details.warnings);
    shape
}

/// What its scheduler holds, and why (ours).
pub fn hold(stored: &StoredHold) -> Value {
    let (what, order_index) = match stored.hold.what {
        Held::Invocation => ("invocation", None),
        Held::Step(order_index) => ("step", Some(order_index)),
        Held::Jobs => ("jobs", None),
    };
    json!({
        "what": what,
        // As in messages: the step's place in the workflow.
        "workflow_step_id": order_index,
        "scheduler": (!stored.scheduler.is_empty()).then_some(&stored.scheduler),
        "code": stored.hold.code,
        "text": stored.hold.text,
        "since": iso(stored.since),
        "until": stored.hold.wake_time.map(iso),
    })
}

fn repeated(app: &App, shape: &Value, details: &StepDetails) -> Vec<Value> {
    if details.jobs.is_empty() {
        let mut jobless = shape.clone();
        jobless["state"] = Value::Null;
        return vec![jobless];
    }
    let for_job = |job: &crate::store::jobs::Job| {
        let mut shape = shape.clone();
        shape["state"] = job.state.code().into();
        shape["job_id"] = app.encode(job.id).into();
        shape
    };
    details.jobs.iter().map(for_job).collect()
}

fn outputs(app: &App, rows: &[OutputRow], src: &str) -> Value {
    let mut shapes = Map::new();
    for row in rows {
        let name = match &row.label {
            Some(label) => label.clone(),
            None => format!("{} (Step {})", row.output_name, row.order_index + 1),
        };
        let shape = json!({
            "src": src,
            "id": app.encode(row.id),
            "workflow_step_id": app.encode(row.workflow_step_id),
        });
        shapes.insert(name, shape);
    }
    Value::Object(shapes)
}

fn message(app: &App, row: &MessageRow) -> Value {
    let mut shape = Map::new();
    shape.insert("reason".to_owned(), row.reason.clone().into());
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shape.insert(key.to_owned(), value);
        }
    };
    add("details", row.details.clone().map(Value::from));
    add("output_name", row.output_name.clone().map(Value::from));
    add("workflow_step_id", row.order_index.map(Value::from));
    add(
        "dependent_workflow_step_id",
        row.dependent_order_index.map(Value::from),
    );
    add("job_id", row.job_id.map(|id| app.encode(id).into()));
    add("hda_id", row.hda_id.map(|id| app.encode(id).into()));
    add("hdca_id", row.hdca_id.map(|id| app.encode(id).into()));
    add("history_id", row.history_id.map(|id| app.encode(id).into()));
    let path = row.step_index_path.clone().unwrap_or_default();
    shape.insert("workflow_step_index_path".to_owned(), path);
    Value::Object(shape)
}

/// A step of an invocation.
pub fn step_view(app: &App, step: &Step, details: Option<&StepDetails>) -> Value {
    let mut shape = json!({
        "id": app.encode(step.id),
        "model_class": "WorkflowInvocationStep",
        "update_time": iso(step.update_time),
        "job_id": app.codec.encode_maybe(step.job_id),
        "workflow_step_id": app.encode(step.workflow_step_id),
        "subworkflow_invocation_id": app.codec.encode_maybe(step.subworkflow_invocation_id),
        "state": step.state.code(),
        "action": step.action,
        "order_index": step.order_index,
        "workflow_step_label": step.label,
        "workflow_step_uuid": step.uuid,
        "implicit_collection_jobs_id": app.codec.encode_maybe(step.implicit_collection_jobs_id),
    });
    if let Some(details) = details {
        let mut outputs = Map::new();
        for output in &details.outputs {
            let uuid = output.uuid.map(|uuid| uuid.to_string());
            let value = json!({"src": "hda", "id": app.encode(output.id), "uuid": uuid});
            outputs.insert(output.name.clone(), value);
        }
        let mut collections = Map::new();
        for output in &details.output_collections {
            let value = json!({"src": "hdca", "id": app.encode(output.id)});
            collections.insert(output.name.clone(), value);
        }
        shape["outputs"] = Value::Object(outputs);
        shape["output_collections"] = Value::Object(collections);
        shape["output_values"] = Value::Object(details.output_values.iter().cloned().collect());
        shape["jobs"] = details
            .jobs
            .iter()
            .map(|job| job_summary(app, job, false))
            .collect();
    }
    shape
}

/// Jobs by state.
pub fn summary_view(app: &App, summary: &JobsSummary) -> Value {
    let (model, id) = match summary.source {
        JobSource::Job(id) => ("Job", id),
        JobSource::ImplicitCollectionJobs(id) => ("ImplicitCollectionJobs", id),
        JobSource::Invocation(id) => ("WorkflowInvocation", id),
    };
    json!({
        "id": app.encode(id),
        "model": model,
        "states": summary.states,
        "populated_state": summary.populated_state,
    })
}

/// The views of these invocations: a constant number of queries, whatever they hold.
pub async fn views(
    app: &App,
    q: &mut impl Query,
    page: &[Invocation],
    view: View,
) -> Result<Vec<Value>, ApiError> {
    if !view.element {
        return Ok(page.iter().map(|i| collection_view(app, i)).collect());
    }
    let ids: Vec<i64> = page.iter().map(|invocation| invocation.id).collect();
    let details = invocations::details(q, &ids).await?;
    let of_steps = match view.step_details || view.legacy_job_state {
        true => {
            let steps = details.values().flat_map(|d| d.steps.iter().map(|s| s.id));
            let steps: Vec<i64> = steps.collect();
            invocations::step_details(q, &steps).await?
        }
        false => Default::default(),
    };
    let nothing = Details::default();
    let shapes = page.iter().map(|invocation| {
        let details = details.get(&invocation.id).unwrap_or(&nothing);
        element_view(app, invocation, details, view, &|id| {
            of_steps.get(&id).cloned()
        })
    });
    Ok(shapes.collect())
}

/// The invocations with these ids, in this order.
pub async fn by_ids(_: &App, q: &mut impl Query, ids: &[i64]) -> Result<Vec<Invocation>, ApiError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(invocations::by_id(q, *id).await?);
    }
    Ok(found)
}
