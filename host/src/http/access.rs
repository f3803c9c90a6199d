//! Who may see and change what. A thing that does not exist is 404; one that the caller may not see is 403 403002;
//! one that the caller may see but not change is 403 403003. Administrators own everything, as in Galaxy.

use std::collections::{HashMap, HashSet};

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use crate::store::collections::{self, Hdca};
use crate::store::datasets::{self, Hda};
use crate::store::histories::{self, History};
use crate::store::sharing;
use crate::store::{Query, StoreError};

/// What the caller is about to do. What is looked up through a transaction to be changed is locked, so that nobody else's
/// change is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Read,
    Change,
}

/// Whether something of `owner`'s is the caller's to read or change.
pub fn check(
    caller: &Caller,
    wish: Wish,
    owner: i64,
    is_shared: bool,
    what: &str,
) -> Result<(), ApiError> {
    let owns = caller.is_admin || caller.user.as_ref().is_some_and(|u| u.id == owner);
    match (owns, wish, is_shared) {
        (true, _, _) | (false, Wish::Read, true) => Ok(()),
        (false, Wish::Change, true) => Err(ApiError::not_owner(format!(
            "{what} is not owned by the current user"
        ))),
        (false, _, false) => Err(ApiError::not_accessible(format!(
            "{what} is not accessible by the current user"
        ))),
    }
}

/// The history behind an encoded id.
pub async fn history(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    encoded: &str,
    wish: Wish,
) -> Result<History, ApiError> {
    let id = app.decode(encoded)?;
    if wish == Wish::Change {
        query.keep("history", &[id]).await?;
    }
    let history = found(histories::by_id(query, id).await, "History")?;
    let is_shared = history.published
        || history.importable
        || match other(caller, history.user_id) {
            Some(user) => sharing::is_history_shared_with(query, history.id, user).await?,
            None => false,
        };
    check(caller, wish, history.user_id, is_shared, "History")?;
    Ok(history)
}

/// The HDA behind an encoded id.
pub async fn hda(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    encoded: &str,
    wish: Wish,
) -> Result<Hda, ApiError> {
    let id = app.decode(encoded)?;
    if wish == Wish::Change {
        query.keep("history_dataset_association", &[id]).await?;
    }
    let mut hda = found(datasets::by_id(query, id).await, "Dataset")?;
    require_hda(query, caller, &hda, wish).await?;
    // Whoever may change what a copy says of itself need not be allowed to read it.
    hda.readable |= wish == Wish::Read || !is_withheld(query, caller, &hda).await?;
    Ok(hda)
}

/// Whether the caller may do that with an HDA: its owner may, and whoever may read it for one of these reasons: its history
/// is published or has a link, it is public itself, its history is shared with them. Where the dataset's owner said who may read
/// it, that counts for every copy, and nothing else does.
pub async fn require_hda(
    query: &mut impl Query,
    caller: &Caller,
    hda: &Hda,
    wish: Wish,
) -> Result<(), ApiError> {
    const WHAT: &str = "HistoryDatasetAssociation";
    if wish == Wish::Read && !hda.readable {
        return match is_withheld(query, caller, hda).await? {
            false => Ok(()),
            true => Err(not_accessible(WHAT)),
        };
    }
    let mut is_shared = hda.is_shared;
    if !is_shared
        && hda.access.is_none()
        && let Some(user) = other(caller, hda.user_id)
    {
        is_shared = sharing::is_history_shared_with(query, hda.history_id, user).await?;
    }
    check(caller, wish, hda.user_id, is_shared, WHAT)
}

fn not_accessible(what: &str) -> ApiError {
    ApiError::not_accessible(format!("{what} is not accessible by the current user"))
}

/// Whether the dataset's owner keeps it from the caller.
async fn is_withheld(
    query: &mut impl Query,
    caller: &Caller,
    hda: &Hda,
) -> Result<bool, StoreError> {
    if hda.readable || caller.is_admin {
        return Ok(false);
    }
    let Some(user) = &caller.user else {
        return Ok(true);
    };
    let readable = sharing::readable(query, user.id, &[hda.dataset_id]).await?;
    Ok(readable.is_empty())
}

/// Finds out which of the restricted ones among some HDAs the caller may read. That their history or collection may be seen
/// was found before.
pub async fn grant(
    query: &mut impl Query,
    caller: &Caller,
    hdas: &mut HashMap<i64, Hda>,
) -> Result<(), StoreError> {
    match (&caller.user, caller.is_admin) {
        (_, true) => hdas.values_mut().for_each(|hda| hda.readable = true),
        (Some(user), false) => grant_user(query, user.id, hdas).await?,
        (None, false) => {}
    }
    Ok(())
}

/// As [`grant`], for a user who asked earlier on.
pub async fn grant_user(
    query: &mut impl Query,
    user_id: i64,
    hdas: &mut HashMap<i64, Hda>,
) -> Result<(), StoreError> {
    let restricted = hdas.values().filter(|hda| !hda.readable);
    let restricted: Vec<i64> = restricted.map(|hda| hda.dataset_id).collect();
    if restricted.is_empty() {
        return Ok(());
    }
    let readable = sharing::readable(query, user_id, &restricted).await?;
    for hda in hdas.values_mut() {
        hda.readable |= readable.contains(&hda.dataset_id);
    }
    Ok(())
}

/// 403 where a collection has datasets in it that the caller may not read.
pub async fn require_elements(
    query: &mut impl Query,
    caller: &Caller,
    collection_id: i64,
) -> Result<(), ApiError> {
    if caller.is_admin {
        return Ok(());
    }
    let restricted = sharing::restricted_within(query, &[collection_id]).await?;
    let readable = match &caller.user {
        Some(user) if !restricted.is_empty() => {
            sharing::readable(query, user.id, &restricted).await?
        }
        _ => HashSet::new(),
    };
    match restricted.iter().all(|id| readable.contains(id)) {
        true => Ok(()),
        false => Err(ApiError::not_accessible(
            "The collection has datasets in it that are not accessible by the current user",
        )),
    }
}

/// The caller, unless it is the owner or may do everything anyway.
fn other(caller: &Caller, owner: i64) -> Option<i64> {
    let user = caller.user.as_ref()?.id;
    (user != owner && !caller.is_admin).then_some(user)
}

/// The HDCA behind an encoded id.
pub async fn hdca(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    encoded: &str,
    wish: Wish,
) -> Result<Hdca, ApiError> {
    let id = app.decode(encoded)?;
    if wish == Wish::Change {
        query
            .keep("history_dataset_collection_association", &[id])
            .await?;
    }
    let hdca = found(collections::by_id(query, id).await, "Collection")?;
    require_hdca(query, caller, &hdca, wish).await?;
    Ok(hdca)
}

/// Whether the caller may do that with an HDCA: its owner may, and whoever may read its history.
pub async fn require_hdca(
    query: &mut impl Query,
    caller: &Caller,
    hdca: &Hdca,
    wish: Wish,
) -> Result<(), ApiError> {
    let is_shared = hdca.is_shared
        || match other(caller, hdca.user_id) {
            Some(user) => sharing::is_history_shared_with(query, hdca.history_id, user).await?,
            None => false,
        };
    check(
        caller,
        wish,
        hdca.user_id,
        is_shared,
        "HistoryDatasetCollectionAssociation",
    )
}

/// 409 for a history that takes nothing more.
pub fn require_open(history: &History) -> Result<(), ApiError> {
    match (history.purged, history.deleted) {
        (true, _) => Err(ApiError::conflict(
            "This history was purged; nothing can be added to it.",
        )),
        (false, true) => Err(ApiError::conflict(
            "This history is deleted; undelete it first.",
        )),
        (false, false) => Ok(()),
    }
}

fn found<T>(looked_up: Result<Option<T>, StoreError>, what: &str) -> Result<T, ApiError> {
    looked_up?
        .ok_or_else(|| ApiError::not_found(format!("{what} with the id provided was not found.")))
}
