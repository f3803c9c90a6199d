//! Which workflow a path names, and whether the caller may see or change it.

use std::sync::Arc;

use uuid::Uuid;

use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::model::revision::Revision;
use crate::store::db::Query;
use crate::store::workflows::{self, StoredWorkflow};

/// A workflow, and the revision that was asked for.
pub struct Found {
    pub stored: StoredWorkflow,
    pub revision_id: i64,
}

/// Which revision is meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which {
    /// The id is a revision's.
    pub instance: bool,
    /// A version number, from 0.
    pub version: Option<u32>,
}

impl Which {
    /// `instance` and `version` of a query.
    pub fn of(params: &Params) -> Result<Which, ApiError> {
        let version = params.count("version")?.map(u32::try_from).transpose();
        Ok(Which {
            instance: params.is("instance")?,
            version: version.map_err(|_| ApiError::invalid("There is no such version."))?,
        })
    }
}

/// The workflow behind an encoded id, or the uuid of a revision. 404 if there is none, 403 if it is not the caller's
/// to see or change.
pub async fn workflow(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
    which: Which,
    wish: Wish,
) -> Result<Found, ApiError> {
    let missing = || ApiError::not_found("No such workflow found.");
    let uuid = (id.len() >= 32).then(|| Uuid::parse_str(id).ok()).flatten();
    // An encoded id of one or two blocks may look like a uuid without hyphens.
    let by_uuid = match uuid {
        Some(uuid) => workflows::by_uuid(q, uuid).await?,
        None => None,
    };
    let (stored, revision_id) = match by_uuid {
        Some(found) => found,
        None if id.contains('-') && uuid.is_some() => return Err(missing()),
        None => {
            let number = app.decode(id)?;
            if which.instance {
                let stored = workflows::by_revision(q, number).await?;
                (stored.ok_or_else(missing)?, number)
            } else {
                let stored = workflows::by_id(q, number).await?.ok_or_else(missing)?;
                let latest = stored.latest_workflow_id;
                (stored, latest)
            }
        }
    };
    let user_id = caller.user.as_ref().map(|user| user.id);
    let shared = stored.importable
        || stored.published
        || match user_id {
            Some(user) if user != stored.user_id => {
                workflows::is_shared_with(q, stored.id, user).await?
            }
            _ => false,
        };
    access::check(caller, wish, stored.user_id, shared, "Workflow")?;
    let revision_id = match which.version {
        None => revision_id,
        Some(version) => workflows::revision_at(q, stored.id, version)
            .await?
            .ok_or_else(|| {
                ApiError::not_found(format!("The workflow has no version {version}."))
            })?,
    };
    Ok(Found {
        stored,
        revision_id,
    })
}

/// A revision, from memory where it is there.
pub async fn revision(
    app: &App,
    q: &mut impl Query,
    revision_id: i64,
) -> Result<Arc<Revision>, ApiError> {
    let found = app.seams().revisions.get(q, revision_id).await?;
    found.ok_or_else(|| ApiError::not_found("No such workflow found."))
}
