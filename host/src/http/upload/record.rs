//! The rows of what arrived: datasets, collections, and what is still to be fetched.

use serde_json::json;

use super::place::{Arrival, Bytes, Layout, presentable};
use crate::fetch::Hash;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::store::Tx;
use crate::store::collections::{self, NewHdca};
use crate::store::datasets::{self, NewDataset};
use crate::store::histories::{self, History};
use crate::store::scheduling::fetches::Fetch;

/// What was written, in the order of the answer.
pub(super) struct Written {
    pub(super) hdas: Vec<i64>,
    /// (HDCA, collection).
    pub(super) collections: Vec<(i64, i64)>,
}

pub(super) async fn write(
    app: &App,
    tx: &mut Tx,
    history: &History,
    arrivals: &[Arrival],
    layouts: Vec<Layout>,
    now_ms: i64,
) -> Result<Written, ApiError> {
    let collection_count = layouts
        .iter()
        .filter(|l| matches!(l, Layout::Collection { .. }))
        .count();
    let hids = arrivals.len() + collection_count;
    let mut hid = histories::allocate_hids(tx, history.id, hids, now_ms).await?;
    let mut written = Written {
        hdas: Vec::new(),
        collections: Vec::new(),
    };
    let mut visible = vec![false; arrivals.len()];
    let mut entries = Vec::new();
    for layout in layouts {
        match layout {
            Layout::Datasets(indexes) => {
                for index in indexes {
                    visible[index] = true;
                    written.hdas.push(arrivals[index].hda_id);
                }
            }
            Layout::Collection { name, tags, tree } => entries.push((name, tags, tree)),
        }
    }
    let mut rows = Vec::with_capacity(arrivals.len());
    for (arrival, visible) in arrivals.iter().zip(visible) {
        rows.push(new_dataset(arrival, history.id, hid, visible));
        hid += 1;
    }
    datasets::insert(tx, &rows, now_ms).await?;
    for (name, tags, tree) in entries {
        let collection_id = collections::insert(tx, &app.store.ids, &tree, now_ms).await?;
        let new = NewHdca {
            collection_id,
            history_id: history.id,
            hid,
            name: presentable(&name),
            tags,
            copied_from: None,
        };
        hid += 1;
        let id = collections::insert_hdca(tx, &app.store.ids, &new, now_ms).await?;
        written.collections.push((id, collection_id));
    }
    Ok(written)
}

fn new_dataset(arrival: &Arrival, history_id: i64, hid: i64, visible: bool) -> NewDataset {
    let new = NewDataset {
        dataset_id: arrival.dataset_id,
        hda_id: arrival.hda_id,
        history_id,
        hid,
        name: arrival.name.clone(),
        extension: "data".to_owned(),
        state: "queued",
        info: arrival.info.clone(),
        blurb: None,
        peek: None,
        metadata: json!({}),
        visible,
        tags: arrival.tags.clone(),
        file_size: 0,
        created_from_basename: arrival.basename.clone(),
    };
    match &arrival.bytes {
        Bytes::Here(done) => NewDataset {
            extension: done.extension.clone(),
            state: "ok",
            info: new
                .info
                .or_else(|| Some(format!("uploaded {} file", done.extension))),
            blurb: done.blurb.clone(),
            peek: done.peek.clone(),
            metadata: done.metadata.clone(),
            file_size: done.bytes as i64,
            ..new
        },
        Bytes::At { how, .. } => NewDataset {
            extension: how.extension.clone().unwrap_or(new.extension),
            metadata: json!({"dbkey": how.dbkey}),
            ..new
        },
    }
}

pub(super) fn to_fetch(arrivals: &[Arrival], job_id: i64, user_id: i64) -> Vec<Fetch> {
    let noted = arrivals.iter().filter_map(|arrival| match &arrival.bytes {
        Bytes::Here(_) => None,
        Bytes::At { url, how, hashes } => Some(Fetch {
            dataset_id: arrival.dataset_id,
            hda_id: arrival.hda_id,
            job_id,
            user_id,
            url: url.clone(),
            extension: how.extension.clone(),
            dbkey: how.dbkey.clone(),
            to_posix_lines: how.to_posix_lines,
            space_to_tab: how.space_to_tab,
            hashes: Hash::to_json(hashes),
            attempts: 0,
        }),
    });
    noted.collect()
}
