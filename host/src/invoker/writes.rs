//! What one iteration wants stored, as values: all of it or none.

use serde_json::Value;
use uuid::Uuid;

use super::known::{Hid, StepValue};
use super::stop::Wait;
use crate::model::message::InvocationMessage;
use crate::model::state::{DatasetState, InvocationEvent, JobState, StepState};

/// Where the ids of new rows come from.
pub trait NewIds: Sync {
    fn hda(&self) -> i64;
    fn dataset(&self) -> i64;
    fn collection(&self) -> i64;
    fn element(&self) -> i64;
    fn hdca(&self) -> i64;
    fn job(&self) -> i64;
    fn implicit_collection_jobs(&self) -> i64;
    fn invocation_step(&self) -> i64;
}

/// A dataset to create, in a history.
#[derive(Debug, Clone)]
pub struct NewHda {
    pub id: i64,
    pub dataset_id: i64,
    pub hid: Hid,
    /// May hold marks; see [`Names`].
    pub name: String,
    pub extension: String,
    pub state: DatasetState,
    pub visible: bool,
    pub tags: Vec<String>,
    pub dbkey: String,
    pub blurb: Option<String>,
    pub info: Option<String>,
    /// What the file holds, for datasets that no job writes.
    pub content: Option<String>,
    /// Another name for the data of this one, which may be as new: `dataset_id` is its dataset.
    pub copied_from: Option<i64>,
    /// The extension is this one's own, not that of what it was copied from.
    pub own_extension: bool,
}

/// A collection to create, or one that gets more elements.
#[derive(Debug, Clone)]
pub struct NewCollection {
    pub id: i64,
    pub collection_type: String,
    /// `new` while elements are still to come.
    pub populated: bool,
    pub element_count: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct NewElement {
    pub id: i64,
    pub collection_id: i64,
    pub index: i64,
    pub identifier: String,
    pub hda_id: Option<i64>,
    pub child_collection_id: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct NewHdca {
    pub id: i64,
    pub collection_id: i64,
    pub hid: Hid,
    pub name: String,
    pub visible: bool,
    pub tags: Vec<String>,
    pub implicit_output_name: Option<String>,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
}

/// A dataset that a job reads.
#[derive(Debug, Clone)]
pub struct JobInput {
    pub name: String,
    pub hda_id: i64,
    pub dataset_id: i64,
    pub element_identifier: Option<String>,
}

/// A job to create. Whether it is ready, waits or is paused is decided when it is stored, from the states its
/// inputs have then: see `scheduling::readiness`.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: i64,
    pub uuid: Uuid,
    /// None outside a workflow.
    pub invocation_id: Option<i64>,
    pub tool_id: String,
    pub tool_version: String,
    pub dynamic_tool_id: Option<i64>,
    pub state: JobState,
    pub params: Value,
    pub inputs: Vec<JobInput>,
    /// Parameter name, hdca id or dce id.
    pub input_collections: Vec<(String, Option<i64>, Option<i64>)>,
    /// Output name, hda id.
    pub outputs: Vec<(String, i64)>,
    /// Output name, hdca id if it is one by itself, collection id.
    pub output_collections: Vec<(String, Option<i64>, i64)>,
    pub post_job_action_ids: Vec<i64>,
    pub cores: i64,
    pub memory_mb: i64,
    /// The results of an equivalent job will do.
    pub use_cached: bool,
    /// The equivalent job whose results it has.
    pub copied_from: Option<i64>,
    /// The shape of the collections it reads, where it reads any.
    pub structure: Option<String>,
}

/// An invocation step's row, new or changed.
#[derive(Debug, Clone)]
pub struct StepRow {
    pub id: i64,
    pub invocation_id: i64,
    pub workflow_step_id: i64,
    pub order_index: usize,
    pub state: StepState,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    pub is_new: bool,
}

/// An output of an invocation step.
#[derive(Debug, Clone)]
pub struct StepOutput {
    pub invocation_step_id: i64,
    pub output_name: String,
    pub value: StepValue,
}

/// An output of the workflow.
#[derive(Debug, Clone)]
pub struct InvocationOutput {
    pub invocation_id: i64,
    pub workflow_output_id: i64,
    pub workflow_step_id: i64,
    pub value: StepValue,
}

/// A value that an input step took without the request having supplied it: a default, or what the parent feeds to a
/// subworkflow.
#[derive(Debug, Clone)]
pub struct TakenInput {
    pub invocation_id: i64,
    pub workflow_step_id: i64,
    pub value: StepValue,
}

/// The invocation inside a subworkflow step moves on with its root.
#[derive(Debug, Clone, Copy)]
pub struct ChildMove {
    pub invocation_id: i64,
    pub event: InvocationEvent,
}

/// Everything an iteration wants stored, in the order it was decided.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    pub names: Names,
    /// How many history items get a number.
    pub hids: usize,
    pub hdas: Vec<NewHda>,
    pub collections: Vec<NewCollection>,
    /// Collections stored by an earlier iteration that now have all their elements: id, count.
    pub populated: Vec<(i64, i64)>,
    pub elements: Vec<NewElement>,
    pub hdcas: Vec<NewHdca>,
    pub jobs: Vec<NewJob>,
    /// Groups of jobs: id, and whether all jobs exist.
    pub implicit_collection_jobs: Vec<(i64, bool, bool)>,
    /// Group, job, slice number.
    pub implicit_jobs: Vec<(i64, i64, i64)>,
    pub steps: Vec<StepRow>,
    pub step_outputs: Vec<StepOutput>,
    pub invocation_outputs: Vec<InvocationOutput>,
    pub inputs: Vec<TakenInput>,
    /// Each with the invocation it is for.
    pub messages: Vec<(i64, InvocationMessage)>,
    pub children: Vec<ChildMove>,
    pub waits: Vec<Wait>,
    /// What is held or waits, for people.
    pub holds: Vec<Hold>,
    /// What modules want to find again at their next look.
    pub runtime_states: Vec<RuntimeState>,
}

/// The runtime state of a step that is not scheduled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeState {
    pub invocation_id: i64,
    pub workflow_step_id: i64,
    pub value: serde_json::Value,
}

/// What of an invocation a scheduler holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// All of it.
    Invocation,
    /// A step, by its order_index.
    Step(usize),
    /// Jobs that wait for a runner.
    Jobs,
}

/// Why a scheduler does not let something go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub what: Held,
    /// A short word for machines, of the scheduler's choosing.
    pub code: String,
    /// A sentence for people.
    pub text: String,
    /// When the scheduler wants to look at it again.
    pub wake_time: Option<i64>,
}

impl Writes {
    /// A number in the history for one more item.
    pub fn next_hid(&mut self) -> Hid {
        self.hids += 1;
        Hid::New(self.hids - 1)
    }
}

/// Names that tell history numbers which are not given out yet: "Cut on data 5". Such a name holds a mark in place
/// of "data 5"; [`Names::resolve`] fills it in once the numbers are known.
#[derive(Debug, Clone, Default)]
pub struct Names {
    marks: Vec<(Vec<Hid>, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Data,
    Collection,
}

const MARK: char = '\u{1}';

impl Names {
    /// A mark for "data 1 and data 2".
    pub fn on_data(&mut self, hids: Vec<Hid>) -> String {
        self.mark(hids, Kind::Data)
    }

    /// A mark for "collection 3".
    pub fn on_collection(&mut self, hids: Vec<Hid>) -> String {
        self.mark(hids, Kind::Collection)
    }

    fn mark(&mut self, hids: Vec<Hid>, kind: Kind) -> String {
        if hids.is_empty() {
            return String::new();
        }
        // Mapped jobs often share one text.
        let index = match self.marks.last() {
            Some(last) if *last == (hids.clone(), kind) => self.marks.len() - 1,
            _ => {
                self.marks.push((hids, kind));
                self.marks.len() - 1
            }
        };
        format!("{MARK}{index}{MARK}")
    }

    /// The name as people will read it, `first_hid` being the number of the first new item.
    pub fn resolve(&self, name: &str, first_hid: i64) -> String {
        if !name.contains(MARK) {
            return name.to_owned();
        }
        let mut text = String::with_capacity(name.len() + 16);
        for (n, part) in name.split(MARK).enumerate() {
            match (n % 2 == 1).then(|| part.parse::<usize>().ok()).flatten() {
                Some(index) => match self.marks.get(index) {
                    Some((hids, kind)) => text.push_str(&on_string(hids, *kind, first_hid)),
                    None => text.push_str(part),
                },
                None => text.push_str(part),
            }
        }
        text
    }
}

/// Galaxy's "on data 1 and data 2"; collections as "collection 1".
fn on_string(hids: &[Hid], kind: Kind, first_hid: i64) -> String {
    let word = match kind {
        Kind::Data => "data",
        Kind::Collection => "collection",
    };
    let named: Vec<String> = hids
        .iter()
        .map(|hid| match hid {
            Hid::Given(n) => format!("{word} {n}"),
            Hid::New(n) => format!("{word} {}", first_hid + *n as i64),
        })
        .collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, two, three] => format!("{one}, {two}, and {three}"),
        [one, two, ..] => format!("{one}, {two}, and others"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_waits_for_the_numbers_of_its_inputs() {
        let mut names = Names::default();
        let on = names.on_data(vec![Hid::Given(3), Hid::New(1)]);
        let name = format!("Cut on {on}");
        assert_eq!(names.resolve(&name, 10), "Cut on data 3 and data 11");
        assert_eq!(names.resolve("plain", 10), "plain");
    }

    #[test]
    fn many_inputs_are_summed_up() {
        let hids: Vec<Hid> = (1..6).map(Hid::Given).collect();
        assert_eq!(
            on_string(&hids, Kind::Data, 0),
            "data 1, data 2, and others"
        );
        assert_eq!(on_string(&hids[..1], Kind::Collection, 0), "collection 1");
    }
}
