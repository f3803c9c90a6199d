//! Where the outputs of a run go, and the items it is given: looked up, and copied into that history.

use std::collections::{HashMap, HashSet};

use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::invocation_request::{HistoryChoice, Items, Payload, Reference, Run, Src};
use crate::model::invocation::NewInvocation;
use crate::store::Tx;
use crate::store::collections::{self, Hdca, NewHdca};
use crate::store::datasets::{self, Hda};
use crate::store::db::Query;
use crate::store::histories;

/// The datasets and collections that a request names.
#[derive(Default)]
pub struct Known {
    hdas: HashMap<Reference, Hda>,
    hdcas: HashMap<Reference, Hdca>,
    elements: HashMap<Reference, i64>,
}

impl Known {
    /// Looks all of them up. 400 for a malformed id, 404 for an unknown one, 403 for one that is not accessible.
    pub async fn look_up(
        app: &App,
        q: &mut impl Query,
        caller: &Caller,
        references: impl IntoIterator<Item = Reference>,
    ) -> Result<Known, ApiError> {
        let mut hdas = Vec::new();
        let mut hdcas = Vec::new();
        let mut known = Known::default();
        for reference in references {
            let id = app.decode(&reference.id)?;
            match reference.src {
                Src::Hda => hdas.push((reference, id)),
                Src::Hdca => hdcas.push((reference, id)),
                Src::Dce => {
                    crate::http::collections::element(q, caller, id).await?;
                    known.elements.insert(reference, id);
                }
            }
        }
        let ids = |list: &[(Reference, i64)]| list.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        let found_hdas = datasets::by_ids(q, &ids(&hdas)).await?;
        let found_hdcas = collections::by_ids(q, &ids(&hdcas)).await?;
        for (reference, id) in hdas {
            let hda = found_hdas.get(&id).ok_or_else(|| missing(&reference))?;
            access::require_hda(q, caller, hda, Wish::Read).await?;
            known.hdas.insert(reference, hda.clone());
        }
        for (reference, id) in hdcas {
            let hdca = found_hdcas.get(&id).ok_or_else(|| missing(&reference))?;
            access::require_hdca(q, caller, hdca, Wish::Read).await?;
            access::require_elements(q, caller, hdca.collection.id).await?;
            known.hdcas.insert(reference, hdca.clone());
        }
        Ok(known)
    }

    /// Every item as it is.
    pub fn items(&self) -> Items {
        let hdas = self.hdas.iter().map(|(r, hda)| (r.clone(), hda.id));
        let hdcas = self.hdcas.iter().map(|(r, hdca)| (r.clone(), hdca.id));
        let elements = self.elements.iter().map(|(r, id)| (r.clone(), *id));
        hdas.chain(hdcas).chain(elements).collect()
    }

    /// Every item, those of other histories as copies in this one.
    pub async fn copied_into(
        &self,
        app: &App,
        tx: &mut Tx,
        history_id: i64,
        wanted: &[&Reference],
    ) -> Result<Items, ApiError> {
        let mut items = self.items();
        let now_ms = app.now_ms();
        let away = |reference: &&&Reference| match reference.src {
            Src::Hda => self
                .hdas
                .get(**reference)
                .is_some_and(|x| x.history_id != history_id),
            Src::Hdca => self
                .hdcas
                .get(**reference)
                .is_some_and(|x| x.history_id != history_id),
            Src::Dce => false,
        };
        let mut away: Vec<&Reference> = wanted.iter().filter(away).copied().collect();
        away.sort();
        away.dedup();
        if away.is_empty() {
            return Ok(items);
        }
        let mut hid = histories::allocate_hids(tx, history_id, away.len(), now_ms).await?;
        let ids = &app.store.ids;
        let hdas: Vec<(&Reference, &Hda)> = away
            .iter()
            .filter_map(|r| self.hdas.get(*r).map(|hda| (*r, hda)))
            .collect();
        let sources: Vec<&Hda> = hdas.iter().map(|(_, hda)| *hda).collect();
        let copies = datasets::copy(tx, ids, &sources, history_id, hid, Some(true), now_ms).await?;
        hid += copies.len() as i64;
        for ((reference, _), copy) in hdas.iter().zip(copies) {
            items.insert((*reference).clone(), copy);
        }
        for reference in away {
            let Some(source) = self.hdcas.get(reference) else {
                continue;
            };
            // The copy shows the same elements: collections never change once they are known.
            let new = NewHdca {
                collection_id: source.collection.id,
                history_id,
                hid,
                name: source.name.clone(),
                tags: source.tags.clone(),
                copied_from: Some(source.id),
            };
            let copy = collections::insert_hdca(tx, ids, &new, now_ms).await?;
            items.insert(reference.clone(), copy);
            hid += 1;
        }
        Ok(items)
    }

    /// A dataset that came from another history and feeds several inputs is copied for each of them, as in Galaxy.
    pub async fn copy_once_more(
        &self,
        app: &App,
        tx: &mut Tx,
        history_id: i64,
        copies: &Items,
        new: &mut NewInvocation,
    ) -> Result<(), ApiError> {
        let mut seen = HashSet::new();
        let mut repeated = Vec::new();
        for (place, input) in new.input_datasets.iter().enumerate() {
            if seen.insert(input.item_id) {
                continue;
            }
            let source = copies
                .iter()
                .filter(|(reference, id)| reference.src == Src::Hda && **id == input.item_id)
                .find_map(|(reference, _)| self.hdas.get(reference));
            repeated.extend(
                source
                    .filter(|hda| hda.id != input.item_id)
                    .map(|hda| (place, hda)),
            );
        }
        if repeated.is_empty() {
            return Ok(());
        }
        let now_ms = app.now_ms();
        let hid = histories::allocate_hids(tx, history_id, repeated.len(), now_ms).await?;
        let sources: Vec<&Hda> = repeated.iter().map(|(_, hda)| *hda).collect();
        let ids = &app.store.ids;
        let made = datasets::copy(tx, ids, &sources, history_id, hid, Some(true), now_ms).await?;
        for ((place, _), copy) in repeated.iter().zip(made) {
            new.input_datasets[*place].item_id = copy;
        }
        Ok(())
    }

    /// "1, 2 and 3": the numbers that people see of these items.
    fn numbers(&self, references: &[Reference]) -> String {
        let hid = |reference: &Reference| match reference.src {
            Src::Hda => self.hdas.get(reference).map(|hda| hda.hid),
            Src::Hdca => self.hdcas.get(reference).map(|hdca| hdca.hid),
            Src::Dce => None,
        };
        let mut numbers: Vec<String> = references
            .iter()
            .filter_map(hid)
            .map(|hid| hid.to_string())
            .collect();
        match numbers.pop() {
            None => String::new(),
            Some(last) if numbers.is_empty() => last,
            Some(last) => format!("{} and {last}", numbers.join(", ")),
        }
    }
}

fn missing(reference: &Reference) -> ApiError {
    let shown: String = reference.id.chars().take(64).collect();
    ApiError::not_found(format!(
        "The input {} {shown} was not found.",
        reference.src.code()
    ))
}

/// The name of the new history of a run.
pub fn history_name(payload: &Payload, workflow_name: &str, known: &Known, run: &Run) -> String {
    let name = match &payload.history {
        HistoryChoice::New(name) if !name.trim().is_empty() => name.clone(),
        _ => format!("History from {workflow_name} workflow"),
    };
    match known.numbers(&run.varied) {
        numbers if numbers.is_empty() => name,
        numbers => format!("{name} on {numbers}"),
    }
}
