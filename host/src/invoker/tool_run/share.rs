//! The outputs of operations on collections: new names in the history for data that there are, or that are to come.

use super::ToolRun;
use super::draft::Draft;
use super::make::{Made, changed};
use super::tree::push_element;
use crate::invoker::known::{Collection, ElementObject, Hda, Hdca, Known, Populated};
use crate::invoker::operations::{Node, Output, Results, Share, Tree};
use crate::invoker::writes::{NewCollection, NewHda, NewHdca, NewIds, NewJob, Writes};
use crate::model::state::JobState;
use crate::tools::outputs::output_label;

/// The type of a collection that an operation makes.
pub(super) fn collection_type(draft: &Draft, output: &str) -> Option<String> {
    let made = draft.operation.as_ref()?;
    made.iter().find_map(|(name, made)| match made {
        Output::Collection(tree) if *name == output => Some(tree.collection_type.clone()),
        _ => None,
    })
}

/// Makes them; the job is over with that.
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; the arguments are the pass's own state"
)]
pub(super) fn outputs(
    run: &ToolRun<'_>,
    job: &mut NewJob,
    draft: &Draft,
    results: Results,
    on: &str,
    mapped: Option<()>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Vec<(String, Made)> {
    job.state = JobState::Ok;
    let mut made = Vec::with_capacity(results.len());
    for (name, result) in results {
        let Some(output) = run.tool.output(name) else {
            continue;
        };
        match result {
            Output::Dataset(share) => {
                let Some(source) = known.hdas.get(&share.hda_id) else {
                    continue;
                };
                let wanted = share.name.unwrap_or_else(|| source.name.clone());
                let tags = share.tags.unwrap_or_else(|| source.tags.clone());
                let change = changed(run, output, wanted, tags, Some(draft), &[], known);
                let id = new_hda(
                    New {
                        of: share.hda_id,
                        name: Some(change.name),
                        tags: Some(change.tags),
                        extension: change.extension,
                        visible: mapped.is_none() && !output.hidden && !change.hidden,
                    },
                    known,
                    ids,
                    writes,
                );
                job.outputs.extend(id.map(|id| (name.to_owned(), id)));
                made.extend(id.map(|id| (name.to_owned(), Made::Hda(id))));
            }
            Output::Collection(tree) => {
                let label = output_label(run.tool, output, on, &draft.params, &draft.views);
                let change = changed(run, output, label, vec![], Some(draft), &[], known);
                let hdca_id = mapped.is_none().then(|| ids.hdca());
                let hid = hdca_id.map(|_| writes.next_hid());
                let collection = new_tree(tree, change.extension.as_deref(), known, ids, writes);
                if let (Some(id), Some(hid)) = (hdca_id, hid) {
                    writes.hdcas.push(NewHdca {
                        id,
                        collection_id: collection.id,
                        hid,
                        name: change.name.clone(),
                        visible: !output.hidden && !change.hidden,
                        tags: change.tags,
                        implicit_output_name: None,
                        job_id: Some(job.id),
                        implicit_collection_jobs_id: None,
                    });
                    known.hdcas.insert(
                        id,
                        Hdca {
                            id,
                            hid,
                            name: change.name,
                            deleted: false,
                            collection: collection.clone(),
                            unfinished_job: None,
                        },
                    );
                }
                job.output_collections
                    .push((name.to_owned(), hdca_id, collection.id));
                let collection = Made::Collection {
                    hdca_id,
                    collection,
                };
                made.push((name.to_owned(), collection));
            }
        }
    }
    made
}

/// A new name for a dataset.
pub(in crate::invoker) struct New {
    pub of: i64,
    pub name: Option<String>,
    pub tags: Option<Vec<String>>,
    pub extension: Option<String>,
    pub visible: bool,
}

/// Adds it; None if there is no such dataset.
pub(in crate::invoker) fn new_hda(
    new: New,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Option<i64> {
    let source = known.hdas.get(&new.of)?.clone();
    let hda = Hda {
        id: ids.hda(),
        hid: writes.next_hid(),
        name: new.name.unwrap_or(source.name),
        tags: new.tags.unwrap_or(source.tags),
        extension: new.extension.clone().unwrap_or(source.extension),
        deleted: false,
        ..source
    };
    writes.hdas.push(NewHda {
        id: hda.id,
        dataset_id: hda.dataset_id,
        hid: hda.hid,
        name: hda.name.clone(),
        extension: hda.extension.clone(),
        state: hda.state,
        visible: new.visible,
        tags: hda.tags.clone(),
        dbkey: hda.dbkey.clone().unwrap_or_else(|| "?".to_owned()),
        blurb: None,
        info: None,
        content: None,
        copied_from: Some(new.of),
        own_extension: new.extension.is_some(),
    });
    if let Some(content) = known.contents.get(&new.of).cloned() {
        known.contents.insert(hda.id, content);
    }
    let id = hda.id;
    known.hdas.insert(id, hda);
    Some(id)
}

fn new_tree(
    tree: Tree,
    extension: Option<&str>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Collection {
    let mut collection = Collection {
        id: ids.collection(),
        collection_type: tree.collection_type,
        populated: Populated::Ok,
        elements: Vec::with_capacity(tree.elements.len()),
    };
    writes.collections.push(NewCollection {
        id: collection.id,
        collection_type: collection.collection_type.clone(),
        populated: true,
        element_count: Some(tree.elements.len() as i64),
    });
    for (index, (identifier, node)) in tree.elements.into_iter().enumerate() {
        let object = match node {
            Node::Tree(child) => {
                ElementObject::Collection(new_tree(child, extension, known, ids, writes))
            }
            Node::Share(Share { hda_id, name, tags }) => {
                let new = New {
                    of: hda_id,
                    name,
                    tags,
                    extension: extension.map(str::to_owned),
                    visible: false,
                };
                match new_hda(new, known, ids, writes) {
                    Some(id) => ElementObject::Hda(id),
                    None => continue,
                }
            }
        };
        push_element(&mut collection, index, &identifier, object, ids, writes);
    }
    collection
}
