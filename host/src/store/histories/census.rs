//! What is in histories, counted: which datasets are in which state, and how large they are.

use std::collections::{BTreeMap, HashMap};

use crate::store::db::{Query, StoreError, blocks, placeholders};
use crate::store::scheduling::known;

/// What the state of a history is made of.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// By state, the HDAs that are not deleted.
    pub states: BTreeMap<String, Vec<i64>>,
    /// Bytes of the datasets, each counted once.
    pub size: i64,
}

/// The census of each of some histories. One statement goes through an index of what is in them; only where there are copies
/// another one looks at these.
pub async fn census(
    query: &mut impl Query,
    histories: &[i64],
) -> Result<HashMap<i64, Census>, StoreError> {
    let mut found: HashMap<i64, Census> = HashMap::new();
    for block in blocks(histories) {
        let list = placeholders(1, block.len());
        let sql = statement(&list);
        let mut with_copies = Vec::new();
        for row in query.all(sql, known::ids(block)).await? {
            let id = row.get(0)?;
            if row.get::<i64>(3)? > 0 {
                with_copies.push(id);
            }
            let states = by_state(row.get::<Option<&str>>(1)?.unwrap_or_default());
            let size = row.get(2)?;
            found.insert(id, Census { states, size });
        }
        for (id, size) in copied_size(query, &with_copies).await? {
            found.entry(id).or_default().size += size;
        }
    }
    Ok(found)
}

/// One row for a history: the rows of a large one would cost more than finding them, and so would sorting them by state. What
/// is not copied is its dataset's first name, so no dataset is counted twice.
pub(super) fn statement(list: &str) -> String {
    format!(
        "SELECT a.history_id, string_agg(CASE WHEN a.deleted THEN NULL ELSE CAST(a.id AS TEXT) || d.state END, ','),
                CAST(COALESCE(SUM(CASE WHEN a.purged OR {COPIED} IS NOT NULL THEN 0
                    ELSE COALESCE(d.total_size, d.file_size, 0) END), 0) AS BIGINT), COUNT({COPIED})
         FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id
         WHERE a.history_id IN ({list}) GROUP BY a.history_id"
    )
}

const COPIED: &str = "a.copied_from_history_dataset_association_id";

/// Bytes of the datasets that some histories have as copies only.
async fn copied_size(
    query: &mut impl Query,
    histories: &[i64],
) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut found = Vec::new();
    for block in blocks(histories) {
        let list = placeholders(1, block.len());
        let sql = format!(
            "SELECT s.history_id, CAST(SUM(s.bytes) AS BIGINT) FROM (
                SELECT DISTINCT a.history_id, a.dataset_id, COALESCE(d.total_size, d.file_size, 0) AS bytes
                FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id
                WHERE a.history_id IN ({list}) AND NOT a.purged AND {COPIED} IS NOT NULL
                  AND NOT EXISTS (SELECT 1 FROM history_dataset_association o
                    WHERE o.dataset_id = a.dataset_id AND o.history_id = a.history_id AND NOT o.purged
                      AND o.copied_from_history_dataset_association_id IS NULL)) s
             GROUP BY s.history_id"
        );
        for row in query.all(sql, known::ids(block)).await? {
            found.push((row.get(0)?, row.get(1)?));
        }
    }
    Ok(found)
}

/// From `12ok,13new` to the ids in each state, in order.
fn by_state(list: &str) -> BTreeMap<String, Vec<i64>> {
    let mut states: Vec<(&str, Vec<i64>)> = Vec::new();
    for item in list.split(',') {
        let digits = item.bytes().take_while(u8::is_ascii_digit).count();
        let (id, state) = item.split_at(digits);
        let Ok(id) = id.parse() else { continue };
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, ids)) => ids.push(id),
            None => states.push((state, vec![id])),
        }
    }
    let sorted = states.into_iter().map(|(state, mut ids)| {
        ids.sort_unstable();
        (state.to_owned(), ids)
    });
    sorted.collect()
}
