//! From a checked request to what is stored: the invocation and those of its subworkflow steps.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::overrides::Overrides;
use super::prepare::{Given, items_of};
use super::{Environment, Payload, Prepared, Reference, RequestError, Run, Src};
use crate::model::invocation::{
    NewInvocation, RequestInput, RequestParameter, RequestParameterKind, meta,
};
use crate::model::revision::Revision;
use crate::model::runtime_actions::{self, RUNTIME_POST_JOB_ACTIONS};
use crate::model::state::InvocationState;
use crate::model::workflow::{NO_INPUT_OUTPUT_NAME, StepDescription};
use crate::tools::parameters;

/// The database id to use for each reference: the item itself or, for an input, its copy in the target history.
pub type Items = HashMap<Reference, i64>;

/// Who asks, where it goes and who will schedule it.
#[derive(Debug, Clone)]
pub struct Person {
    pub user_id: i64,
    pub history_id: i64,
    pub handler: Option<String>,
}

/// A request and what it is about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub payload: &'a Payload,
    pub prepared: &'a Prepared,
    pub revision: &'a Revision,
    pub environment: Environment<'a>,
}

/// The invocation of one run. `inputs` maps what input steps are given, `others` what parameters of steps refer to;
/// `new_uuid` makes one uuid for each invocation.
pub fn build(
    asked: Asked<'_>,
    run: &Run,
    person: &Person,
    inputs: &Items,
    others: &Items,
    new_uuid: &mut dyn FnMut() -> Uuid,
) -> Result<NewInvocation, RequestError> {
    let overrides = decoded(&asked.prepared.overrides, others);
    let mut builder = Builder {
        asked,
        person,
        new_uuid,
        faults: Map::new(),
    };
    let outputs = OutputFilter::All;
    let mut invocation = builder.level(asked.revision, &overrides, &outputs);
    if !builder.faults.is_empty() {
        let names: Vec<String> = builder.faults.values().map(Value::to_string).collect();
        let message = format!(
            "Workflow was not invoked; parameters of its steps were refused: {}",
            names.join("; ")
        );
        return Err(RequestError::message(message).with_data(Value::Object(builder.faults)));
    }
    if !asked.prepared.warnings.is_empty() {
        invocation.parameters.push(RequestParameter {
            kind: RequestParameterKind::Meta,
            name: meta::WARNINGS.to_owned(),
            value: json!(asked.prepared.warnings).to_string(),
            step_id: None,
        });
    }
    invocation.scheduler = Some(asked.prepared.scheduler.clone());
    invocation.handler = person.handler.clone();
    invocation.on_complete = asked.payload.on_complete.clone();
    for (index, given) in &run.inputs {
        let Some(step_id) = asked.revision.step_ids.get(*index).copied() else {
            continue;
        };
        match given {
            Given::Parameter(value) => {
                invocation.input_parameters.retain(|(id, _)| *id != step_id);
                invocation.input_parameters.push((step_id, value.clone()));
            }
            Given::Item(reference) => {
                let Some(item_id) = inputs.get(reference).copied() else {
                    return Err(RequestError::new(
                        super::Kind::NotFound,
                        format!("The input {} was not found.", reference.id),
                    ));
                };
                let step = &asked.revision.description.steps[*index];
                let input = RequestInput {
                    step_id,
                    name: step.effective_label().map(str::to_owned),
                    item_id,
                    request: None,
                };
                match reference.src {
                    Src::Hda => invocation.input_datasets.push(input),
                    Src::Hdca => invocation.input_collections.push(input),
                    // Refused when the request was looked at.
                    Src::Dce => {}
                }
            }
        }
    }
    Ok(invocation)
}

struct Builder<'a> {
    asked: Asked<'a>,
    person: &'a Person,
    new_uuid: &'a mut dyn FnMut() -> Uuid,
    /// What steps refuse, by order_index (joined by `.` inside subworkflows).
    faults: Map<String, Value>,
}

/// Which workflow outputs of a level are outputs of the whole.
enum OutputFilter {
    All,
    /// (order_index, output name).
    Only(BTreeSet<(usize, String)>),
}

impl Builder<'_> {
    fn level(
        &mut self,
        revision: &Revision,
        overrides: &Overrides,
        outputs: &OutputFilter,
    ) -> NewInvocation {
        let mut new = NewInvocation {
            uuid: (self.new_uuid)(),
            workflow_id: revision.id,
            history_id: self.person.history_id,
            user_id: self.person.user_id,
            state: InvocationState::New,
            scheduler: None,
            handler: None,
            on_complete: None,
            parameters: self.common_parameters(),
            step_states: Vec::with_capacity(revision.step_ids.len()),
            input_datasets: Vec::new(),
            input_collections: Vec::new(),
            input_parameters: Vec::new(),
            children: Vec::new(),
        };
        if let OutputFilter::Only(names) = outputs {
            new.parameters.push(effective_outputs(revision, names));
        }
        let nothing = Map::new();
        let no_overrides = Overrides::default();
        for (index, step) in revision.description.steps.iter().enumerate() {
            let Some(step_id) = revision.step_ids.get(index).copied() else {
                continue;
            };
            let of_step = overrides.steps.get(&index).unwrap_or(&nothing);
            let dynamic = revision.dynamic_tool_ids.get(index).copied().flatten();
            let state = self.state(step, dynamic, of_step);
            new.step_states.push((step_id, state));
            if !of_step.is_empty() {
                new.parameters.push(RequestParameter {
                    kind: RequestParameterKind::Step,
                    name: step_id.to_string(),
                    value: Value::Object(of_step.clone()).to_string(),
                    step_id: Some(step_id),
                });
            }
            if step.parameter_type().is_some()
                && let Some(value) = of_step.get("input").filter(|v| !v.is_null())
                && self.asked.payload.parameters_normalized
            {
                new.input_parameters.push((step_id, value.clone()));
            }
            if let Some(inner) = revision.subrevisions.get(&index) {
                let of_inner = overrides.inside.get(&index).unwrap_or(&no_overrides);
                let outputs = OutputFilter::Only(inner_outputs(inner, index, step, outputs));
                let child = self.level(inner, of_inner, &outputs);
                new.children.push((step_id, child));
            }
        }
        new
    }

    /// What is stored at every level.
    fn common_parameters(&self) -> Vec<RequestParameter> {
        let payload = self.asked.payload;
        let mut found = Vec::new();
        let mut add = |kind, name: &str, value: &str| {
            found.push(RequestParameter {
                kind,
                name: name.to_owned(),
                value: value.to_owned(),
                step_id: None,
            });
        };
        use RequestParameterKind::{Meta, Replacement, Resource};
        let word = |flag: bool| if flag { "true" } else { "false" };
        add(
            Meta,
            meta::COPY_INPUTS_TO_HISTORY,
            word(!payload.no_add_to_history),
        );
        add(Meta, meta::USE_CACHED_JOB, word(payload.use_cached_job));
        for (name, value) in [
            (meta::OBJECT_STORE, &payload.preferred_object_store_id),
            (
                meta::OUTPUTS_OBJECT_STORE,
                &payload.preferred_outputs_object_store_id,
            ),
            (
                meta::INTERMEDIATE_OBJECT_STORE,
                &payload.preferred_intermediate_object_store_id,
            ),
        ] {
            if let Some(value) = value {
                add(Meta, name, value);
            }
        }
        for (name, value) in &payload.replacement_params {
            add(Replacement, name, value);
        }
        for (name, value) in &payload.resource_params {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            add(Resource, name, &text);
        }
        found
    }

    /// The state to store for a step: for a tool its parameters after the overrides, in one form.
    fn state(
        &mut self,
        step: &StepDescription,
        dynamic_tool_id: Option<i64>,
        overrides: &Map<String, Value>,
    ) -> Value {
        let environment = self.asked.environment;
        match step.step_type.as_str() {
            "tool" => {
                let Some(found) = environment.tools.find(step, dynamic_tool_id) else {
                    return step.tool_inputs.clone();
                };
                let (state, faults) = tool_state(&found.tool, step, overrides);
                if !faults.is_empty() {
                    self.faults
                        .insert(step.order_index.to_string(), Value::Object(faults));
                }
                state
            }
            "subworkflow" | "pick_value" => json!({}),
            _ if step.is_input_step() => json!({}),
            _ => match environment.step_types.runtime_state(step, overrides) {
                Ok(state) => state,
                Err(why) => {
                    self.faults
                        .insert(step.order_index.to_string(), Value::from(why));
                    json!({})
                }
            },
        }
    }
}

/// A tool's state with the overrides in place, and what of the overrides the tool refuses.
fn tool_state(
    tool: &crate::tools::Tool,
    step: &StepDescription,
    overrides: &Map<String, Value>,
) -> (Value, Map<String, Value>) {
    let mut state = parameters::decode_tool_state(tool, &step.tool_inputs);
    let mut faults = Map::new();
    let mut actions = Vec::new();
    if let Some(given) = overrides.get(RUNTIME_POST_JOB_ACTIONS) {
        match runtime_actions::read(given) {
            Ok(read) => actions = read,
            Err(why) => drop(faults.insert(RUNTIME_POST_JOB_ACTIONS.to_owned(), why.into())),
        }
    }
    for (name, value) in overrides.iter().filter(|(name, _)| !name.starts_with("__")) {
        if !parameters::set_path(&mut state, name, value.clone()) {
            faults.insert(name.clone(), "there is no such parameter".into());
        }
    }
    for input in &step.inputs {
        let connected = !input.connections.is_empty() && input.name != NO_INPUT_OUTPUT_NAME;
        let known = parameters::get_path(&state, &input.name).is_some_and(|v| !v.is_null());
        // Old files say only by the connection that something is connected.
        if connected && !known && !overrides.contains_key(&input.name) {
            parameters::set_path(
                &mut state,
                &input.name,
                json!({"__class__": "ConnectedValue"}),
            );
        }
    }
    let (mut normalised, errors) = parameters::normalise_leniently(tool, &state);
    if !actions.is_empty() {
        runtime_actions::put(&mut normalised, &actions);
    }
    for error in errors {
        if overrides.contains_key(&error.name) {
            faults.insert(error.name, error.message.into());
        }
    }
    (normalised, faults)
}

/// The outputs inside a subworkflow step that are outputs of the whole.
fn inner_outputs(
    inner: &Revision,
    index: usize,
    step: &StepDescription,
    outer: &OutputFilter,
) -> BTreeSet<(usize, String)> {
    let counts = |name: &str| match outer {
        OutputFilter::All => true,
        OutputFilter::Only(names) => names.contains(&(index, name.to_owned())),
    };
    let marked: BTreeSet<&str> = step
        .workflow_outputs
        .iter()
        .map(|output| output.output_name.as_str())
        .filter(|name| counts(name))
        .collect();
    let outputs = inner.description.outputs();
    outputs
        .filter(|(step, output)| {
            let name = output.label.clone();
            let name =
                name.unwrap_or_else(|| format!("{}:{}", step.order_index, output.output_name));
            marked.contains(name.as_str())
        })
        .map(|(step, output)| (step.order_index, output.output_name.clone()))
        .collect()
}

fn effective_outputs(revision: &Revision, names: &BTreeSet<(usize, String)>) -> RequestParameter {
    let list: Vec<Value> = names
        .iter()
        .filter_map(|(index, name)| {
            let step_id = revision.step_ids.get(*index)?;
            Some(json!({"output_name": name, "step_id": step_id}))
        })
        .collect();
    RequestParameter {
        kind: RequestParameterKind::Meta,
        name: meta::EFFECTIVE_OUTPUTS.to_owned(),
        value: Value::Array(list).to_string(),
        step_id: None,
    }
}

/// The overrides with the database's ids in place of the encoded ones.
fn decoded(overrides: &Overrides, items: &Items) -> Overrides {
    let step = |values: &Map<String, Value>| {
        values
            .iter()
            .map(|(name, value)| (name.clone(), decoded_value(value, items)))
            .collect()
    };
    Overrides {
        steps: overrides
            .steps
            .iter()
            .map(|(index, values)| (*index, step(values)))
            .collect(),
        inside: overrides
            .inside
            .iter()
            .map(|(index, inner)| (*index, decoded(inner, items)))
            .collect(),
    }
}

fn decoded_value(value: &Value, items: &Items) -> Value {
    let one = |item: &Value| match super::inputs::reference(item) {
        Some(Ok(reference)) => match items.get(&reference) {
            Some(id) => json!({"src": reference.src.code(), "id": id}),
            None => item.clone(),
        },
        _ => item.clone(),
    };
    match value.get("values").and_then(Value::as_array) {
        Some(_) => json!({"values": items_of(value).map(one).collect::<Vec<_>>()}),
        None => one(value),
    }
}
