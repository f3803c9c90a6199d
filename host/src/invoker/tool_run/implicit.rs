//! A mapped step: one job per slice, and one collection per output that gathers theirs.

use std::collections::HashMap;

use serde_json::Value;

use super::draft::Draft;
use super::make::{changed, make_job};
use super::tree::Tree;
use super::{Ran, ToolRun};
use crate::invoker::known::{Collection, Hdca, Hid, Known, Populated, StepValue};
use crate::invoker::mapping::Path;
use crate::invoker::writes::{NewHdca, NewIds, Writes};
use crate::tools::inputs_json::DataViews;
use crate::tools::model::Output;
use crate::tools::outputs::output_label;

/// The shape of a mapped step's outputs.
pub(super) struct Frame {
    pub(super) collection_type: String,
    /// How many there are in all.
    pub(super) slices: usize,
    /// The places of those that get their jobs now.
    pub(super) paths: Vec<Path>,
    pub(super) on: Vec<Hid>,
    /// Other paths for the outputs that name the input they take their identifiers from.
    pub(super) sources: HashMap<String, Vec<Path>>,
    /// Of the inputs that are mapped over: their names and those of their collections.
    pub(super) names: Vec<(String, String)>,
}

/// One job per slice, their outputs gathered in one collection per output.
pub(super) fn implicit(
    run: &ToolRun<'_>,
    drafts: Vec<Draft>,
    params: &Value,
    frame: &Frame,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Ran {
    let done = run.resume.as_ref().map_or(0, |r| r.done);
    let complete = done + drafts.len() == frame.slices;
    let (group, is_new) = match &run.resume {
        Some(resume) => (resume.implicit_collection_jobs_id, false),
        None => (ids.implicit_collection_jobs(), true),
    };
    writes
        .implicit_collection_jobs
        .push((group, is_new, complete));
    let mut trees: Vec<(&Output, i64, Tree)> = Vec::new();
    // The slices of one step have the same outputs.
    let params = drafts.first().map_or(params, |draft| &draft.params).clone();
    for output in run.tool.outputs_for(&params) {
        let resumed = run
            .resume
            .as_ref()
            .and_then(|r| r.outputs.get(&output.name))
            .copied();
        let tree = match resumed.and_then(|id| known.hdcas.get_mut(&id)) {
            Some(hdca) => Tree::of(hdca.collection.taken()),
            None => Tree::new(ids, frame, output, run, drafts.first(), writes),
        };
        let hdca_id = resumed.unwrap_or_else(|| {
            new_implicit_hdca(
                run,
                output,
                &tree,
                frame,
                group,
                drafts.first(),
                known,
                ids,
                writes,
            )
        });
        trees.push((output, hdca_id, tree));
    }
    let jobs = drafts.len();
    for (n, draft) in drafts.into_iter().enumerate() {
        let slice = done + n;
        let job_id = ids.job();
        let made = make_job(run, job_id, draft, Some(()), known, ids, writes);
        writes.implicit_jobs.push((group, job_id, slice as i64));
        for (name, made) in made {
            if let Some((output, _, tree)) = trees.iter_mut().find(|(o, _, _)| o.name == name) {
                let source = output.default_identifier_source.as_ref();
                let own = source.and_then(|input| frame.sources.get(input));
                let path = &own.unwrap_or(&frame.paths)[n];
                tree.place(path, made, ids, writes);
            }
        }
    }
    let mut outputs = HashMap::new();
    for (output, hdca_id, tree) in trees {
        let collection = tree.finish(complete, writes);
        if let Some(hdca) = known.hdcas.get_mut(&hdca_id) {
            hdca.collection = collection;
            hdca.unfinished_job = first_unknown(&hdca.collection, writes);
        }
        outputs.insert(output.name.clone(), StepValue::Hdca(hdca_id));
    }
    Ran {
        outputs,
        job_id: None,
        implicit_collection_jobs_id: Some(group),
        partial: !complete,
        jobs,
    }
}

/// The last job whose output collection is still unknown: when it ends, the others have most likely ended too.
pub(super) fn first_unknown(collection: &Collection, writes: &Writes) -> Option<i64> {
    if collection.populated() != Populated::New {
        return None;
    }
    writes
        .jobs
        .iter()
        .rev()
        .find(|job| !job.output_collections.is_empty())
        .map(|job| job.id)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call site; the arguments are the pass's own state"
)]
pub(super) fn new_implicit_hdca(
    run: &ToolRun<'_>,
    output: &Output,
    tree: &Tree,
    frame: &Frame,
    group: i64,
    draft: Option<&Draft>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> i64 {
    let id = ids.hdca();
    let hid = writes.next_hid();
    let on = writes.names.on_collection(frame.on.clone());
    let empty = (Value::Null, DataViews::new());
    let (params, views) = draft.map_or((&empty.0, &empty.1), |d| (&d.params, &d.views));
    let label = output_label(run.tool, output, &on, params, views);
    let tags = draft.map(|d| d.name_tags.clone()).unwrap_or_default();
    let changed = changed(run, output, label, tags, draft, &frame.names, known);
    writes.hdcas.push(NewHdca {
        id,
        collection_id: tree.root.id,
        hid,
        name: changed.name.clone(),
        visible: !changed.hidden && !output.hidden && !run.force_skip,
        tags: changed.tags,
        implicit_output_name: Some(output.name.clone()),
        job_id: None,
        implicit_collection_jobs_id: Some(group),
    });
    known.hdcas.insert(
        id,
        Hdca {
            id,
            hid,
            name: changed.name,
            deleted: false,
            collection: tree.root.clone(),
            unfinished_job: None,
        },
    );
    id
}
