//! Random workflows: chains and branches with mapping, reduction, collections of unknown size, conditions, values computed
//! by jobs, pauses, operations on collections, subworkflows that may be mapped over, and steps that only follow others.

use serde_json::{Map, Value, json};

/// Small and always the same for a seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// The name of a connection without data, at both ends.
const AFTER: &str = "__NO_INPUT_OUTPUT_NAME__";

#[derive(Clone, PartialEq)]
enum Kind {
    Data,
    /// Lists of one shape can be matched.
    List(usize),
    Bool,
}

#[derive(Clone)]
struct Source {
    step: usize,
    output: &'static str,
    kind: Kind,
}

struct Builder<'r> {
    rng: &'r mut Rng,
    steps: Vec<Value>,
    sources: Vec<Source>,
    shapes: usize,
}

/// A workflow with one dataset, one list and one boolean as inputs; `depth` more levels of subworkflows may be inside.
pub fn workflow(rng: &mut Rng, depth: usize) -> Value {
    let mut builder = Builder {
        rng,
        steps: Vec::new(),
        sources: Vec::new(),
        shapes: 1,
    };
    builder.step("data_input", None, json!({}), &[]);
    builder.put("output", Kind::Data);
    builder.step(
        "data_collection_input",
        None,
        json!({"collection_type": "list"}),
        &[],
    );
    builder.put("output", Kind::List(0));
    let default = builder.rng.one_in(2);
    builder.step(
        "parameter_input",
        None,
        json!({"parameter_type": "boolean", "optional": true, "default": default}),
        &[],
    );
    builder.put("output", Kind::Bool);
    let count = 3 + builder.rng.below(7);
    for _ in 0..count {
        builder.random(depth);
    }
    builder.finish()
}

impl Builder<'_> {
    fn finish(self) -> Value {
        let steps: Map<String, Value> = self
            .steps
            .into_iter()
            .enumerate()
            .map(|(n, step)| (n.to_string(), step))
            .collect();
        json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "random", "annotation": "", "steps": steps})
    }

    fn put(&mut self, output: &'static str, kind: Kind) {
        let step = self.steps.len() - 1;
        self.sources.push(Source { step, output, kind });
    }

    fn of(&mut self, wanted: impl Fn(&Kind) -> bool) -> Option<Source> {
        let found: Vec<Source> = self
            .sources
            .iter()
            .filter(|source| wanted(&source.kind))
            .cloned()
            .collect();
        match found.is_empty() {
            true => None,
            // Later ones, so that chains get long.
            false => {
                let from = found.len().saturating_sub(4);
                Some(self.rng.pick(&found[from..]).clone())
            }
        }
    }

    fn new_shape(&mut self) -> Kind {
        self.shapes += 1;
        Kind::List(self.shapes)
    }

    fn step(&mut self, kind: &str, tool: Option<&str>, state: Value, from: &[(&str, &Source)]) {
        let id = self.steps.len();
        let mut state = state;
        let mut connections = Map::new();
        for (name, source) in from {
            connections.insert(
                (*name).to_owned(),
                json!({"id": source.step, "output_name": source.output}),
            );
            state[*name] = json!({"__class__": "ConnectedValue"});
        }
        let version = tool.map(|tool| if tool.starts_with("__") { "1.0.0" } else { "1" });
        self.steps.push(json!({
            "id": id, "type": kind, "tool_id": tool, "content_id": tool, "tool_version": version, "name": kind,
            "tool_state": state.to_string(), "input_connections": connections, "label": null,
            "position": {"left": id * 10, "top": id * 10}, "workflow_outputs": [], "annotation": ""
        }));
    }

    fn condition(&mut self) {
        if !self.rng.one_in(4) {
            return;
        }
        let Some(source) = self.of(|kind| *kind == Kind::Bool) else {
            return;
        };
        let step = self.steps.last_mut().expect("a step");
        step["when"] = "$(inputs.when)".into();
        step["input_connections"]["when"] =
            json!({"id": source.step, "output_name": source.output});
    }

    fn random(&mut self, depth: usize) {
        let data = |kind: &Kind| *kind == Kind::Data;
        let list = |kind: &Kind| matches!(kind, Kind::List(_));
        let either = |kind: &Kind| *kind != Kind::Bool;
        match self.rng.below(13) {
            0..=2 => {
                let tool = if self.rng.one_in(2) { "copy" } else { "flaky" };
                let Some(from) = self.of(either) else { return };
                self.step("tool", Some(tool), json!({}), &[("input", &from)]);
                self.condition();
                self.order();
                self.put("out", from.kind);
            }
            3..=4 => {
                let Some(first) = self.of(either) else { return };
                let same = first.kind.clone();
                let Some(second) = self.of(|kind| *kind == Kind::Data || *kind == same) else {
                    return;
                };
                let kind = match &first.kind {
                    Kind::Data => second.kind.clone(),
                    list => list.clone(),
                };
                let from = [("left", &first), ("right", &second)];
                self.step("tool", Some("join"), json!({}), &from);
                self.condition();
                self.put("out", kind);
            }
            5 => {
                let Some(from) = self.of(list) else { return };
                self.step("tool", Some("reduce"), json!({}), &[("input", &from)]);
                self.put("out", Kind::Data);
            }
            6 => {
                let Some(from) = self.of(data) else { return };
                self.step("tool", Some("split"), json!({}), &[("input", &from)]);
                let shape = self.new_shape();
                self.put("out", shape);
            }
            7 => {
                let Some(from) = self.of(data) else { return };
                self.step("tool", Some("decide"), json!({}), &[("input", &from)]);
                self.put("out", Kind::Bool);
            }
            8 => {
                let Some(from) = self.of(either) else { return };
                self.step("pause", None, json!({}), &[("input", &from)]);
                // A pause with nothing behind it is not waited for, as in Galaxy.
                let paused = Source {
                    step: self.steps.len() - 1,
                    output: "output",
                    kind: from.kind.clone(),
                };
                self.step("tool", Some("copy"), json!({}), &[("input", &paused)]);
                self.put("out", from.kind);
            }
            9 => {
                let Some(first) = self.of(either) else { return };
                let same = first.kind.clone();
                let Some(second) = self.of(|kind| *kind == same) else {
                    return;
                };
                let state = json!({"mode": "first_or_skip", "num_inputs": 2});
                let from = [("input_0", &first), ("input_1", &second)];
                self.step("pick_value", None, state, &from);
                self.put("output", first.kind);
            }
            10 => {
                let Some(from) = self.of(list) else { return };
                let filter = Some("__FILTER_FAILED_DATASETS__");
                self.step("tool", filter, json!({}), &[("input", &from)]);
                let shape = self.new_shape();
                self.put("output", shape);
            }
            11 => {
                let Some(from) = self.of(list) else { return };
                let state = json!({"join_identifier": "_"});
                self.step("tool", Some("__FLATTEN__"), state, &[("input", &from)]);
                self.put("output", from.kind);
            }
            _ if depth > 0 => self.inner(depth - 1),
            _ => {}
        }
    }

    /// A step that has to wait for another one besides.
    fn order(&mut self) {
        if !self.rng.one_in(10) {
            return;
        }
        let step = self.rng.below(self.steps.len() - 1);
        let last = self.steps.last_mut().expect("a step");
        last["input_connections"][AFTER] = json!({"id": step, "output_name": AFTER});
    }

    /// A subworkflow that is given a dataset and gives one back, or is mapped over a list of them.
    fn inner(&mut self, depth: usize) {
        let mapped = self.rng.one_in(3);
        let wanted = |kind: &Kind| match mapped {
            true => matches!(kind, Kind::List(_)),
            false => *kind == Kind::Data,
        };
        let Some(from) = self.of(wanted) else { return };
        let mut inside = Builder {
            rng: &mut *self.rng,
            steps: Vec::new(),
            sources: Vec::new(),
            shapes: 0,
        };
        inside.step("data_input", None, json!({}), &[]);
        inside.steps[0]["label"] = "given".into();
        inside.put("output", Kind::Data);
        for _ in 0..1 + inside.rng.below(3) {
            inside.random(depth);
        }
        let made = inside
            .of(|kind| *kind == Kind::Data)
            .expect("its input at least");
        if made.step == 0 {
            // An input is no output of a workflow.
            inside.step("tool", Some("copy"), json!({}), &[("input", &made)]);
            inside.put("out", Kind::Data);
        }
        let made = inside
            .sources
            .iter()
            .rfind(|s| s.kind == Kind::Data && s.step > 0);
        let made = made.cloned().expect("a dataset");
        inside.steps[made.step]["workflow_outputs"] =
            json!([{"output_name": made.output, "label": "made"}]);
        let workflow = inside.finish();
        self.step("subworkflow", None, json!({}), &[]);
        let step = self.steps.last_mut().expect("a step");
        step["subworkflow"] = workflow;
        step["input_connections"] = json!({"given": {"id": from.step, "output_name": from.output, "input_subworkflow_step_id": 0}});
        self.condition();
        self.put("made", from.kind);
    }
}
