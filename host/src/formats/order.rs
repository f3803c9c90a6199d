//! Putting steps into the order Galaxy gives them on import (behaviour notes 7.1).
//!
//! 1. With a position on every step, positions are shifted so that the least is 0 (comments
//!    count and move too) and steps are sorted by distance from the origin; else file order.
//! 2. Kahn's algorithm with a FIFO queue over that order.
//! 3. `order_index` becomes the place in the result, and every reference follows.
//!
//! Doing it twice changes nothing, which is what lets an exported workflow import unchanged.

use crate::model::workflow::{StepDescription, StepGraph, WorkflowDescription};
use serde_json::{Number, Value, json};
use std::collections::{HashMap, HashSet, VecDeque};

/// Positions beyond this are no place on a canvas, and their differences lose precision.
const COORDINATE_MAX: f64 = 1e12;

/// Orders `workflow` and the subworkflows inside it and sets `has_cycles`. Answers where each
/// step went: `moved[old order_index]` is the new one. Expects `validate::description` to hold.
pub fn reorder(workflow: &mut WorkflowDescription) -> Vec<usize> {
    reorder_insides(workflow, reorder);
    let sorted = sort_by_position(workflow);
    let (order, has_cycles) = topological(&sorted, &workflow.graph());
    workflow.has_cycles = has_cycles;
    renumber(workflow, &order)
}

/// Numbers the input steps before all others, here and in the subworkflows, as format2 does;
/// `reorder` undoes it.
pub(super) fn inputs_first(workflow: &mut WorkflowDescription) -> Vec<usize> {
    reorder_insides(workflow, inputs_first);
    let mut order: Vec<usize> = (0..workflow.steps.len()).collect();
    order.sort_by_key(|index| !workflow.steps[*index].is_input_step());
    renumber(workflow, &order)
}

fn reorder_insides(
    workflow: &mut WorkflowDescription,
    reorder: fn(&mut WorkflowDescription) -> Vec<usize>,
) {
    let mut insides = Insides::default();
    for step in &mut workflow.steps {
        if let Some(inner) = step.subworkflow.as_deref_mut() {
            let moved = reorder(inner);
            insides.add(step.order_index, inner, moved);
        }
    }
    insides.follow_inputs(workflow);
    insides.follow_names(workflow);
}

/// Puts the step at `order[i]` at `i`, and lets every reference of this workflow follow.
fn renumber(workflow: &mut WorkflowDescription, order: &[usize]) -> Vec<usize> {
    let mut moved = vec![0; order.len()];
    for (new_index, old_index) in order.iter().enumerate() {
        moved[*old_index] = new_index;
    }
    permute(&mut workflow.steps, order);
    for (new_index, step) in workflow.steps.iter_mut().enumerate() {
        step.order_index = new_index;
        let inputs = step.inputs.iter_mut();
        for connection in inputs.flat_map(|input| &mut input.connections) {
            connection.output_step = moved[connection.output_step];
        }
    }
    for comment in &mut workflow.comments {
        comment.child_steps.retain(|old| *old < moved.len());
        for child in &mut comment.child_steps {
            *child = moved[*child];
        }
    }
    moved
}

/// Subworkflow steps whose inside was renumbered, and what that means for references to it:
/// connections into its input steps, and the names of unlabelled inputs and outputs, which
/// begin with the order_index of the step inside (`0:Input dataset`, `2:out_file1`).
#[derive(Default)]
pub(super) struct Insides(HashMap<usize, Inside>);

struct Inside {
    moved: Vec<usize>,
    unlabelled_inputs: HashSet<usize>,
    unlabelled_outputs: HashSet<(usize, String)>,
}

impl Insides {
    /// The step at `index` holds `inner`, whose steps are already where `moved[old]` says.
    pub(super) fn add(&mut self, index: usize, inner: &WorkflowDescription, moved: Vec<usize>) {
        if moved.iter().enumerate().all(|(old, new)| old == *new) {
            return;
        }
        let unlabelled = inner.outputs().filter(|(_, output)| output.label.is_none());
        let unlabelled_outputs = unlabelled
            .map(|(step, output)| (step.order_index, output.output_name.clone()))
            .collect();
        let unlabelled = inner
            .input_steps()
            .filter(|step| step.effective_label().is_none());
        let inside = Inside {
            moved,
            unlabelled_inputs: unlabelled.map(|step| step.order_index).collect(),
            unlabelled_outputs,
        };
        self.0.insert(index, inside);
    }

    /// Rewrites which step inside each connection feeds.
    pub(super) fn follow_inputs(&self, workflow: &mut WorkflowDescription) {
        for (index, inside) in &self.0 {
            let inputs = workflow.steps[*index].inputs.iter_mut();
            for connection in inputs.flat_map(|input| &mut input.connections) {
                if let Some(inner_index) = &mut connection.input_subworkflow_step
                    && let Some(new) = inside.moved.get(*inner_index)
                {
                    *inner_index = *new;
                }
            }
        }
    }

    /// Rewrites names of unlabelled inputs and outputs, wherever `workflow` uses them; its own steps are
    /// still where `add` was told.
    pub(super) fn follow_names(&self, workflow: &mut WorkflowDescription) {
        if self.0.is_empty() {
            return;
        }
        for (index, step) in workflow.steps.iter_mut().enumerate() {
            for connection in step
                .inputs
                .iter_mut()
                .flat_map(|input| &mut input.connections)
            {
                if let Some(producer) = self.0.get(&connection.output_step) {
                    producer.follow_name(&mut connection.output_name);
                }
            }
            let Some(own) = self.0.get(&index) else {
                continue;
            };
            for input in &mut step.inputs {
                own.follow_input_name(&mut input.name);
            }
            for output in &mut step.workflow_outputs {
                own.follow_name(&mut output.output_name);
            }
            let actions = step.post_job_actions.iter_mut();
            for name in actions.filter_map(|action| action.output_name.as_mut()) {
                own.follow_name(name);
            }
        }
    }
}

impl Inside {
    fn follow_name(&self, name: &mut String) {
        if let Some((new, output)) = self.moved_prefix(name)
            && self.unlabelled_outputs.contains(&(new, output.to_owned()))
        {
            *name = format!("{new}:{output}");
        }
    }

    fn follow_input_name(&self, name: &mut String) {
        if let Some((new, rest)) = self.moved_prefix(name)
            && self.unlabelled_inputs.contains(&new)
        {
            *name = format!("{new}:{rest}");
        }
    }

    /// `2:out` as the new number of the step inside and the rest.
    fn moved_prefix<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        let (old, rest) = name.split_once(':')?;
        let new = self.moved.get(old.parse::<usize>().ok()?)?;
        Some((*new, rest))
    }
}

/// Shifts positions and comments, and answers the steps' indexes by distance; file order, and
/// nothing shifted, unless every step has a position.
fn sort_by_position(workflow: &mut WorkflowDescription) -> Vec<usize> {
    let mut order: Vec<usize> = (0..workflow.steps.len()).collect();
    let positions = workflow.steps.iter().map(step_position);
    let Some(positions) = positions.collect::<Option<Vec<_>>>() else {
        return order;
    };
    // Freehand drawings are shifted but do not count, as in Galaxy.
    let remarks = workflow
        .comments
        .iter()
        .filter(|c| c.comment_type != "freehand");
    let corners = remarks.filter_map(|comment| pair(comment.position.as_ref()?, &0, &1));
    let (mut left, mut top) = (f64::INFINITY, f64::INFINITY);
    for (x, y) in positions.iter().copied().chain(corners) {
        (left, top) = (left.min(x), top.min(y));
    }
    if positions.is_empty() {
        return order;
    }

    let distances: Vec<f64> = positions
        .iter()
        .map(|(x, y)| (x - left).hypot(y - top))
        .collect();
    for (step, (x, y)) in workflow.steps.iter_mut().zip(&positions) {
        step.position = Some(json!({"left": number(x - left), "top": number(y - top)}));
    }
    for comment in &mut workflow.comments {
        let position = comment.position.as_ref();
        if let Some((x, y)) = position.and_then(|position| pair(position, &0, &1)) {
            comment.position = Some(json!([number(x - left), number(y - top)]));
        }
    }
    order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
    order
}

fn step_position(step: &StepDescription) -> Option<(f64, f64)> {
    pair(step.position.as_ref()?, &"left", &"top")
}

fn pair<I: serde_json::value::Index>(position: &Value, x: I, y: I) -> Option<(f64, f64)> {
    let coordinate = |value: &Value| {
        let number = value.as_f64()?;
        (number.abs() <= COORDINATE_MAX).then_some(number)
    };
    Some((coordinate(position.get(x)?)?, coordinate(position.get(y)?)?))
}

/// Whole numbers without a fraction, as editors write them.
fn number(coordinate: f64) -> Value {
    if coordinate.fract() == 0.0 {
        // Within COORDINATE_MAX twice over, so exact.
        return Value::from(coordinate as i64);
    }
    Number::from_f64(coordinate).map_or(Value::from(0), Value::Number)
}

/// Kahn's algorithm over `sorted`. On a cycle, a step feeding itself included: `sorted`, true.
fn topological(sorted: &[usize], graph: &StepGraph) -> (Vec<usize>, bool) {
    let mut rank = vec![0; sorted.len()];
    for (place, step) in sorted.iter().enumerate() {
        rank[*step] = place;
    }
    let mut waiting_for: Vec<usize> = graph.producers.iter().map(Vec::len).collect();
    let roots = sorted
        .iter()
        .copied()
        .filter(|step| waiting_for[*step] == 0);
    let mut queue: VecDeque<usize> = roots.collect();
    let mut order = Vec::with_capacity(sorted.len());
    while let Some(step) = queue.pop_front() {
        order.push(step);
        let mut consumers = graph.consumers[step].clone();
        consumers.sort_unstable_by_key(|consumer| rank[*consumer]);
        for consumer in consumers {
            waiting_for[consumer] -= 1;
            if waiting_for[consumer] == 0 {
                queue.push_back(consumer);
            }
        }
    }
    match order.len() == sorted.len() {
        true => (order, false),
        false => (sorted.to_vec(), true),
    }
}

/// `items[i]` becomes the former `items[order[i]]`; `order` is a permutation.
fn permute<T>(items: &mut Vec<T>, order: &[usize]) {
    let mut slots: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.iter().filter_map(|old| slots[*old].take()));
}
