//! B for workflow modules: the description is usable, and every method answers whatever it is asked.

use barycenter_plugin_api::{
    Attr, StepContext, StepInputValue, StepOutcome, StepStatus, ValueKind, ValueRef,
};
use serde_json::Value;

use super::{Context, MODULE, Test, Verdict, faults_or_passed, noted, passed};
use crate::kit::traces::EPOCH_MS;
use crate::plugins::{ModuleInstance, PluginCallError};

pub(super) const TESTS: [Test; 7] = [
    Test {
        id: "B.describe",
        text: "the description names the type, a name, and terminals of known kinds, each once",
        kinds: MODULE,
        run: describe,
    },
    Test {
        id: "B.state",
        text: "any state, also one that is not JSON, is checked without a panic",
        kinds: MODULE,
        run: state,
    },
    Test {
        id: "B.runtime",
        text: "the runtime state is JSON and survives being stored",
        kinds: MODULE,
        run: runtime,
    },
    Test {
        id: "B.execute",
        text: "every sort of input is answered with outputs that the description names",
        kinds: MODULE,
        run: execute,
    },
    Test {
        id: "B.recover",
        text: "so it is on later passes, with and without an action",
        kinds: MODULE,
        run: recover,
    },
    Test {
        id: "B.action",
        text: "any action is stored as JSON or refused with a sentence, never a panic",
        kinds: MODULE,
        run: action,
    },
    Test {
        id: "B.same",
        text: "the same step is answered the same way twice, also by another instance",
        kinds: MODULE,
        run: same,
    },
];

const STATES: [&str; 9] = [
    "{}",
    "null",
    "[]",
    "1",
    "\"text\"",
    "{\"a\":{\"b\":[1,2,null]}}",
    "",
    "{",
    "{\"ячейка\":\"\\u0000\"}",
];

const ACTIONS: [&str; 10] = [
    "null",
    "true",
    "false",
    "0",
    "1e400",
    "\"yes\"",
    "[]",
    "{\"a\":1}",
    "",
    "not json",
];

pub(super) const KINDS: [ValueKind; 7] = [
    ValueKind::UNCONNECTED,
    ValueKind::HDA,
    ValueKind::HDCA,
    ValueKind::JSON,
    ValueKind::NO_REPLACEMENT,
    ValueKind::DELAYED,
    // One of a later version: opaque.
    ValueKind(917),
];

fn describe(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let description = opened.module()?.description();
    let mut faults = Vec::new();
    if description.name.is_empty() {
        faults.push("it has no name for people".to_owned());
    }
    for (what, terminals) in [
        ("input", &description.inputs),
        ("output", &description.outputs),
    ] {
        for (at, terminal) in terminals.iter().enumerate() {
            if terminal.name.is_empty() {
                faults.push(format!("{what} {at} has no name"));
            }
            if terminals[..at]
                .iter()
                .any(|other| other.name == terminal.name)
            {
                faults.push(format!("the {what} `{}` is there twice", terminal.name));
            }
            if !["dataset", "dataset_collection", "parameter"].contains(&terminal.kind.as_str()) {
                faults.push(format!(
                    "the {what} `{}` is of no known kind: `{}`",
                    terminal.name, terminal.kind
                ));
            }
        }
    }
    if !description.state_schema.is_empty() {
        let schema = serde_json::from_str::<Value>(&description.state_schema);
        match schema.map(|schema| {
            jsonschema::validator_for(&schema)
                .err()
                .map(|error| error.to_string())
        }) {
            Ok(None) => {}
            Ok(Some(error)) => faults.push(format!(
                "the schema of its state is no JSON Schema: {error}"
            )),
            Err(error) => faults.push(format!("the schema of its state is not JSON: {error}")),
        }
    }
    faults_or_passed(faults)
}

/// A refusal is an answer; a panic or an invalid answer is not.
fn tell<T>(faults: &mut Vec<String>, what: &str, outcome: Result<T, PluginCallError>) -> Option<T> {
    match outcome {
        Ok(answer) => Some(answer),
        Err(PluginCallError::Refused { message, .. }) if message.is_empty() => {
            faults.push(format!("{what}: it is refused without a sentence"));
            None
        }
        Err(PluginCallError::Refused { .. }) => None,
        Err(error) => {
            faults.push(format!("{what}: {error}"));
            None
        }
    }
}

fn state(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let mut faults = Vec::new();
    for state in STATES {
        let outcome = opened.module()?.validate_state(state);
        for diagnostic in
            tell(&mut faults, &format!("the state {state:?}"), outcome).unwrap_or_default()
        {
            if diagnostic.text.is_empty() {
                faults.push(format!(
                    "the state {state:?} gets a diagnostic without a text"
                ));
            }
        }
    }
    faults_or_passed(faults)
}

fn runtime(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let module = opened.module()?;
    let mut faults = Vec::new();
    for state in STATES {
        for overrides in ["null", "{}", "{\"input\":1}", "[]"] {
            let what = format!("the runtime state of {state:?} with {overrides}");
            let Some(stored) = tell(
                &mut faults,
                &what,
                module.get_runtime_state(state, overrides),
            ) else {
                continue;
            };
            let what = format!("{what}, recovered");
            if let Err(error) = module.recover_runtime_state(&stored) {
                faults.push(format!(
                    "{what}: it does not take back what it gave: {error}"
                ));
            }
        }
    }
    faults_or_passed(faults)
}

/// A step at which values of this kind arrive.
pub(super) fn step(module: &ModuleInstance, kind: ValueKind, action_json: &str) -> StepContext {
    let value = ValueRef {
        kind,
        token: if kind == ValueKind::UNCONNECTED {
            "".into()
        } else {
            "token-17".into()
        },
        json: if kind == ValueKind::JSON {
            "[1,\"x\"]".into()
        } else {
            "".into()
        },
        ..ValueRef::default()
    };
    let inputs = module
        .description()
        .inputs
        .iter()
        .map(|input| StepInputValue {
            name: input.name.clone(),
            value: value.clone(),
            ..StepInputValue::default()
        });
    StepContext {
        invocation_uuid: "00000000-0000-4000-8000-000000000001".into(),
        order_index: 3,
        label: "ячейка".into(),
        state_json: "{}".into(),
        runtime_state_json: module
            .get_runtime_state("{}", "null")
            .unwrap_or_else(|_| "{}".to_owned())
            .into(),
        action_json: action_json.into(),
        now_ms: EPOCH_MS,
        inputs: inputs.collect(),
        attrs: vec![Attr::json("of_a_later_version", &true.into())].into(),
    }
}

fn check_outcome(faults: &mut Vec<String>, what: &str, outcome: &StepOutcome) {
    if outcome.status.name().is_none() {
        faults.push(format!(
            "{what}: the status {} is none of this contract's",
            outcome.status
        ));
    }
    let ends = outcome.status == StepStatus::FAIL || outcome.status == StepStatus::CANCEL;
    if ends && (outcome.reason.is_empty() || outcome.text.is_empty()) {
        faults.push(format!(
            "{what}: it ends the invocation without a reason and a text"
        ));
    }
    for output in &outcome.outputs {
        let is_json = serde_json::from_str::<Value>(&output.value.json).is_ok();
        if output.value.kind == ValueKind::JSON && !is_json {
            faults.push(format!(
                "{what}: the value of `{}` is not JSON",
                output.name
            ));
        }
        let needs_token =
            output.value.kind == ValueKind::HDA || output.value.kind == ValueKind::HDCA;
        if needs_token && output.value.token != "token-17" {
            faults.push(format!(
                "{what}: `{}` is a dataset that did not come in as an input",
                output.name
            ));
        }
    }
}

fn execute(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let module = opened.module()?;
    let mut faults = Vec::new();
    for kind in KINDS {
        let what = format!("execute with {kind} inputs");
        if let Some(outcome) = tell(
            &mut faults,
            &what,
            module.execute(&step(module, kind, "null")),
        ) {
            check_outcome(&mut faults, &what, &outcome);
        }
    }
    faults_or_passed(faults)
}

fn recover(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let module = opened.module()?;
    let mut faults = Vec::new();
    for kind in KINDS {
        for action in ["null", "true", "false", "{\"a\":1}"] {
            let what = format!("recover_mapping with {kind} inputs and the action {action}");
            if let Some(outcome) = tell(
                &mut faults,
                &what,
                module.recover_mapping(&step(module, kind, action)),
            ) {
                check_outcome(&mut faults, &what, &outcome);
            }
        }
    }
    faults_or_passed(faults)
}

fn action(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let module = opened.module()?;
    let mut faults = Vec::new();
    let context = step(module, ValueKind::HDA, "null");
    for action in ACTIONS {
        let what = format!("the action {action:?}");
        if let Some(stored) = tell(
            &mut faults,
            &what,
            module.do_invocation_step_action(&context, action),
        ) {
            let mut later = context.clone();
            later.action_json = stored.into();
            tell(
                &mut faults,
                &format!("{what}, on the next pass"),
                module.recover_mapping(&later),
            );
        }
    }
    faults_or_passed(faults)
}

fn same(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let (other, _) = context.open()?;
    let (module, other) = (opened.module()?, other.module()?);
    for kind in KINDS {
        let asked = step(module, kind, "null");
        let answers = [
            module.execute(&asked),
            module.execute(&asked),
            other.execute(&asked),
        ];
        if answers[0] != answers[1] || answers[0] != answers[2] {
            return noted(format!(
                "execute with {kind} inputs is answered differently the second time; what is kept in the object is lost \
                 when the server restarts"
            ));
        }
    }
    passed()
}
