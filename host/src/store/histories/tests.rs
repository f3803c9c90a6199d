//! What is shown of a history costs what is shown.

use std::collections::BTreeMap;

use super::contents::page_statement;
use super::{Census, Content, census, contents, count_contents};
use crate::args;
use crate::store::Store;
use crate::store::db::{Dialect, Durability};
use crate::store::filter::Filter;
use crate::store::testing::{TestStore, add_user, plan};

/// Rows of `history_dataset_association`: id, history, dataset, deleted, purged, what it is a copy of.
type Hda = (i64, i64, i64, bool, bool, Option<i64>);

async fn fill(store: &Store, histories: &[i64], datasets: &[(i64, &'static str)], hdas: &[Hda]) {
    let user = add_user(store, "ada").await;
    let mut tx = store.begin().await.expect("begins");
    for id in histories {
        tx.run(
            "INSERT INTO history (id, user_id, name, create_time, update_time) VALUES ($1, $2, 'h', 1, 1)",
            args![*id, user],
        )
        .await
        .expect("a history");
    }
    for (id, state) in datasets {
        tx.run(
            "INSERT INTO dataset (id, uuid, state, file_size, create_time, update_time) VALUES ($1, $2, $3, $4, 1, 1)",
            args![*id, id.to_string(), *state, 10 * *id],
        )
        .await
        .expect("a dataset");
    }
    for (id, history, dataset, deleted, purged, copied_from) in hdas {
        tx.run(
            "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, deleted, purged,
                copied_from_history_dataset_association_id, create_time, update_time)
             VALUES ($1, $2, $3, $1, 'n', 'txt', $4, $5, $6, 1, 1)",
            args![*id, *history, *dataset, *deleted, *purged, *copied_from],
        )
        .await
        .expect("an HDA");
    }
    tx.commit(Durability::Progress, "test")
        .await
        .expect("commits");
}

fn states(census: &Census) -> BTreeMap<&str, &[i64]> {
    let states = census.states.iter();
    states
        .map(|(state, ids)| (state.as_str(), ids.as_slice()))
        .collect()
}

#[tokio::test]
async fn a_census_counts_each_dataset_once() {
    let (store, _database) = TestStore::open().await;
    let hdas = [
        (1, 1, 1, false, false, None),
        (2, 1, 2, true, false, None),
        // Beside its original; by itself, twice; its original is purged.
        (3, 1, 1, false, false, Some(1)),
        (4, 2, 1, false, false, Some(1)),
        (5, 2, 1, false, false, Some(4)),
        (6, 1, 3, true, true, None),
        (7, 1, 3, false, false, Some(6)),
        (8, 1, 4, false, false, None),
    ];
    let datasets = [(1, "ok"), (2, "ok"), (3, "ok"), (4, "new")];
    fill(&store, &[1, 2, 3], &datasets, &hdas).await;
    let found = census(&mut store.reader(), &[1, 2, 3])
        .await
        .expect("reads");
    let expected: [(&str, &[i64]); 2] = [("new", &[8]), ("ok", &[1, 3, 7])];
    assert_eq!(states(&found[&1]), BTreeMap::from(expected));
    assert_eq!(found[&1].size, 10 + 20 + 30 + 40);
    assert_eq!((states(&found[&2]).len(), found[&2].size), (1, 10));
    assert!(!found.contains_key(&3));
}

#[tokio::test]
async fn a_census_is_one_statement_that_reads_no_row_of_the_history() {
    let (store, _database) = TestStore::open().await;
    fill(&store, &[1], &[(1, "ok")], &[(1, 1, 1, false, false, None)]).await;
    let before = store.db.statements();
    census(&mut store.reader(), &[1]).await.expect("reads");
    assert_eq!(store.db.statements() - before, 1);
    let lines = plan(&store, &super::census::statement("$1"), args![1]).await;
    let of_history = |line: &&String| line.contains("hda_census");
    let line = lines.iter().find(of_history);
    match store.db.dialect() {
        Dialect::Sqlite => assert!(line.is_some_and(|l| l.contains("COVERING")), "{lines:?}"),
        Dialect::Postgres => assert!(line.is_some(), "{lines:?}"),
    }
    let sorts = |line: &String| line.contains("TEMP B-TREE");
    assert!(!lines.iter().any(sorts), "{lines:?}");
}

#[tokio::test]
async fn a_page_of_contents_goes_through_the_index() {
    let (store, _database) = TestStore::open().await;
    let hdas: Vec<Hda> = (1..=6)
        .map(|id| (id, 1, id, id == 2, false, None))
        .collect();
    let datasets: Vec<_> = (1..=6).map(|id| (id, "ok")).collect();
    fill(&store, &[1], &datasets, &hdas).await;
    let mut tx = store.begin().await.expect("begins");
    tx.run(
        "INSERT INTO dataset_collection (id, collection_type, create_time, update_time) VALUES (9, 'list', 1, 1)",
        args![],
    )
    .await
    .expect("a collection");
    tx.run(
        "INSERT INTO history_dataset_collection_association (id, collection_id, history_id, hid, name, create_time, update_time)
         VALUES (1, 9, 1, 4, 'c', 1, 1)",
        args![],
    )
    .await
    .expect("its place");
    tx.commit(Durability::Progress, "test")
        .await
        .expect("commits");
    let mut filter = Filter::default();
    filter.and("c.history_id = ?", args![1]);
    filter.and("c.deleted = ?", args![false]);
    let order = " ORDER BY c.hid ASC, c.id ASC";
    let mut reader = store.reader();
    let page = contents(&mut reader, &filter, order, 3, 1)
        .await
        .expect("reads");
    let expected = [
        Content::Dataset(3),
        Content::Collection(1),
        Content::Dataset(4),
    ];
    assert_eq!(page, expected);
    assert_eq!(
        count_contents(&mut reader, &filter).await.expect("reads"),
        6
    );
    let arguments = filter.args_and(args![3, 1, 4]);
    let lines = plan(&store, &page_statement(&filter, order), arguments).await;
    for index in ["hda_history", "hdca_history"] {
        assert!(
            lines.iter().any(|line| line.contains(index)),
            "{index}: {lines:?}"
        );
    }
    filter.and("c.state = ?", args!["ok"]);
    assert_eq!(
        count_contents(&mut reader, &filter).await.expect("reads"),
        6
    );
}

crate::store::testing::on_postgres_too!(
    a_census_counts_each_dataset_once,
    a_census_is_one_statement_that_reads_no_row_of_the_history,
    a_page_of_contents_goes_through_the_index,
);
