//! Histories and the lists of what is in them.

mod census;
mod contents;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::Value;

pub use self::census::{Census, census};
pub use self::contents::{CONTENT_FIELDS, Content, contents, count_contents};

use super::db::{Query, Row, StoreError, Tx, Val, blocks, placeholders};
use super::filter::{Field, Filter, Kind};
use crate::args;

/// A history and its owner's name.
#[derive(Debug, Clone)]
pub struct History {
    pub id: i64,
    pub user_id: i64,
    pub username: String,
    pub name: String,
    pub hid_counter: i64,
    pub deleted: bool,
    pub purged: bool,
    pub archived: bool,
    pub importable: bool,
    pub published: bool,
    pub slug: Option<String>,
    pub genome_build: Option<String>,
    pub annotation: Option<String>,
    pub tags: Value,
    pub preferred_object_store_id: Option<String>,
    pub create_time: i64,
    pub update_time: i64,
}

const SELECT: &str = "SELECT h.id, h.user_id, u.username, h.name, h.hid_counter, h.deleted, h.purged, h.archived, \
     h.importable, h.published, h.slug, h.genome_build, h.annotation, h.tags, h.preferred_object_store_id, \
     h.create_time, h.update_time FROM history h JOIN galaxy_user u ON u.id = h.user_id";

/// What lists of histories can be filtered and ordered by.
pub const FIELDS: &[Field] = &[
    Field {
        name: "name",
        column: "h.name",
        kind: Kind::Text,
    },
    Field {
        name: "annotation",
        column: "h.annotation",
        kind: Kind::Text,
    },
    Field {
        name: "slug",
        column: "h.slug",
        kind: Kind::Text,
    },
    Field {
        name: "username",
        column: "u.username",
        kind: Kind::Text,
    },
    Field {
        name: "deleted",
        column: "h.deleted",
        kind: Kind::Flag,
    },
    Field {
        name: "purged",
        column: "h.purged",
        kind: Kind::Flag,
    },
    Field {
        name: "archived",
        column: "h.archived",
        kind: Kind::Flag,
    },
    Field {
        name: "published",
        column: "h.published",
        kind: Kind::Flag,
    },
    Field {
        name: "importable",
        column: "h.importable",
        kind: Kind::Flag,
    },
    Field {
        name: "tag",
        column: "h.tags",
        kind: Kind::Tags,
    },
    Field {
        name: "create_time",
        column: "h.create_time",
        kind: Kind::Time,
    },
    Field {
        name: "update_time",
        column: "h.update_time",
        kind: Kind::Time,
    },
];

fn history(row: &Row) -> Result<History, StoreError> {
    Ok(History {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        username: row.get("username")?,
        name: row.get("name")?,
        hid_counter: row.get("hid_counter")?,
        deleted: row.get("deleted")?,
        purged: row.get("purged")?,
        archived: row.get("archived")?,
        importable: row.get("importable")?,
        published: row.get("published")?,
        slug: row.get("slug")?,
        genome_build: row.get("genome_build")?,
        annotation: row.get("annotation")?,
        tags: row.json("tags")?,
        preferred_object_store_id: row.get("preferred_object_store_id")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
    })
}

/// The history with an id.
pub async fn by_id(query: &mut impl Query, id: i64) -> Result<Option<History>, StoreError> {
    let sql = format!("{SELECT} WHERE h.id = $1");
    query
        .maybe(sql, args![id])
        .await?
        .as_ref()
        .map(history)
        .transpose()
}

/// A page of histories and, first, how many match in all. `order` comes from [`super::filter::order_by`].
pub async fn list(
    query: &mut impl Query,
    filter: &Filter,
    order: &str,
    limit: i64,
    offset: i64,
) -> Result<(i64, Vec<History>), StoreError> {
    let counted = format!(
        "SELECT COUNT(*) FROM history h JOIN galaxy_user u ON u.id = h.user_id WHERE TRUE{}",
        filter.sql()
    );
    let total = query.maybe(counted, filter.args()).await?;
    let total = total.map(|r| r.get(0)).transpose()?.unwrap_or(0);
    let (l, o) = (filter.next(1), filter.next(2));
    let sql = format!(
        "{SELECT} WHERE TRUE{}{order} LIMIT ${l} OFFSET ${o}",
        filter.sql()
    );
    let rows = query
        .all(sql, filter.args_and(args![limit, offset]))
        .await?;
    let histories = rows.iter().map(history).collect::<Result<_, _>>()?;
    Ok((total, histories))
}

/// The history of this user that changed last.
pub async fn most_recent(
    query: &mut impl Query,
    user_id: i64,
) -> Result<Option<History>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE h.user_id = $1 AND NOT h.deleted ORDER BY h.update_time DESC, h.id DESC LIMIT 1"
    );
    query
        .maybe(sql, args![user_id])
        .await?
        .as_ref()
        .map(history)
        .transpose()
}

/// Creates a history under an id from [`super::Ids`].
pub async fn create(
    tx: &mut Tx,
    id: i64,
    user_id: i64,
    name: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.run(
        "INSERT INTO history (id, user_id, name, create_time, update_time) VALUES ($1, $2, $3, $4, $4)",
        args![id, user_id, name, now_ms],
    )
    .await
    .map(drop)
}

/// Writes what of a history may be changed. The invocations that are being scheduled into a deleted one are
/// signalled: they are cancelled at their next look.
pub async fn save(tx: &mut Tx, h: &History, now_ms: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE history SET name = $2, deleted = $3, purged = $4, importable = $5, published = $6, slug = $7, \
         genome_build = $8, annotation = $9, tags = $10, preferred_object_store_id = $11, update_time = $12 \
         WHERE id = $1",
        args![
            h.id,
            &h.name,
            h.deleted,
            h.purged,
            h.importable,
            h.published,
            &h.slug,
            &h.genome_build,
            &h.annotation,
            &h.tags,
            &h.preferred_object_store_id,
            now_ms
        ],
    )
    .await?;
    if h.deleted {
        // Those that are scheduled already have jobs to stop.
        const UNENDED: &str = "SELECT id FROM workflow_invocation WHERE history_id = $1 \
             AND state IN ('new', 'requires_materialization', 'ready', 'scheduled')";
        super::scheduling::invocations::lock_found(tx, UNENDED, args![h.id]).await?;
        tx.run(
            "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE history_id = $1 \
             AND state IN ('new', 'requires_materialization', 'ready', 'scheduled')",
            args![h.id],
        )
        .await?;
    }
    Ok(())
}

/// Moves a history's update time; whatever changes in it has to.
pub async fn touch(tx: &mut Tx, id: i64, now_ms: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE history SET update_time = $2 WHERE id = $1",
        args![id, now_ms],
    )
    .await
    .map(drop)
}

/// Takes `count` hids and gives the first of them. Moves the update time.
pub async fn allocate_hids(
    tx: &mut Tx,
    id: i64,
    count: usize,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let row = tx
        .maybe(
            "UPDATE history SET hid_counter = hid_counter + $2, update_time = $3 WHERE id = $1 RETURNING hid_counter",
            args![id, count, now_ms],
        )
        .await?;
    let after: i64 = row.map(|r| r.get(0)).transpose()?.unwrap_or(1);
    Ok(after - count as i64)
}

/// Whether another history of the user has this slug.
pub async fn has_slug(
    query: &mut impl Query,
    user_id: i64,
    slug: &str,
    except: i64,
) -> Result<bool, StoreError> {
    let row = query
        .maybe(
            "SELECT 1 FROM history WHERE user_id = $1 AND slug = $2 AND id <> $3 LIMIT 1",
            args![user_id, slug, except],
        )
        .await?;
    Ok(row.is_some())
}

/// The ids of the HDAs in a history that are not purged.
pub async fn hda_ids(query: &mut impl Query, id: i64) -> Result<Vec<i64>, StoreError> {
    let rows = query
        .all(
            "SELECT id FROM history_dataset_association WHERE history_id = $1 AND NOT purged ORDER BY hid, id",
            args![id],
        )
        .await?;
    rows.iter().map(|r| r.get(0)).collect()
}

/// What stands at some numbers of a history, by number.
#[derive(Debug, Clone, Default)]
pub struct Numbered {
    pub hdas: HashMap<i64, i64>,
    pub hdcas: HashMap<i64, i64>,
}

/// What stands at these numbers of a history; the newest where there are several.
pub async fn by_hids(
    query: &mut impl Query,
    history_id: i64,
    hids: &[i64],
) -> Result<Numbered, StoreError> {
    let mut found = Numbered::default();
    for block in blocks(hids) {
        let inside = placeholders(2, block.len());
        let tables = [
            ("history_dataset_association", &mut found.hdas),
            ("history_dataset_collection_association", &mut found.hdcas),
        ];
        for (table, place) in tables {
            let mut args = args![history_id];
            args.extend(block.iter().map(|hid| Val::from(*hid)));
            let sql = format!(
                "SELECT hid, id FROM {table} WHERE history_id = $1 AND hid IN ({inside}) ORDER BY id"
            );
            for row in &query.all(sql, args).await? {
                place.insert(row.get(0)?, row.get(1)?);
            }
        }
    }
    Ok(found)
}
