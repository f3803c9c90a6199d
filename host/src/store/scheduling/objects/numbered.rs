//! What has a number in its history, and what belongs to such a thing: from its first number on everybody else who makes something
//! there waits.

use std::collections::HashMap;

use serde_json::json;

use crate::args;
use crate::invoker::known::Hid;
use crate::invoker::writes::Writes;
use crate::model::state::DatasetState;
use crate::store::db::{StoreError, Tx, blocks, placeholders};
use crate::store::scheduling::known::ids;
use crate::store::scheduling::readiness::{self, InputState, Start};

pub(super) async fn insert_hdas(
    tx: &mut Tx,
    history_id: i64,
    writes: &Writes,
    states: &HashMap<i64, InputState>,
    first_hid: i64,
    now: i64,
) -> Result<(), StoreError> {
    let mut hdas = Vec::with_capacity(writes.hdas.len());
    let (mut copies, mut own_extensions) = (Vec::new(), Vec::new());
    for hda in &writes.hdas {
        let state = states.get(&hda.dataset_id).map_or(hda.state, |s| s.state);
        let info = match state {
            DatasetState::Paused => Some(readiness::paused_info()),
            _ => hda.info.as_deref(),
        };
        if hda.copied_from.is_some() {
            match hda.own_extension {
                true => own_extensions.push(hda.id),
                false => copies.push(hda.id),
            }
        }
        hdas.push(args![
            hda.id,
            history_id,
            hda.dataset_id,
            number(hda.hid, first_hid),
            writes.names.resolve(&hda.name, first_hid),
            hda.extension.as_str(),
            &json!({ "dbkey": hda.dbkey }),
            hda.visible,
            &json!(hda.tags),
            hda.blurb.as_deref(),
            info,
            hda.copied_from,
            now,
            now
        ]);
    }
    tx.insert_many(
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, metadata, visible, tags,
            blurb, info, copied_from_history_dataset_association_id, create_time, update_time) VALUES",
        14,
        "",
        hdas,
    )
    .await?;
    describe_copies(tx, &copies, true).await?;
    describe_copies(tx, &own_extensions, false).await
}

/// Gives new names of data what is known of these data, as it is in this very transaction.
pub(in crate::store::scheduling) async fn describe_copies(
    tx: &mut Tx,
    copies: &[i64],
    with_extension: bool,
) -> Result<(), StoreError> {
    let extension = match with_extension {
        true => ", extension = source.extension",
        false => "",
    };
    for block in blocks(copies) {
        let sql = format!(
            "UPDATE history_dataset_association SET metadata = source.metadata, peek = source.peek, blurb = source.blurb,
                    info = source.info{extension}
             FROM history_dataset_association AS source
             WHERE source.id = history_dataset_association.copied_from_history_dataset_association_id
               AND history_dataset_association.id IN ({})",
            placeholders(1, block.len())
        );
        tx.run(sql, ids(block)).await?;
    }
    Ok(())
}

pub(super) async fn insert_elements(
    tx: &mut Tx,
    history_id: i64,
    writes: &Writes,
    first_hid: i64,
    now: i64,
) -> Result<(), StoreError> {
    let elements = writes
        .elements
        .iter()
        .map(|e| {
            args![
                e.id,
                e.collection_id,
                e.hda_id,
                e.child_collection_id,
                e.index,
                e.identifier.as_str()
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO dataset_collection_element (id, dataset_collection_id, hda_id, child_collection_id, element_index,
            element_identifier) VALUES",
        6,
        "",
        elements,
    )
    .await?;
    let hdcas = writes
        .hdcas
        .iter()
        .map(|c| {
            args![
                c.id,
                c.collection_id,
                history_id,
                number(c.hid, first_hid),
                writes.names.resolve(&c.name, first_hid),
                c.visible,
                &json!(c.tags),
                c.implicit_output_name.as_deref(),
                c.job_id,
                c.implicit_collection_jobs_id,
                now,
                now
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO history_dataset_collection_association (id, collection_id, history_id, hid, name, visible, tags,
            implicit_output_name, job_id, implicit_collection_jobs_id, create_time, update_time) VALUES",
        12,
        "",
        hdcas,
    )
    .await
}

pub(super) async fn insert_job_links(
    tx: &mut Tx,
    writes: &Writes,
    starts: &[Start],
) -> Result<(), StoreError> {
    let (mut params, mut inputs, mut input_collections) = (Vec::new(), Vec::new(), Vec::new());
    let (mut outputs, mut output_collections, mut waits, mut actions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (job, start) in writes.jobs.iter().zip(starts) {
        for (name, value) in job.params.as_object().into_iter().flatten() {
            params.push(args![job.id, name.as_str(), value]);
        }
        for (n, input) in job.inputs.iter().enumerate() {
            inputs.push(args![
                job.id,
                input.hda_id,
                input.name.as_str(),
                n,
                input.element_identifier.as_deref()
            ]);
        }
        for (name, hdca, dce) in &job.input_collections {
            input_collections.push(args![job.id, *hdca, *dce, name.as_str()]);
        }
        outputs.extend(
            job.outputs
                .iter()
                .map(|(name, hda)| args![job.id, *hda, name.as_str()]),
        );
        for (name, hdca, collection) in &job.output_collections {
            output_collections.push(args![job.id, *hdca, *collection, name.as_str()]);
        }
        if let Start::Waits(datasets) = start {
            waits.extend(datasets.iter().map(|dataset| args![job.id, *dataset]));
        }
        actions.extend(
            job.post_job_action_ids
                .iter()
                .map(|action| args![job.id, *action]),
        );
    }
    tx.insert_many(
        "INSERT INTO job_parameter (job_id, name, value) VALUES",
        3,
        "",
        params,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_input_dataset (job_id, hda_id, name, position, element_identifier) VALUES",
        5,
        "",
        inputs,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_input_dataset_collection (job_id, hdca_id, dce_id, name) VALUES",
        4,
        "",
        input_collections,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset (job_id, hda_id, name) VALUES",
        3,
        "",
        outputs,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset_collection (job_id, hdca_id, collection_id, name) VALUES",
        4,
        "",
        output_collections,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_wait (job_id, dataset_id) VALUES",
        2,
        "",
        waits,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO post_job_action_association (job_id, post_job_action_id) VALUES",
        2,
        "",
        actions,
    )
    .await?;
    let slices = writes
        .implicit_jobs
        .iter()
        .map(|(group, job, slice)| args![*group, *job, *slice])
        .collect();
    tx.insert_many(
        "INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index) VALUES",
        3,
        "",
        slices,
    )
    .await
}

fn number(hid: Hid, first_hid: i64) -> i64 {
    match hid {
        Hid::Given(hid) => hid,
        Hid::New(n) => first_hid + n as i64,
    }
}
