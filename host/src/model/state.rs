//! The states of invocations, steps, jobs and datasets, and every transition between them
//! (Galaxy 26.1: WorkflowInvocation.states, Job.states, Dataset.states). `docs/states.md` is printed from here.

use std::fmt;
use std::str::FromStr;

/// A stored or requested state that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has no state {value:?}")]
pub struct UnknownState {
    pub what: &'static str,
    pub value: String,
}

macro_rules! states {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident => $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The code that is stored and sent.
            pub const fn code(self) -> &'static str { match self { $($name::$variant => $code),+ } }
        }
        impl FromStr for $name {
            type Err = UnknownState;
            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($code => Ok($name::$variant),)+
                    _ => Err(UnknownState { what: $what, value: text.to_owned() }),
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.code()) }
        }
    };
}

states! {
    /// Where an invocation stands.
    InvocationState, "an invocation" {
        /// The request is stored; nothing has been tried yet. A handler's first iteration moves it on.
        New => "new",
        /// An input was given as a URL and has to be fetched first.
        RequiresMaterialization => "requires_materialization",
        /// At least one iteration ended with something left to wait for.
        Ready => "ready",
        /// Every step is scheduled; jobs may still run. Safe to lose: the end of the last job signals again.
        Scheduled => "scheduled",
        /// A cancellation is stored; its jobs are being stopped.
        Cancelling => "cancelling",
        /// All its jobs are stopped. Final.
        Cancelled => "cancelled",
        /// Scheduling met something it cannot get over; the message says what. Jobs already made go on. Final.
        Failed => "failed",
        /// Every step is complete, which is not to say successful. Final.
        Completed => "completed",
    }
}

/// What happens to an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationEvent {
    InputsFetched,
    StepsRemain,
    EveryStepScheduled,
    EveryStepComplete,
    Failed,
    CancelRequested,
    JobsStopped,
}

impl InvocationEvent {
    pub const ALL: &'static [InvocationEvent] = &[
        InvocationEvent::InputsFetched,
        InvocationEvent::StepsRemain,
        InvocationEvent::EveryStepScheduled,
        InvocationEvent::EveryStepComplete,
        InvocationEvent::Failed,
        InvocationEvent::CancelRequested,
        InvocationEvent::JobsStopped,
    ];
}

/// An event that a state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an invocation that is {from} cannot take {event:?}")]
pub struct IllegalTransition {
    pub from: InvocationState,
    pub event: InvocationEvent,
}

impl InvocationState {
    /// Where `event` leads from this state, or a refusal naming both.
    pub fn after(self, event: InvocationEvent) -> Result<Self, IllegalTransition> {
        use InvocationEvent as E;
        use InvocationState as S;
        match (self, event) {
            (S::RequiresMaterialization, E::InputsFetched) => Ok(S::Ready),
            (S::New | S::Ready, E::StepsRemain) => Ok(S::Ready),
            (S::New | S::Ready, E::EveryStepScheduled) => Ok(S::Scheduled),
            (S::RequiresMaterialization | S::New | S::Ready, E::Failed) => Ok(S::Failed),
            (S::Scheduled, E::EveryStepComplete) => Ok(S::Completed),
            (S::Cancelling, E::JobsStopped) => Ok(S::Cancelled),
            // Galaxy lets a caller cancel even a finished invocation; for GA4GH what has ended is final, and that holds
            // through every door.
            (from, E::CancelRequested) if !from.is_cancelled() && !from.is_final() => {
                Ok(S::Cancelling)
            }
            (from, event) => Err(IllegalTransition { from, event }),
        }
    }

    /// Cancelling or cancelled.
    pub fn is_cancelled(self) -> bool {
        matches!(self, Self::Cancelling | Self::Cancelled)
    }

    /// Cancelled, failed or completed: nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed | Self::Completed)
    }

    /// Galaxy's "non-terminal": the scheduler may still do something. Only these take a user action.
    pub fn is_active(self) -> bool {
        matches!(self, Self::New | Self::Ready)
    }
}

states! {
    /// Where a step of an invocation stands.
    StepState, "an invocation step" {
        /// The row exists, an attempt was made and put off.
        New => "new",
        /// A tool step of which only some jobs exist yet.
        Ready => "ready",
        /// The module did its work; jobs may still run.
        Scheduled => "scheduled",
    }
}

states! {
    /// Where a job stands.
    JobState, "a job" {
        New => "new",
        Resubmitted => "resubmitted",
        Upload => "upload",
        Waiting => "waiting",
        Queued => "queued",
        Running => "running",
        Ok => "ok",
        Error => "error",
        Failed => "failed",
        Paused => "paused",
        Deleting => "deleting",
        Deleted => "deleted",
        Stop => "stop",
        Stopped => "stopped",
        Skipped => "skipped",
    }
}

impl JobState {
    /// {ok, error, deleted}.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Ok | Self::Error | Self::Deleted)
    }

    /// Terminal or deleting: nothing but these may follow.
    pub fn is_finished(self) -> bool {
        self.is_terminal() || self == Self::Deleting
    }

    /// What the completion of an invocation counts as done: paused and skipped jobs included.
    pub fn is_complete(self) -> bool {
        matches!(
            self,
            Self::Ok | Self::Error | Self::Deleted | Self::Skipped | Self::Paused | Self::Stopped
        )
    }

    /// {new, resubmitted, upload, waiting, queued, running}.
    pub fn is_pending(self) -> bool {
        matches!(
            self,
            Self::New
                | Self::Resubmitted
                | Self::Upload
                | Self::Waiting
                | Self::Queued
                | Self::Running
        )
    }
}

states! {
    /// Where a dataset's bytes stand.
    DatasetState, "a dataset" {
        New => "new",
        Upload => "upload",
        Queued => "queued",
        Running => "running",
        Ok => "ok",
        Empty => "empty",
        Error => "error",
        Paused => "paused",
        SettingMetadata => "setting_metadata",
        FailedMetadata => "failed_metadata",
        Deferred => "deferred",
        Discarded => "discarded",
    }
}

impl DatasetState {
    /// Its bytes are still to come.
    pub fn is_pending(self) -> bool {
        matches!(
            self,
            Self::New | Self::Upload | Self::Queued | Self::Running | Self::SettingMetadata
        )
    }

    /// A job may read it.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ok | Self::Deferred)
    }
}

/// The text of `docs/states.md`.
pub fn states_document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# States\n\nPrinted from the table in `host/src/model/state.rs`; a test fails when the two disagree.\n\n\
         ## Invocations\n\nEach row is a state, each column an event; a dash is a refusal.\n\n|",
    );
    for event in InvocationEvent::ALL {
        let _ = write!(text, " | {event:?}");
    }
    text.push_str(" |\n|---");
    text.push_str(&"|---".repeat(InvocationEvent::ALL.len()));
    text.push_str("|\n");
    for state in InvocationState::ALL {
        let _ = write!(text, "| {state}");
        for event in InvocationEvent::ALL {
            let next = state.after(*event).map_or("-", InvocationState::code);
            let _ = write!(text, " | {next}");
        }
        text.push_str(" |\n");
    }
    let mut list = |title: &str, codes: Vec<&str>| {
        let _ = write!(text, "\n## {title}\n\n{}\n", codes.join(", "));
    };
    let jobs = |wanted: fn(JobState) -> bool| {
        let chosen = JobState::ALL.iter().filter(|s| wanted(**s));
        chosen.map(|s| s.code()).collect::<Vec<_>>()
    };
    let datasets = |wanted: fn(DatasetState) -> bool| {
        let chosen = DatasetState::ALL.iter().filter(|s| wanted(**s));
        chosen.map(|s| s.code()).collect::<Vec<_>>()
    };
    list(
        "Invocation steps",
        StepState::ALL.iter().map(|s| s.code()).collect(),
    );
    list("Jobs", jobs(|_| true));
    list("Jobs that are terminal", jobs(JobState::is_terminal));
    list(
        "Jobs that are finished: only finished states may follow",
        jobs(JobState::is_finished),
    );
    list(
        "Jobs that the completion of an invocation counts as done",
        jobs(JobState::is_complete),
    );
    list("Jobs that are pending", jobs(JobState::is_pending));
    list("Datasets", datasets(|_| true));
    list(
        "Datasets whose bytes are still to come",
        datasets(DatasetState::is_pending),
    );
    list(
        "Datasets that a job may read",
        datasets(DatasetState::is_usable),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use InvocationEvent as E;
    use InvocationState as S;

    #[test]
    fn what_has_ended_accepts_nothing() {
        for state in [S::Cancelled, S::Failed, S::Completed] {
            for event in E::ALL {
                assert!(state.after(*event).is_err(), "{state} {event:?}");
            }
        }
    }

    #[test]
    fn every_other_state_can_be_cancelled_once() {
        for state in S::ALL.iter().filter(|s| !s.is_cancelled() && !s.is_final()) {
            assert_eq!(state.after(E::CancelRequested), Ok(S::Cancelling));
        }
        assert!(S::Cancelling.after(E::CancelRequested).is_err());
    }

    #[test]
    fn a_late_failure_does_not_overwrite_a_cancellation() {
        assert!(S::Cancelling.after(E::Failed).is_err());
        assert!(S::Completed.after(E::Failed).is_err());
    }

    #[test]
    fn the_document_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
        if std::env::var_os("BARYCENTER_WRITE_DOCS").is_some() {
            std::fs::write(path, states_document()).expect("docs/states.md is written");
        }
        let written = std::fs::read_to_string(path).expect("docs/states.md is there");
        assert_eq!(
            written,
            states_document(),
            "write it anew: BARYCENTER_WRITE_DOCS=1 cargo test -p barycenter the_document_says"
        );
    }

    #[test]
    fn codes_and_states_are_one_to_one() {
        for state in JobState::ALL {
            assert_eq!(state.code().parse::<JobState>().as_ref(), Ok(state));
        }
        for state in DatasetState::ALL {
            assert_eq!(state.code().parse::<DatasetState>().as_ref(), Ok(state));
        }
        assert!("fine".parse::<StepState>().is_err());
    }
}
