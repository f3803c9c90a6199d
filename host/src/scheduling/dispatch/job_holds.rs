//! Why the jobs of invocations wait for a runner, as their scheduler says, or for want of something here: remembered, so that
//! it is stored when it changes and not with every plan.

use std::collections::HashMap;

use barycenter_plugin_api::JobDecision;

use crate::invoker::writes::{Held, Hold};
use crate::scheduling::absence::{self, Absence};
use crate::tools::expression::{AWAY_CODE, AWAY_TEXT};

#[derive(Debug, Default)]
pub(super) struct JobHolds {
    /// What is stored, by invocation.
    stored: HashMap<i64, Hold>,
    /// What was said since; None where its jobs go on.
    said: HashMap<i64, Option<Hold>>,
}

impl JobHolds {
    /// A job is held. Of an invocation's jobs the last word counts; one without a text says nothing.
    pub fn held(&mut self, invocation_id: Option<i64>, decision: &JobDecision) {
        if !decision.text.is_empty() {
            let hold = Hold {
                what: Held::Jobs,
                code: decision.code.to_string(),
                text: decision.text.to_string(),
                wake_time: (decision.wake_at_ms > 0).then_some(decision.wake_at_ms),
            };
            self.say(invocation_id, hold);
        }
    }

    /// Its scheduler is away.
    pub fn nobody_plans(&mut self, invocation_id: Option<i64>, absence: &Absence) {
        self.say(invocation_id, absence.hold(Held::Jobs));
    }

    /// Its scheduler made a plan: whatever that says, it is there.
    pub fn somebody_plans(&mut self, invocation_id: Option<i64>) {
        let known = invocation_id.and_then(|id| match self.said.get(&id) {
            Some(said) => said.as_ref(),
            None => self.stored.get(&id),
        });
        if known.is_some_and(|hold| absence::is_of_scheduler(&hold.code)) {
            self.goes_on(invocation_id);
        }
    }

    /// The scripts of one of its jobs cannot be evaluated.
    pub fn without_engine(&mut self, invocation_id: Option<i64>) {
        let hold = Hold {
            what: Held::Jobs,
            code: AWAY_CODE.to_owned(),
            text: AWAY_TEXT.to_owned(),
            wake_time: None,
        };
        self.say(invocation_id, hold);
    }

    fn say(&mut self, invocation_id: Option<i64>, hold: Hold) {
        if let Some(id) = invocation_id {
            self.said.insert(id, Some(hold));
        }
    }

    /// A job of the invocation is handed over.
    pub fn goes_on(&mut self, invocation_id: Option<i64>) {
        if let Some(id) = invocation_id {
            self.said.insert(id, None);
        }
    }

    /// What is to be stored now.
    pub fn take(&mut self) -> Vec<(i64, Option<Hold>)> {
        let mut changes = Vec::new();
        for (id, said) in self.said.drain() {
            if self.stored.get(&id) == said.as_ref() {
                continue;
            }
            match &said {
                Some(hold) => self.stored.insert(id, hold.clone()),
                None => self.stored.remove(&id),
            };
            changes.push((id, said));
        }
        changes.sort_by_key(|(id, _)| *id);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_stored_when_it_changes_and_removed_when_the_invocation_goes_on() {
        let mut holds = JobHolds::default();
        let hold = |text: &str| JobDecision::hold(7, "cap", text);
        holds.held(Some(1), &hold("two run"));
        assert_eq!(holds.take().len(), 1);
        holds.held(Some(1), &hold("two run"));
        holds.held(Some(2), &hold(""));
        holds.held(None, &hold("nobody's"));
        assert_eq!(holds.take(), []);
        holds.held(Some(1), &hold("three run"));
        holds.goes_on(Some(1));
        holds.goes_on(Some(2));
        assert_eq!(holds.take(), [(1, None)]);
    }

    #[test]
    fn that_the_scheduler_is_away_is_told_until_it_plans_again() {
        let mut holds = JobHolds::default();
        let away = Absence::missing("scheduler", "night");
        holds.nobody_plans(Some(1), &away);
        holds.nobody_plans(Some(1), &away);
        let told = holds.take();
        assert_eq!(told[0].1.as_ref().unwrap().code, "scheduler_missing");
        holds.somebody_plans(Some(1));
        assert_eq!(holds.take(), [(1, None)]);
        holds.held(Some(1), &JobDecision::hold(7, "cap", "two run"));
        holds.take();
        holds.somebody_plans(Some(1));
        assert_eq!(holds.take(), []);
    }
    #[test]
    fn what_is_tried_again_and_again_is_stored_once() {
        let mut holds = JobHolds::default();
        for _ in 0..3 {
            // It is chosen each time, and then cannot be made.
            holds.goes_on(Some(1));
            holds.without_engine(Some(1));
        }
        let told = holds.take();
        assert_eq!(told[0].1.as_ref().unwrap().code, "javascript_away");
        holds.goes_on(Some(1));
        holds.without_engine(Some(1));
        assert_eq!(holds.take(), []);
        holds.goes_on(Some(1));
        assert_eq!(holds.take(), [(1, None)]);
    }
}
