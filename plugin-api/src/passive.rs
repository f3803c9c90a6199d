//! What a scheduler may ask of the host beyond the services of [`crate::HostApi`]: questions about its own
//! invocations, and, for passive schedulers, taking invocations and reporting their work.
//!
//! All of it goes through [`Host::query`] as JSON, so it is the same in every way of running a plugin and may grow
//! without a new version: a field that is missing has its default, one that is unknown is ignored.
//!
//! # Taking invocations
//!
//! [`Host::claim`] hands out invocations that carry the scheduler's id, each under a *lease*: a token and an instant.
//! Whoever holds the token may renew the lease, report about the work, and release it. Once the instant has passed the
//! invocation can be claimed again; the old token is worth nothing from then on, so a late report is refused.
//!
//! The host makes the jobs of the steps, as for every invocation; *work* is one such job whose inputs are there. The
//! claim brings the work there is, each renewal what has become possible since. Results are values, or files below
//! [`Work::directory`].

use crate::{Host, PluginError, ReadyJob, UserLoad};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kinds of questions.
pub mod kind {
    /// [`super::InvocationFacts`] of an own invocation.
    pub const INVOCATION: &str = "invocation";
    /// [`super::StepFacts`] of an own invocation.
    pub const STEPS: &str = "steps";
    /// The ready jobs of the own invocations.
    pub const READY_JOBS: &str = "ready_jobs";
    /// What each user has in the system.
    pub const USER_LOAD: &str = "user_load";
    /// Takes invocations.
    pub const CLAIM: &str = "claim";
    /// Keeps an invocation, and asks for news.
    pub const RENEW: &str = "renew";
    /// Gives an invocation back.
    pub const RELEASE: &str = "release";
    /// Tells what became of work.
    pub const REPORT: &str = "report";
}

/// An invocation, as far as its scheduler may know it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct InvocationFacts {
    /// The host's number of it.
    pub id: u64,
    /// The public identity.
    pub uuid: String,
    /// The owner.
    pub user_id: u64,
    /// The owner's name.
    pub user_name: String,
    /// The history it writes into.
    pub history_id: u64,
    /// The workflow's name.
    pub workflow_name: String,
    /// Galaxy's invocation state.
    pub state: String,
    /// When it was requested, milliseconds since 1970.
    pub create_time_ms: i64,
    /// Its jobs that have not ended.
    pub active_jobs: u64,
}

/// A step of an invocation's workflow.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct StepFacts {
    /// What decisions and work refer to.
    pub step_id: u64,
    /// Its place in the workflow.
    pub order_index: u32,
    /// The step type.
    pub step_type: String,
    /// The tool, empty for other types.
    pub tool_id: String,
    /// The tool's version, empty when the workflow names none.
    pub tool_version: String,
    /// The label, empty when it has none.
    pub label: String,
    /// The step's definition: its parameters as the workflow has them.
    pub definition: Value,
    /// What is connected: input name, order_index of the step before, name of its output.
    pub connections: Vec<(String, u32, String)>,
    /// Where it stands in this invocation; empty when it was not reached.
    pub state: String,
    /// Its jobs: how many in which state.
    pub jobs: std::collections::BTreeMap<String, u64>,
}

/// A dataset that work reads.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct DatasetRef {
    /// The parameter that it is for.
    pub input: String,
    /// The host's number of it in the history.
    pub hda_id: u64,
    /// Its name.
    pub name: String,
    /// The datatype, e.g. `txt`.
    pub extension: String,
    /// Bytes; -1 when unknown.
    pub size: i64,
    /// The file. Read it, never write to it.
    pub path: String,
    /// Its name within a mapped collection; empty when there is none.
    pub element_identifier: String,
}

/// An output that work is expected to make.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct WantedOutput {
    /// The name to report it under.
    pub name: String,
    /// The datatype.
    pub extension: String,
    /// A collection: report its elements.
    pub is_collection: bool,
}

/// One job of a claimed invocation that can be done now.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Work {
    /// What reports refer to.
    pub job_id: u64,
    /// The step that it belongs to.
    pub step_id: u64,
    /// The tool.
    pub tool_id: String,
    /// The tool's version.
    pub tool_version: String,
    /// The job's parameters. Datasets appear as objects with `src` and `id`.
    pub parameters: Value,
    /// The datasets among them.
    pub inputs: Vec<DatasetRef>,
    /// What is expected.
    pub outputs: Vec<WantedOutput>,
    /// The command that a runner would run, for whoever can run it.
    pub command_line: String,
    /// The script with that command.
    pub script_path: String,
    /// Where result files are to be put.
    pub directory: String,
    /// Processor cores wanted.
    pub cores: u32,
    /// Memory wanted; 0 when unknown.
    pub memory_mb: u64,
    /// It was handed out before, to a holder whose lease ran out.
    pub again: bool,
}

/// How many invocations to take, and for how long.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct ClaimRequest {
    /// How long the lease is to last; between 1 s and 1 h.
    pub lease_ms: i64,
    /// How many invocations at most; at most 64.
    pub most: u32,
    /// Also those that this scheduler, on this server, took in an earlier life: for one that begins without their tokens,
    /// as the process before it was lost and its tokens with it. They get new tokens, their unfinished work is handed
    /// out [again](Work::again), and the old tokens are worth nothing from then on. What was taken since `create` is
    /// never taken twice.
    pub own: bool,
}

impl Default for ClaimRequest {
    fn default() -> Self {
        Self {
            lease_ms: 60_000,
            most: 1,
            own: false,
        }
    }
}

/// An invocation that was taken.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Claimed {
    /// Proves that the lease is yours.
    pub token: String,
    /// Until when it lasts, milliseconds since 1970, by the host's clock.
    pub lease_until_ms: i64,
    /// The invocation.
    pub invocation: InvocationFacts,
    /// All its steps.
    pub steps: Vec<StepFacts>,
    /// What can be done now.
    pub work: Vec<Work>,
}

/// The answer to a renewal.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Renewed {
    /// Until when the lease lasts now.
    pub lease_until_ms: i64,
    /// The invocation's state.
    pub state: String,
    /// It was cancelled, failed or is complete: stop everything; the lease is over.
    pub ended: bool,
    /// Jobs of yours that somebody stopped: end them, and report nothing.
    pub stopped: Vec<u64>,
    /// What has become possible since.
    pub work: Vec<Work>,
}

/// Where work stands. A report with another word is refused.
pub mod work_state {
    /// It has begun.
    pub const RUNNING: &str = "running";
    /// It is done; `outputs` holds its results.
    pub const DONE: &str = "done";
    /// It failed; `message` says why.
    pub const FAILED: &str = "failed";
}

/// One result: a file below [`Work::directory`], a value, or a collection's elements.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct OutputReport {
    /// The name, as in [`WantedOutput`].
    pub name: String,
    /// A path relative to [`Work::directory`].
    pub file: Option<String>,
    /// A value instead of a file: text is written as it is, everything else as JSON.
    pub value: Option<Value>,
    /// For a collection: its elements, with their identifiers outermost first, and their files.
    pub elements: Vec<ElementReport>,
}

/// An element of a collection.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct ElementReport {
    /// One identifier for each rank of the collection.
    pub identifiers: Vec<String>,
    /// A path relative to [`Work::directory`].
    pub file: String,
}

/// What became of one piece of work.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct WorkReport {
    /// The work.
    pub job_id: u64,
    /// Where it stands: a word of [`work_state`].
    pub state: String,
    /// What the holder calls it.
    pub external_id: String,
    /// Why it failed.
    pub message: String,
    /// What is shown as its standard output.
    pub stdout: String,
    /// What is shown as its standard error.
    pub stderr: String,
    /// When it began, milliseconds since 1970; 0 when unknown.
    pub started_ms: i64,
    /// Its results, once it is done.
    pub outputs: Vec<OutputReport>,
}

/// The answer to reports.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Reported {
    /// Until when the lease lasts now: a report keeps it for at least half a minute.
    pub lease_until_ms: i64,
    /// Reports that were not taken, and why. The others are stored.
    pub refused: Vec<(u64, String)>,
}

impl Host {
    /// An own invocation.
    pub fn invocation(&self, invocation_id: u64) -> Result<InvocationFacts, PluginError> {
        self.ask(
            kind::INVOCATION,
            serde_json::json!({ "invocation_id": invocation_id }),
        )
    }

    /// The steps of an own invocation.
    pub fn steps(&self, invocation_id: u64) -> Result<Vec<StepFacts>, PluginError> {
        self.ask(
            kind::STEPS,
            serde_json::json!({ "invocation_id": invocation_id }),
        )
    }

    /// The oldest ready jobs of the own invocations, at most `limit` (and at most 1,000).
    pub fn ready_jobs(&self, limit: u32) -> Result<Vec<ReadyJob>, PluginError> {
        self.ask(kind::READY_JOBS, serde_json::json!({ "limit": limit }))
    }

    /// What each user has in the system.
    pub fn user_load(&self) -> Result<Vec<UserLoad>, PluginError> {
        self.ask(kind::USER_LOAD, Value::Null)
    }

    /// Takes invocations that carry this passive scheduler's id and that nobody holds.
    pub fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, PluginError> {
        self.ask(kind::CLAIM, serde_json::to_value(request)?)
    }

    /// Keeps a claimed invocation for `lease_ms` from now on. An error of code refused says that the lease is over.
    pub fn renew(&self, token: &str, lease_ms: i64) -> Result<Renewed, PluginError> {
        self.ask(
            kind::RENEW,
            serde_json::json!({ "token": token, "lease_ms": lease_ms }),
        )
    }

    /// Gives a claimed invocation back; its unfinished work can be claimed at once.
    pub fn release(&self, token: &str) -> Result<(), PluginError> {
        self.ask::<Value>(kind::RELEASE, serde_json::json!({ "token": token }))
            .map(drop)
    }

    /// Tells what became of work of a claimed invocation.
    pub fn report(&self, token: &str, reports: &[WorkReport]) -> Result<Reported, PluginError> {
        self.ask(
            kind::REPORT,
            serde_json::json!({ "token": token, "reports": reports }),
        )
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        question: Value,
    ) -> Result<T, PluginError> {
        Ok(serde_json::from_value(self.query(kind, &question)?)?)
    }
}
