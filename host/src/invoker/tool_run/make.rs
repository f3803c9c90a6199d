//! A job with the datasets and collections it will write.

use serde_json::Value;
use uuid::Uuid;

use super::draft::Draft;
use super::{ToolRun, share};
use crate::invoker::known::{Collection, Hdca, Hid, Known, Populated};
use crate::invoker::post_job_actions;
use crate::invoker::writes::{NewCollection, NewHda, NewHdca, NewIds, NewJob, Writes};
use crate::model::state::{DatasetState, JobState};
use crate::tools::model::{Output, OutputKind};
use crate::tools::outputs::{output_collection_type, output_extension, output_label};

pub(super) fn changed(
    run: &ToolRun<'_>,
    output: &Output,
    name: String,
    tags: Vec<String>,
    draft: Option<&Draft>,
    mapped_names: &[(String, String)],
    known: &Known,
) -> post_job_actions::Changed {
    let input_name = |wanted: &str| {
        if let Some((_, name)) = mapped_names.iter().find(|(name, _)| name == wanted) {
            return Some(name.clone());
        }
        let draft = draft?;
        let whole = draft.input_collections.iter().find(|(n, ..)| n == wanted);
        if let Some(hdca) = whole.and_then(|(_, hdca, _)| known.hdcas.get(&(*hdca)?)) {
            return Some(hdca.name.clone());
        }
        let input = draft.inputs.iter().find(|i| i.name == wanted)?;
        known.hdas.get(&input.hda_id).map(|h| h.name.clone())
    };
    let actions = run.post_job_actions.iter().map(|(_, action)| action);
    post_job_actions::apply(
        actions,
        &output.name,
        name,
        tags,
        &input_name,
        run.replacements,
    )
}

/// What a job's output turned out to be.
pub(super) enum Made {
    Hda(i64),
    Collection {
        hdca_id: Option<i64>,
        collection: Collection,
    },
}

/// Creates one job with its outputs; `mapped` outputs are hidden behind their implicit collection.
pub(super) fn make_job(
    run: &ToolRun<'_>,
    job_id: i64,
    draft: Draft,
    mapped: Option<()>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Vec<(String, Made)> {
    let mut draft = draft;
    let on = on_string(&draft, known, writes);
    let mut job = NewJob {
        id: job_id,
        uuid: Uuid::new_v4(),
        invocation_id: run.invocation_id,
        tool_id: run.tool.id.clone(),
        tool_version: run.tool.version.clone(),
        dynamic_tool_id: run.dynamic_tool_id,
        state: if draft.skipped {
            JobState::Skipped
        } else {
            JobState::New
        },
        params: Value::Null,
        inputs: Vec::new(),
        input_collections: Vec::new(),
        outputs: Vec::new(),
        output_collections: Vec::new(),
        post_job_action_ids: run
            .post_job_actions
            .iter()
            .filter(|(_, action)| post_job_actions::is_at_end(&action.action_type))
            .map(|(id, _)| *id)
            .collect(),
        cores: run.tool.requirements.cores_min.into(),
        memory_mb: run.tool.requirements.ram_min_mb as i64,
        use_cached: run.use_cached,
        copied_from: None,
        structure: None,
    };
    if let Some(results) = draft.operation.take() {
        let made = share::outputs(
            run, &mut job, &draft, results, &on, mapped, known, ids, writes,
        );
        finish(job, draft, writes);
        return made;
    }
    let mut made = Vec::with_capacity(run.tool.outputs.len());
    for output in run.tool.outputs_for(&draft.params) {
        let label = output_label(run.tool, output, &on, &draft.params, &draft.views);
        let tags = draft.name_tags.clone();
        let changed = changed(run, output, label, tags, Some(&draft), &[], known);
        match &output.kind {
            OutputKind::Data(_) | OutputKind::Scalar(_) => {
                let id = ids.hda();
                let extension = match draft.skipped {
                    true => "expression.json".to_owned(),
                    false => changed.extension.unwrap_or_else(|| {
                        output_extension(run.tool, output, &draft.params, &draft.views)
                    }),
                };
                let hda = NewHda {
                    id,
                    dataset_id: ids.dataset(),
                    hid: writes.next_hid(),
                    name: changed.name,
                    extension,
                    state: if draft.skipped {
                        DatasetState::Ok
                    } else {
                        DatasetState::New
                    },
                    visible: mapped.is_none() && !output.hidden && !draft.skipped,
                    tags: changed.tags,
                    dbkey: draft.dbkey.clone(),
                    blurb: draft.skipped.then(|| "skipped".to_owned()),
                    info: None,
                    content: draft.skipped.then(|| "null".to_owned()),
                    copied_from: None,
                    own_extension: true,
                };
                known.note(&hda);
                job.outputs.push((output.name.clone(), id));
                writes.hdas.push(hda);
                made.push((output.name.clone(), Made::Hda(id)));
            }
            OutputKind::Collection(_) => {
                let collection = Collection {
                    id: ids.collection(),
                    collection_type: output_collection_type(
                        run.tool,
                        output,
                        &draft.params,
                        &draft.views,
                    )
                    .unwrap_or_else(|| "list".into()),
                    populated: if draft.skipped {
                        Populated::Ok
                    } else {
                        Populated::New
                    },
                    elements: Vec::new(),
                };
                writes.collections.push(NewCollection {
                    id: collection.id,
                    collection_type: collection.collection_type.clone(),
                    populated: draft.skipped,
                    element_count: draft.skipped.then_some(0),
                });
                let hdca_id = mapped.is_none().then(|| {
                    let id = ids.hdca();
                    let hid = writes.next_hid();
                    writes.hdcas.push(NewHdca {
                        id,
                        collection_id: collection.id,
                        hid,
                        name: changed.name.clone(),
                        visible: !output.hidden && !draft.skipped && !changed.hidden,
                        tags: changed.tags.clone(),
                        implicit_output_name: None,
                        job_id: Some(job_id),
                        implicit_collection_jobs_id: None,
                    });
                    known.hdcas.insert(
                        id,
                        Hdca {
                            id,
                            hid,
                            name: changed.name,
                            deleted: false,
                            collection: collection.clone(),
                            unfinished_job: (!draft.skipped).then_some(job_id),
                        },
                    );
                    id
                });
                job.output_collections
                    .push((output.name.clone(), hdca_id, collection.id));
                made.push((
                    output.name.clone(),
                    Made::Collection {
                        hdca_id,
                        collection,
                    },
                ));
            }
        }
    }
    finish(job, draft, writes);
    made
}

fn finish(mut job: NewJob, draft: Draft, writes: &mut Writes) {
    job.structure = (!draft.shapes.is_empty()).then(|| draft.shapes.join(";"));
    job.params = draft.params;
    job.inputs = draft.inputs;
    job.input_collections = draft.input_collections;
    writes.jobs.push(job);
}

/// "data 1 and data 2": what the outputs of a job are on. Few numbers are named, so few are looked for.
fn on_string(draft: &Draft, known: &Known, writes: &mut Writes) -> String {
    const NAMED: usize = 4;
    if draft.operation.is_some() {
        let whole = draft.input_collections.iter();
        let hids: Vec<Hid> = whole
            .filter_map(|(_, hdca, _)| known.hdcas.get(&(*hdca)?).map(|hdca| hdca.hid))
            .collect();
        if !hids.is_empty() {
            return writes.names.on_collection(hids);
        }
    }
    let mut hids: Vec<Hid> = Vec::new();
    for input in &draft.inputs {
        let hid = known.hdas.get(&input.hda_id).map(|h| h.hid);
        hids.extend(hid.filter(|h| !hids.contains(h)));
        if hids.len() == NAMED {
            break;
        }
    }
    writes.names.on_data(hids)
}
