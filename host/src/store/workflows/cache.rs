//! Revisions never change, so whoever needs one again gets the one already loaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::load_revision;
use crate::model::revision::Revision;
use crate::store::db::{Query, StoreError};

/// The revisions used last, as many as fit into a number of steps.
pub struct RevisionCache {
    steps_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<i64, Entry>,
    steps: usize,
    uses: u64,
}

struct Entry {
    revision: Arc<Revision>,
    steps: usize,
    last_use: u64,
}

impl RevisionCache {
    /// Keeps at most `steps_max` steps, and always the last revision asked for.
    pub fn new(steps_max: usize) -> RevisionCache {
        RevisionCache {
            steps_max,
            kept: Mutex::default(),
        }
    }

    /// The revision with this id; None when there is none.
    pub async fn get(
        &self,
        q: &mut impl Query,
        workflow_id: i64,
    ) -> Result<Option<Arc<Revision>>, StoreError> {
        if let Some(found) = self.look_up(workflow_id) {
            return Ok(Some(found));
        }
        let Some(revision) = load_revision(q, workflow_id).await? else {
            return Ok(None);
        };
        let revision = Arc::new(revision);
        self.keep(revision.clone());
        Ok(Some(revision))
    }

    fn look_up(&self, workflow_id: i64) -> Option<Arc<Revision>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let entry = kept.entries.get_mut(&workflow_id)?;
        entry.last_use = now;
        Some(entry.revision.clone())
    }

    fn keep(&self, revision: Arc<Revision>) {
        // A revision without steps takes up room as well.
        let steps = revision.total_steps() + 1;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last_use = kept.uses;
        let id = revision.id;
        let entry = Entry {
            revision,
            steps,
            last_use,
        };
        if let Some(old) = kept.entries.insert(id, entry) {
            kept.steps -= old.steps;
        }
        kept.steps += steps;
        while kept.steps > self.steps_max && kept.entries.len() > 1 {
            let others = kept.entries.iter().filter(|(other, _)| **other != id);
            let Some((oldest, _)) = others.min_by_key(|(_, entry)| entry.last_use) else {
                break;
            };
            let oldest = *oldest;
            if let Some(gone) = kept.entries.remove(&oldest) {
                kept.steps -= gone.steps;
            }
        }
    }
}
