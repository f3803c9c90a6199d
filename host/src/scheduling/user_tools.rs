//! User-defined tools live in the database; the toolbox gets them when something of theirs is about to run.

use super::engine::Services;
use crate::store::db::Query;
use crate::store::{StoreError, dynamic_tools};
use crate::tools::yaml;

/// Puts these tools into the toolbox, as far as this version can read them.
pub async fn ensure(
    services: &Services,
    q: &mut impl Query,
    ids: &[i64],
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    for (_, stored) in dynamic_tools::by_ids(q, ids).await? {
        if services.toolbox.get_dynamic(&stored.uuid).is_some() {
            continue;
        }
        match yaml::parse_representation(&stored.value) {
            Ok(tool) => drop(services.toolbox.insert_dynamic(stored.uuid, tool)),
            Err(error) => {
                tracing::warn!(tool.uuid = %stored.uuid, "a user-defined tool cannot be read: {error}")
            }
        }
    }
    Ok(())
}
