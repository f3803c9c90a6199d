//! The states of a run, from those of an invocation and back.

use crate::model::state::InvocationState;
use crate::store::wes::{Paused, StateFilter};

/// Every state that the standard has; some of them this server never reports.
pub const ALL: [&str; 11] = [
    "UNKNOWN",
    "QUEUED",
    "INITIALIZING",
    "RUNNING",
    "PAUSED",
    "COMPLETE",
    "EXECUTOR_ERROR",
    "SYSTEM_ERROR",
    "CANCELED",
    "CANCELING",
    "PREEMPTED",
];

/// What a client is told. `is_paused`: it waits for a review and for nothing else.
pub fn of(state: InvocationState, is_paused: bool) -> &'static str {
    use InvocationState as S;
    match (state, is_paused) {
        (S::New | S::RequiresMaterialization | S::Ready | S::Scheduled, true) => "PAUSED",
        (S::New, false) => "QUEUED",
        (S::RequiresMaterialization | S::Ready, false) => "INITIALIZING",
        (S::Scheduled, false) => "RUNNING",
        (S::Completed, _) => "COMPLETE",
        (S::Failed, _) => "EXECUTOR_ERROR",
        (S::Cancelling, _) => "CANCELING",
        (S::Cancelled, _) => "CANCELED",
    }
}

/// Which invocations a client means; None if the standard has no such state.
pub fn filter(text: &str) -> Option<StateFilter> {
    let wanted = ALL.iter().find(|s| s.eq_ignore_ascii_case(text))?;
    let with = |paused: bool| {
        let all = InvocationState::ALL.iter().copied();
        all.filter(|s| of(*s, paused) == *wanted)
            .collect::<Vec<_>>()
    };
    let (when_paused, otherwise) = (with(true), with(false));
    Some(match (when_paused == otherwise, otherwise.is_empty()) {
        (true, _) => StateFilter {
            states: otherwise,
            paused: Paused::Any,
        },
        (false, true) => StateFilter {
            states: when_paused,
            paused: Paused::Only,
        },
        (false, false) => StateFilter {
            states: otherwise,
            paused: Paused::Not,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use InvocationState as S;

    #[test]
    fn every_state_is_told_as_the_standard_has_it() {
        for (state, usually, paused) in [
            (S::New, "QUEUED", "PAUSED"),
            (S::RequiresMaterialization, "INITIALIZING", "PAUSED"),
            (S::Ready, "INITIALIZING", "PAUSED"),
            (S::Scheduled, "RUNNING", "PAUSED"),
            (S::Cancelling, "CANCELING", "CANCELING"),
            (S::Cancelled, "CANCELED", "CANCELED"),
            (S::Failed, "EXECUTOR_ERROR", "EXECUTOR_ERROR"),
            (S::Completed, "COMPLETE", "COMPLETE"),
        ] {
            assert_eq!((of(state, false), of(state, true)), (usually, paused));
        }
    }

    #[test]
    fn a_filter_finds_exactly_what_is_told_so() {
        for wanted in ALL {
            let filter = filter(wanted).expect("a state of the standard");
            for state in S::ALL {
                for is_paused in [true, false] {
                    let fits = match filter.paused {
                        Paused::Only => is_paused,
                        Paused::Not => !is_paused,
                        Paused::Any => true,
                    };
                    let found = fits && filter.states.contains(state);
                    assert_eq!(found, of(*state, is_paused) == wanted, "{state} {wanted}");
                }
            }
        }
        assert_eq!(filter("running"), filter("RUNNING"));
        assert_eq!(filter("DELETED"), None);
    }
}
