//! What a commit of new jobs writes is that of these jobs, however many there are.

use serde_json::json;
use uuid::Uuid;

use super::{Owner, insert_objects, reserve};
use crate::args;
use crate::invoker::writes::{JobInput, NewHda, NewJob, Writes};
use crate::model::state::{DatasetState, JobState};
use crate::store::Store;
use crate::store::db::Durability;
use crate::store::testing::{TestStore, add_user};

const JOBS: i64 = 250;

/// Jobs that each read one of the last datasets that are there and make one.
fn jobs(store: &Store, there: i64) -> Writes {
    let mut writes = Writes::default();
    for n in 0..JOBS {
        let (hda, dataset) = (store.ids.hda(), store.ids.dataset());
        let hid = writes.next_hid();
        writes.hdas.push(NewHda {
            id: hda,
            dataset_id: dataset,
            hid,
            name: "out".into(),
            extension: "txt".into(),
            state: DatasetState::New,
            visible: false,
            tags: vec![],
            dbkey: "?".into(),
            blurb: None,
            info: None,
            content: None,
            copied_from: None,
            own_extension: true,
        });
        writes.jobs.push(NewJob {
            id: store.ids.job(),
            uuid: Uuid::new_v4(),
            invocation_id: None,
            tool_id: "t".into(),
            tool_version: "1".into(),
            dynamic_tool_id: None,
            state: JobState::New,
            params: json!({"n": n}),
            inputs: vec![JobInput {
                name: "i".into(),
                hda_id: there - n,
                dataset_id: there - n,
                element_identifier: None,
            }],
            input_collections: vec![],
            outputs: vec![("out".into(), hda)],
            output_collections: vec![],
            post_job_action_ids: vec![],
            cores: 1,
            memory_mb: 0,
            use_cached: false,
            copied_from: None,
            structure: None,
        });
    }
    writes
}

/// How much longer the log of an SQLite database with so many datasets and jobs gets by such a commit, in bytes.
async fn written(there: i64) -> u64 {
    let (store, database) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut tx = store.begin().await.expect("begins");
    let fill = [
        "INSERT INTO history (id, user_id, name, create_time, update_time) VALUES (1, $2, 'h', $1, 1)",
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1)
         INSERT INTO dataset (id, uuid, state, create_time, update_time)
         SELECT id, hex(randomblob(16)), 'ok', 1, $2 FROM n",
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, create_time, update_time)
         SELECT id, 1, id, id, 'n', 'txt', 1, $2 FROM dataset WHERE id <= $1",
        "INSERT INTO job (id, uuid, user_id, history_id, handler, tool_id, state, equivalence_key, create_time, update_time)
         SELECT id, hex(randomblob(16)), $2, 1, 'main', 't', 'ok', hex(randomblob(20)), 1, 1 FROM dataset WHERE id <= $1",
    ];
    for sql in fill {
        tx.run(sql, args![there, user]).await.expect("fills");
    }
    tx.commit(Durability::Progress, "test")
        .await
        .expect("commits");
    store.db.close().await;
    // Ids go on behind what is there.
    let store = TestStore::open_again(&database).await;
    let owner = Owner {
        user_id: user,
        history_id: 1,
        scheduler: None,
        handler: "main".into(),
    };
    let log = database.path().join("db.sqlite-wal");
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let writes = jobs(&store, there);
        let mut tx = store.begin().await.expect("begins");
        let place = reserve(&mut tx, &owner, &writes, 2).await.expect("a place");
        let ready = insert_objects(&mut tx, &owner, &writes, place.as_ref(), 2).await;
        assert_eq!(ready.expect("inserts").len(), JOBS as usize);
        tx.commit(Durability::Progress, "test")
            .await
            .expect("commits");
        lengths.push(std::fs::metadata(&log).expect("the log").len());
    }
    assert!(lengths[1] > lengths[0], "the log began anew: {lengths:?}");
    lengths[1] - lengths[0]
}

#[tokio::test]
async fn a_commit_writes_no_more_because_there_is_much() {
    let (few, many) = (written(JOBS).await, written(40_000).await);
    assert!(many <= few + few / 5, "{few} bytes, then {many}");
}
