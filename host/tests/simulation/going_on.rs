//! What an invocation goes on from in memory is what loading it would give.

use std::collections::HashMap;

use barycenter::invoker::known::{Collection, ElementObject, Populated};
use barycenter::invoker::progress::Progress;
use barycenter::invoker::resolve::Outputs;

/// Invocations that went on, with the `signal_count` that what is known of them is good for.
#[derive(Default)]
pub struct GoingOn(HashMap<i64, (i64, Progress)>);

impl GoingOn {
    pub fn keep(&mut self, signal_count: i64, progress: Progress) {
        self.0
            .insert(progress.invocation_id, (signal_count, progress));
    }

    /// What is kept of an invocation, if it is still good: checked against what was loaded.
    pub fn take(&mut self, signal_count: i64, loaded: &Progress) -> Option<Progress> {
        let (kept_for, kept) = self.0.remove(&loaded.invocation_id)?;
        (kept_for == signal_count).then(|| {
            same(loaded, &kept);
            kept
        })
    }

    /// A server that dies forgets.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

fn same(loaded: &Progress, kept: &Progress) {
    let steps = |progress: &Progress| {
        let steps = progress.steps.iter();
        let mut all: Vec<_> = steps
            .map(|(n, s)| (*n, s.id, s.state, s.job_id, s.implicit_collection_jobs_id))
            .collect();
        all.sort_by_key(|one| one.0);
        all
    };
    assert_eq!(steps(loaded), steps(kept));
    assert_eq!(loaded.step_states.len(), kept_states(loaded, kept));
    assert_eq!(loaded.resumes.len(), kept.resumes.len());
    for (step, resume) in &loaded.resumes {
        let other = &kept.resumes[step];
        assert_eq!(
            (
                resume.implicit_collection_jobs_id,
                resume.done,
                &resume.outputs
            ),
            (
                other.implicit_collection_jobs_id,
                other.done,
                &other.outputs
            ),
        );
    }
    for (step, outputs) in &loaded.table {
        if let Outputs::Known(known) = outputs {
            assert_eq!(Some(&Outputs::Known(known.clone())), kept.table.get(step));
        }
    }
    for (id, hda) in &loaded.known.hdas {
        // One that nothing reads any more need not be known.
        if let Some(other) = kept.known.hdas.get(id) {
            assert_eq!(
                (hda.dataset_id, hda.hid, &hda.name, hda.skipped),
                (other.dataset_id, other.hid, &other.name, other.skipped)
            );
        }
    }
    for (id, hdca) in &loaded.known.hdcas {
        let other = &kept.known.hdcas[id];
        assert_eq!((hdca.hid, &hdca.name), (other.hid, &other.name));
        if other.collection.populated() == Populated::New && other.unfinished_job.is_some() {
            // Its job may have ended since; whoever needs the elements waits for that job, and is told.
            continue;
        }
        let (mut one, mut two) = (Vec::new(), Vec::new());
        outline(&hdca.collection, &mut one);
        outline(&other.collection, &mut two);
        assert_eq!(one, two);
    }
}

/// The states of steps that are still to come, which is all that is loaded.
fn kept_states(loaded: &Progress, kept: &Progress) -> usize {
    let states = kept.step_states.iter();
    states
        .filter(|(step, state)| loaded.step_states.get(step) == Some(state))
        .count()
}

fn outline(collection: &Collection, lines: &mut Vec<(i64, i64, String)>) {
    for element in &collection.elements {
        let inside = match &element.object {
            ElementObject::Hda(id) => *id,
            ElementObject::Collection(child) => {
                outline(child, lines);
                -child.id
            }
        };
        lines.push((element.id, inside, element.identifier.clone()));
    }
}
