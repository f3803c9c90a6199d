//! A plan whose memory is used again.

use barycenter_plugin_api::Plan;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// What a scheduler planned.
///
/// A plan for a thousand jobs is more than a thousand pieces of memory, and getting and returning them takes longer than
/// writing, sending and reading the plan. So a plan that was read from a process is left, when it is dropped, for the
/// next one to be read into. A library's plan is the library's memory and goes back there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MadePlan {
    plan: Plan,
    #[serde(skip)]
    is_reusable: bool,
}

/// The plan that the next one is read into.
static SPARE: Mutex<Option<Plan>> = Mutex::new(None);

impl MadePlan {
    /// A plan, read by `read` into the memory of an earlier one; it says whether its memory is worth keeping.
    pub(super) fn read<E>(read: impl FnOnce(&mut Plan) -> Result<bool, E>) -> Result<Self, E> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut plan = spare.unwrap_or_default();
        let is_reusable = read(&mut plan)?;
        Ok(Self { plan, is_reusable })
    }
}

impl From<Plan> for MadePlan {
    fn from(plan: Plan) -> Self {
        Self {
            plan,
            is_reusable: false,
        }
    }
}

impl Drop for MadePlan {
    fn drop(&mut self) {
        if self.is_reusable {
            let plan = std::mem::take(&mut self.plan);
            // The one that lay there, if any, is dropped when nobody waits for the place any more.
            let _earlier = SPARE
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(plan);
        }
    }
}

impl Deref for MadePlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl DerefMut for MadePlan {
    fn deref_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }
}

impl PartialEq for MadePlan {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan
    }
}

impl PartialEq<Plan> for MadePlan {
    fn eq(&self, other: &Plan) -> bool {
        self.plan == *other
    }
}
