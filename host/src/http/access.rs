//! Who may see and change what. A thing that does not exist is 404; one that the caller may not see is 403 403002;
//! one that the caller may see but not change is 403 403003. Administrators own everything, as in Galaxy.

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
    let hda = found(datasets::by_id(query, id).await, "Dataset")?;
    require_hda(query, caller, &hda, wish).await?;
    Ok(hda)
}

/// Whether the caller may do that with an HDA: its owner may, and whoever may read it for one of these reasons: its history
/// is published or has a link, it is public itself, the caller has a role that it names, its history is shared with them.
pub async fn require_hda(
    query: &mut impl Query,
    caller: &Caller,
    hda: &Hda,
    wish: Wish,
) -> Result<(), ApiError> {
    let mut is_shared = hda.is_shared;
    if !is_shared && let Some(user) = other(caller, hda.user_id) {
        is_shared = match hda.access.as_deref() {
            None => sharing::is_history_shared_with(query, hda.history_id, user).await?,
            Some("roles") => sharing::may_access(query, hda.dataset_id, user).await?,
            Some(_) => false,
        };
    }
    check(
        caller,
        wish,
        hda.user_id,
        is_shared,
        "HistoryDatasetAssociation",
    )
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
    )?;
    Ok(hdca)
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
