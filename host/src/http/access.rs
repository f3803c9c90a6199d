//! Who may see and change what. A thing that does not exist is 404; one that the caller may not see is 403 403002;
//! one that the caller may see but not change is 403 403003. Administrators own everything, as in Galaxy.

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use crate::store::collections::{self, Hdca};
use crate::store::datasets::{self, Hda};
use crate::store::histories::{self, History};
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
    let is_shared = history.published || history.importable;
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
    check(
        caller,
        wish,
        hda.user_id,
        hda.is_shared,
        "HistoryDatasetAssociation",
    )?;
    Ok(hda)
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
    check(
        caller,
        wish,
        hdca.user_id,
        hdca.is_shared,
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
