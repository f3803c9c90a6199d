//! Lists of what is in histories: datasets and collections side by side.

use crate::args;
use crate::model::state::DatasetState;
use crate::store::db::{Query, StoreError};
use crate::store::filter::{Field, Filter, Kind};

/// A line of a list of contents: what it is and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Dataset(i64),
    Collection(i64),
}

/// What contents can be filtered and ordered by.
pub const CONTENT_FIELDS: &[Field] = &[
    Field {
        name: "hid",
        column: "c.hid",
        kind: Kind::Number,
    },
    Field {
        name: "name",
        column: "c.name",
        kind: Kind::Text,
    },
    Field {
        name: "state",
        column: "c.state",
        kind: Kind::Choice(is_dataset_state),
    },
    Field {
        name: "extension",
        column: "c.extension",
        kind: Kind::Text,
    },
    Field {
        name: "deleted",
        column: "c.deleted",
        kind: Kind::Flag,
    },
    Field {
        name: "purged",
        column: "c.purged",
        kind: Kind::Flag,
    },
    Field {
        name: "visible",
        column: "c.visible",
        kind: Kind::Flag,
    },
    Field {
        name: "annotation",
        column: "c.annotation",
        kind: Kind::Text,
    },
    Field {
        name: "tag",
        column: "c.tags",
        kind: Kind::Tags,
    },
    Field {
        name: "history_content_type",
        column: "c.kind",
        kind: Kind::Choice(|v| matches!(v, "dataset" | "dataset_collection")),
    },
    Field {
        name: "create_time",
        column: "c.create_time",
        kind: Kind::Time,
    },
    Field {
        name: "update_time",
        column: "c.update_time",
        kind: Kind::Time,
    },
    Field {
        name: "tool_id",
        column: "(SELECT j.tool_id FROM job_to_output_dataset o JOIN job j ON j.id = o.job_id \
        WHERE o.hda_id = c.id AND c.kind = 'dataset' ORDER BY o.id LIMIT 1)",
        kind: Kind::Text,
    },
];

fn is_dataset_state(text: &str) -> bool {
    text.parse::<DatasetState>().is_ok()
}

/// The datasets with the columns that both kinds have. What comes from other tables is left out where nobody asks for it.
fn datasets(needs: Needs) -> String {
    let (state, dataset) = match needs.state {
        true => ("d.state", " JOIN dataset d ON d.id = a.dataset_id"),
        false => (NO_STATE, ""),
    };
    let (owner, history) = needs.owner();
    format!(
        "SELECT 'dataset' AS kind, a.id, a.history_id, {owner} AS user_id, a.hid, a.name, {state} AS state, a.extension, \
         a.deleted, a.purged, a.visible, a.annotation, a.tags, a.create_time, a.update_time \
         FROM history_dataset_association a{dataset}{history}"
    )
}

/// The collections likewise. One is in the state that its elements' knowledge is in.
fn collections(needs: Needs) -> String {
    let (state, collection) = match needs.state {
        true => (
            "k.populated_state",
            " JOIN dataset_collection k ON k.id = a.collection_id",
        ),
        false => (NO_STATE, ""),
    };
    let (owner, history) = needs.owner();
    format!(
        "SELECT 'dataset_collection' AS kind, a.id, a.history_id, {owner} AS user_id, a.hid, a.name, {state} AS state, \
         CAST(NULL AS TEXT) AS extension, a.deleted, FALSE AS purged, a.visible, a.annotation, a.tags, a.create_time, \
         a.update_time FROM history_dataset_collection_association a{collection}{history}"
    )
}

const NO_STATE: &str = "CAST(NULL AS TEXT)";

/// Which columns of other tables a condition or an order names.
#[derive(Debug, Clone, Copy)]
struct Needs {
    state: bool,
    owner: bool,
}

impl Needs {
    fn of(condition: &str, order: &str) -> Needs {
        let names = |column: &str| condition.contains(column) || order.contains(column);
        Needs {
            state: names("c.state"),
            owner: names("c.user_id"),
        }
    }

    fn owner(self) -> (&'static str, &'static str) {
        match self.owner {
            true => ("h.user_id", " JOIN history h ON h.id = a.history_id"),
            false => ("CAST(NULL AS BIGINT)", ""),
        }
    }
}

/// A page of contents: which they are, in order. The filter names `c.history_id` or `c.user_id`.
pub async fn contents(
    query: &mut impl Query,
    filter: &Filter,
    order: &str,
    limit: i64,
    offset: i64,
) -> Result<Vec<Content>, StoreError> {
    let page = page_statement(filter, order);
    let first = limit.saturating_add(offset);
    let rows = query
        .all(page, filter.args_and(args![limit, offset, first]))
        .await?;
    rows.iter()
        .map(|row| {
            let kind: String = row.get(0)?;
            let id = row.get(1)?;
            Ok(match kind.as_str() {
                "dataset" => Content::Dataset(id),
                _ => Content::Collection(id),
            })
        })
        .collect()
}

/// The first of each kind, as many as the page may need, and then the page: the database goes through an index and not through
/// all that is in the history. A dataset and a collection may have the same id, so that only the kind tells them apart in the end.
pub(super) fn page_statement(filter: &Filter, order: &str) -> String {
    let condition = filter.sql();
    let needs = Needs::of(condition, order);
    let (l, o, first) = (filter.next(1), filter.next(2), filter.next(3));
    let part = |of: String| {
        format!(
            "SELECT * FROM (SELECT c.* FROM ({of}) c WHERE TRUE{condition}{order} LIMIT ${first}) p"
        )
    };
    format!(
        "SELECT c.kind, c.id FROM ({} UNION ALL {}) c{order}, c.kind LIMIT ${l} OFFSET ${o}",
        part(datasets(needs)),
        part(collections(needs)),
    )
}

/// How many contents match.
pub async fn count_contents(query: &mut impl Query, filter: &Filter) -> Result<i64, StoreError> {
    let condition = filter.sql();
    let needs = Needs::of(condition, "");
    let part = |of: String| format!("(SELECT COUNT(*) FROM ({of}) c WHERE TRUE{condition})");
    let sql = format!(
        "SELECT {} + {}",
        part(datasets(needs)),
        part(collections(needs))
    );
    let row = query.maybe(sql, filter.args()).await?;
    Ok(row.map(|r| r.get(0)).transpose()?.unwrap_or(0))
}
