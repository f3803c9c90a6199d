//! What belongs to this installation alone: few values by name.

use crate::args;
use crate::store::db::{Query, StoreError, Tx};

/// Whether no more jobs are to be handed over (Galaxy: job lock).
pub const JOB_LOCK: &str = "job_lock";

/// The value under a name.
pub async fn get(q: &mut impl Query, name: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM installation WHERE name = $1";
    let row = q.maybe(sql, args![name]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Stores a value under a name.
pub async fn set(tx: &mut Tx, name: &str, value: &str) -> Result<(), StoreError> {
    tx.run(
        "INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        args![name, value],
    )
    .await
    .map(drop)
}

/// Whether the job lock is on.
pub async fn jobs_are_locked(q: &mut impl Query) -> Result<bool, StoreError> {
    Ok(get(q, JOB_LOCK).await?.as_deref() == Some("true"))
}
