//! A tool's inputs with the values that feed them, and those that are mapped over set apart.

use serde_json::{Value, json};

use super::ToolRun;
use crate::invoker::known::{Known, StepValue};
use crate::invoker::mapping::{self, Fit};
use crate::invoker::resolve;
use crate::invoker::stop::Stop;
use crate::tools::inputs_json::{DataRef, DataSource};
use crate::tools::parameters::{self, Terminal, TerminalKind};

/// Inputs with their values in place, and those that are mapped over set apart.
pub(super) struct Bound {
    pub(super) params: Value,
    /// Input, hdca, rank that one job takes.
    pub(super) mapped: Vec<(String, i64, usize)>,
    /// Values that only the condition sees.
    pub(super) extra: Vec<(String, StepValue)>,
    pub(super) terminals: Vec<Terminal>,
}

pub(super) fn bind(run: &ToolRun<'_>, known: &Known) -> Result<Bound, Stop> {
    let step = run.workflow_step_id;
    let (mut params, _) = parameters::normalise_leniently(run.tool, run.state);
    let mut bound: Vec<bool> = vec![false; run.connected.len()];
    let mut mapped = Vec::new();
    // A connected parameter can open a branch with more inputs: go on until nothing new appears.
    let terminals = loop {
        let terminals = parameters::terminals(run.tool, &params);
        let mut progressed = false;
        for (n, (name, values)) in run.connected.iter().enumerate() {
            let Some(terminal) = terminals
                .iter()
                .find(|t| t.name == *name)
                .filter(|_| !bound[n])
            else {
                continue;
            };
            bound[n] = true;
            progressed = true;
            match bind_one(terminal, values, known, step)? {
                Binding::Value(value) => {
                    parameters::set_path(&mut params, name, value);
                }
                Binding::Mapped(hdca, sub_rank) => mapped.push((name.clone(), hdca, sub_rank)),
            }
        }
        if !progressed {
            break terminals;
        }
    };
    let mut extra = Vec::new();
    for (n, (name, values)) in run.connected.iter().enumerate() {
        if bound[n] {
            continue;
        }
        let value = values.first().cloned().unwrap_or(StepValue::NoReplacement);
        if let (Some(_), StepValue::Hdca(id)) = (run.when, &value) {
            // A collection that only the condition looks at takes part in the mapping.
            mapped.push((name.clone(), *id, 0));
        }
        extra.push((name.clone(), value));
    }
    Ok(Bound {
        params,
        mapped,
        extra,
        terminals,
    })
}

pub(super) enum Binding {
    Value(Value),
    Mapped(i64, usize),
}

pub(super) fn bind_one(
    terminal: &Terminal,
    values: &[StepValue],
    known: &Known,
    step: i64,
) -> Result<Binding, Stop> {
    let wrong = |what: String| {
        Err(Stop::invalid_parameter(
            step,
            format!("{}: {what}", terminal.name),
        ))
    };
    let collection_type = |id: &i64| {
        known
            .hdcas
            .get(id)
            .map_or("", |h| h.collection.collection_type.as_str())
    };
    match (&terminal.kind, values) {
        (_, [] | [StepValue::NoReplacement]) => Ok(Binding::Value(Value::Null)),
        (
            TerminalKind::Parameter { .. }
            | TerminalKind::Dataset {
                multiple: false, ..
            },
            [StepValue::Hdca(id)],
        ) if collection_type(id) == "record" => {
            wrong("a record is not mapped over, and is no dataset".into())
        }
        (TerminalKind::Parameter { .. }, [one]) => match one {
            StepValue::Json(value) => Ok(Binding::Value(value.clone())),
            StepValue::Hda(id) => Ok(Binding::Value(resolve::content(known, *id, step)?)),
            StepValue::Hdca(id) => Ok(Binding::Mapped(*id, 0)),
            StepValue::NoReplacement => Ok(Binding::Value(Value::Null)),
        },
        (TerminalKind::Parameter { .. }, _) => wrong("a parameter takes one value".into()),
        (
            TerminalKind::Dataset {
                multiple: false, ..
            },
            [one],
        ) => match one {
            StepValue::Hda(id) => Ok(Binding::Value(DataRef::new(DataSource::Hda, *id).to_json())),
            StepValue::Hdca(id) => Ok(Binding::Mapped(*id, 0)),
            _ => wrong("a dataset is needed here, not a value".into()),
        },
        (
            TerminalKind::Dataset {
                multiple: false, ..
            },
            _,
        ) => wrong("only one dataset can be connected".into()),
        (TerminalKind::Dataset { multiple: true, .. }, [StepValue::Hdca(id)]) => {
            match mapping::rank(collection_type(id)) {
                0 | 1 => Ok(Binding::Value(
                    json!({"values": [{"src": "hdca", "id": id}]}),
                )),
                _ => Ok(Binding::Mapped(*id, 1)),
            }
        }
        (TerminalKind::Dataset { multiple: true, .. }, many) => {
            let mut refs = Vec::with_capacity(many.len());
            for value in many {
                match value {
                    StepValue::Hda(id) => refs.push(json!({"src": "hda", "id": id})),
                    StepValue::Hdca(id) => refs.push(json!({"src": "hdca", "id": id})),
                    StepValue::NoReplacement => {}
                    StepValue::Json(_) => {
                        return wrong("datasets are needed here, not values".into());
                    }
                }
            }
            Ok(Binding::Value(json!({ "values": refs })))
        }
        (
            TerminalKind::Collection {
                collection_types, ..
            },
            [StepValue::Hdca(id)],
        ) => match mapping::fit(collection_types, collection_type(id)) {
            Fit::Whole => Ok(Binding::Value(
                DataRef::new(DataSource::Hdca, *id).to_json(),
            )),
            Fit::Mapped(sub_rank) => Ok(Binding::Mapped(*id, sub_rank)),
            Fit::No => wrong(format!(
                "a collection of type {} does not fit an input of type {}",
                collection_type(id),
                collection_types.join(" or ")
            )),
        },
        (TerminalKind::Collection { .. }, _) => wrong("one collection is needed here".into()),
    }
}
