//! An instance of any kind.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::failure::PluginCallError;
use super::stats::MethodStats;
use super::supervision::Supervision;
use super::transport::Caller;
use std::sync::Arc;

/// A plugin of any kind that can be called.
#[derive(Clone)]
pub(super) enum Instance {
    Scheduler(SchedulerInstance),
    Module(ModuleInstance),
    Runner(RunnerInstance),
}

/// What each kind does in its own way.
macro_rules! each {
    ($instance:expr, $one:ident => $body:expr) => {
        match $instance {
            Instance::Scheduler($one) => $body,
            Instance::Module($one) => $body,
            Instance::Runner($one) => $body,
        }
    };
}

impl Instance {
    pub fn caller(&self) -> &Caller {
        each!(self, one => one.caller())
    }

    pub fn supervision(&self) -> &Arc<Supervision> {
        each!(self, one => one.supervision())
    }

    pub fn stats(&self) -> Vec<MethodStats> {
        each!(self, one => one.stats())
    }

    pub fn is_left(&self) -> bool {
        each!(self, one => one.is_left())
    }

    pub fn is_on_trial(&self) -> bool {
        each!(self, one => !one.probation().is_over())
    }

    pub fn end_trial(&self) {
        each!(self, one => one.probation().end());
    }

    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scheduler(one), Self::Scheduler(other)) => one.is(other),
            (Self::Module(one), Self::Module(other)) => one.is(other),
            (Self::Runner(one), Self::Runner(other)) => one.is(other),
            _ => false,
        }
    }

    /// It is not needed any more.
    pub fn shut_down(&self) -> Result<(), PluginCallError> {
        match self {
            Self::Scheduler(one) => one.shutdown(),
            Self::Module(_) => Ok(()),
            Self::Runner(one) => one.shutdown(),
        }
    }
}
