//! What an invocation was asked for with, checked and turned into [`NewInvocation`]s: plain functions over plain
//! values. Order of the steps, with what only a database can tell between them:
//!
//! 1. [`Payload::parse`] reads the body.
//! 2. [`prepare`] checks it against the workflow and finds what each run gives to each step.
//! 3. [`Prepared::references`] names the datasets and collections that are referred to; the caller looks them up.
//! 4. [`build`] makes one run's invocation, children included.
//!
//! [`NewInvocation`]: crate::model::invocation::NewInvocation

mod batch;
mod build;
mod error;
mod ignored;
mod inputs;
mod overrides;
mod payload;
mod prepare;
pub mod strict;
pub mod tool_request;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::workflow::StepDescription;
use crate::tools::Tool;

pub use build::{Asked, Items, Person, build};
pub use error::{Kind, RequestError};
pub use payload::{HistoryChoice, Payload};
pub use prepare::{Prepared, Run, prepare};

#[cfg(test)]
mod tests;

/// A dataset or collection as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `hda` or `hdca`.
    pub src: Src,
    /// As clients see it.
    pub id: String,
}

/// What a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Src {
    Hda,
    Hdca,
    /// An element of a collection: what a job of a mapping read.
    Dce,
}

impl Src {
    /// The word that requests use.
    pub fn code(self) -> &'static str {
        match self {
            Src::Hda => "hda",
            Src::Hdca => "hdca",
            Src::Dce => "dce",
        }
    }
}

/// The step types there are.
pub trait StepTypes: Send + Sync {
    /// Whether the host or a plugin supplies this type.
    fn is_known(&self, step_type: &str) -> bool;

    /// The step types that plugins supply now, for editors: type, title, whether it is a beta module.
    fn of_plugins(&self) -> Vec<(String, String, bool)> {
        Vec::new()
    }

    /// What is wrong with the state of a step of a type that a plugin supplies; sentences. May block.
    fn problems(&self, step: &StepDescription) -> Vec<String> {
        let _ = step;
        Vec::new()
    }

    /// The runtime state to store for a step of a type that a plugin supplies, after the request's overrides
    /// (Galaxy: compute_runtime_state and encode_runtime_state); else one sentence.
    fn runtime_state(
        &self,
        step: &StepDescription,
        overrides: &Map<String, Value>,
    ) -> Result<Value, String> {
        let _ = (step, overrides);
        Ok(Value::Object(Map::new()))
    }
}

/// The schedulers there are.
pub trait Schedulers: Send + Sync {
    /// The one to use when a request names none.
    fn default_id(&self) -> String;
    /// Whether there is a scheduler with this id.
    fn is_known(&self, id: &str) -> bool;
}

/// A tool that was found, and whether in the version asked for.
#[derive(Debug, Clone)]
pub struct FoundTool {
    pub tool: Arc<Tool>,
    pub exact: bool,
}

/// The tools there are.
pub trait Tools: Send + Sync {
    /// The tool of a step; None when it is not installed, or not for this user.
    fn find(&self, step: &StepDescription, dynamic_tool_id: Option<i64>) -> Option<FoundTool>;
}

/// What a request is checked against beside the workflow.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    pub step_types: &'a dyn StepTypes,
    pub schedulers: &'a dyn Schedulers,
    pub tools: &'a dyn Tools,
    /// Resource parameters that only take certain values.
    pub resource_values: &'a [(String, Vec<String>)],
    /// The database id behind an encoded one.
    pub decode: &'a (dyn Fn(&str) -> Option<i64> + Sync),
}
