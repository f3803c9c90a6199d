//! One server at a time works on a wish, and what is forgotten is what nobody waits for.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Limit, Wanted, add, by_id, claim, due_puts, end, forget, forget_claims, renew, unfinished,
};
use crate::store::db::Durability;
use crate::store::testing::databases::TestDatabase;
use crate::store::testing::{TestStore, add_user};
use crate::store::{Store, StoreError};

struct Stage {
    store: Store,
    user: i64,
    database: TestDatabase,
}

impl Stage {
    async fn open() -> Stage {
        let (store, database) = TestStore::open().await;
        Stage {
            user: add_user(&store, "ada").await,
            store,
            database,
        }
    }

    async fn add(&self, request: Value, now_ms: i64) -> (i64, Uuid) {
        let wanted = Wanted {
            user_id: self.user,
            kind: "history",
            item_id: 7,
            request: &request,
            file_name: "h.tar.gz",
            media_type: "application/gzip",
        };
        let mut tx = self.store.begin().await.expect("begins");
        let added = add(&mut tx, &wanted, now_ms).await.expect("added");
        commit(tx).await;
        added
    }

    async fn download(&self, now_ms: i64) -> (i64, Uuid) {
        self.add(json!({}), now_ms).await
    }

    async fn put(&self, now_ms: i64) -> (i64, Uuid) {
        self.add(json!({"target_uri": "file:///x"}), now_ms).await
    }

    async fn claim(&self, id: i64, who: &str, now: i64, until: i64) -> bool {
        let claimed = claim(&self.store, id, who, now, until).await;
        claimed.expect("asked").is_some()
    }

    async fn made(&self, id: i64) {
        assert!(self.claim(id, "made", i64::MAX - 1, i64::MAX).await);
        let ended = end(&self.store, id, "made", None, 5).await;
        assert!(ended.expect("ended"));
    }

    async fn forget(&self, is_put: bool, keep: i64, before_ms: i64) -> Vec<Uuid> {
        let limit = Limit {
            user_id: self.user,
            is_put,
            keep,
            now_ms: 1_000,
            before_ms,
        };
        let mut tx = self.store.begin().await.expect("begins");
        let mut gone = forget(&mut tx, &limit).await.expect("forgotten");
        commit(tx).await;
        gone.sort();
        gone
    }
}

async fn commit(tx: crate::store::Tx) {
    let done: Result<(), StoreError> = tx.commit(Durability::Progress, "test").await;
    done.expect("commits");
}

fn sorted<const N: usize>(mut uuids: [Uuid; N]) -> [Uuid; N] {
    uuids.sort();
    uuids
}

#[tokio::test]
async fn a_wish_is_one_servers_until_it_is_silent_and_is_ended_once() {
    let stage = Stage::open().await;
    let store = &stage.store;
    let (id, _) = stage.put(1).await;
    assert!(stage.claim(id, "one", 10, 70).await);
    assert!(!stage.claim(id, "other", 11, 71).await);
    assert!(!stage.claim(id, "one", 11, 71).await, "not twice either");
    assert!(renew(store, id, "one", 100).await.expect("asked"));
    assert!(!stage.claim(id, "other", 99, 160).await);
    // It was silent for too long.
    assert!(stage.claim(id, "other", 100, 160).await);
    assert!(!renew(store, id, "one", 200).await.expect("asked"));
    let late = end(store, id, "one", Some("no such file"), 101).await;
    assert!(!late.expect("asked"), "its failure is nobody's any more");
    assert!(end(store, id, "other", None, 102).await.expect("asked"));
    let again = end(store, id, "other", Some("twice"), 103).await;
    assert!(!again.expect("asked"));
    assert!(!stage.claim(id, "one", 1_000, 2_000).await);
    let stored = by_id(&mut store.reader(), id).await.expect("read");
    let stored = stored.expect("a row");
    assert_eq!((stored.state.as_str(), stored.message), ("ok", None));
}

#[tokio::test]
async fn what_a_server_had_taken_is_free_when_it_starts_again() {
    let stage = Stage::open().await;
    let (mine, others) = (stage.put(1).await.0, stage.put(1).await.0);
    assert!(stage.claim(mine, "one", 10, 70).await);
    assert!(stage.claim(others, "other", 10, 70).await);
    let count = forget_claims(&stage.store, "one").await.expect("forgotten");
    assert_eq!(count, 1);
    assert!(stage.claim(mine, "one", 11, 71).await);
    assert!(!stage.claim(others, "one", 11, 71).await);
}

#[tokio::test]
async fn of_two_servers_that_want_the_same_one_gets_it() {
    let stage = Stage::open().await;
    let rival = match stage.store.is_shared() {
        true => TestStore::open_again(&stage.database).await,
        false => stage.store.clone(),
    };
    for _ in 0..20 {
        let (id, _) = stage.put(1).await;
        let (one, two) = tokio::join!(
            claim(&stage.store, id, "one", 10, 70),
            claim(&rival, id, "two", 10, 70)
        );
        let got = [one.expect("asked"), two.expect("asked")];
        assert_eq!(got.iter().flatten().count(), 1);
    }
}

#[tokio::test]
async fn what_is_to_be_put_somewhere_is_found_behind_any_number_of_downloads() {
    let stage = Stage::open().await;
    for _ in 0..5 {
        stage.download(1).await;
    }
    let (first, taken, last) = (
        stage.put(1).await.0,
        stage.put(1).await.0,
        stage.put(1).await.0,
    );
    assert!(stage.claim(taken, "other", 10, 70).await);
    let q = &mut stage.store.reader();
    let page = due_puts(q, 11, 0, 1).await.expect("read");
    assert_eq!(page.iter().map(|s| s.id).collect::<Vec<_>>(), [first]);
    let page = due_puts(q, 11, first, 5).await.expect("read");
    assert_eq!(page.iter().map(|s| s.id).collect::<Vec<_>>(), [last]);
    let page = due_puts(q, 70, first, 5).await.expect("read");
    assert_eq!(
        page.iter().map(|s| s.id).collect::<Vec<_>>(),
        [taken, last],
        "its server was silent"
    );
    assert_eq!(unfinished(q, stage.user).await.expect("read"), 8);
}

#[tokio::test]
async fn only_what_is_ended_is_pushed_out_and_only_by_its_like() {
    let stage = Stage::open().await;
    let (_, waiting) = stage.put(100).await;
    let mut puts = Vec::new();
    for _ in 0..4 {
        let (id, uuid) = stage.put(100).await;
        stage.made(id).await;
        puts.push(uuid);
    }
    let mut downloads = Vec::new();
    for _ in 0..3 {
        let (id, uuid) = stage.download(100).await;
        stage.made(id).await;
        downloads.push(uuid);
    }
    let gone = stage.forget(true, 2, 50).await;
    assert_eq!(gone, sorted([puts[0], puts[1]]));
    let gone = stage.forget(false, 2, 50).await;
    assert_eq!(gone, [downloads[0]]);
    // Too old: what is ended, and the wish for a file that nobody asks about; never what is to be put somewhere.
    let (_, asked) = stage.download(100).await;
    let (being_made, _) = stage.download(100).await;
    assert!(stage.claim(being_made, "one", 999, 1_060).await);
    let gone = stage.forget(true, 50, 200).await;
    let all = [puts[2], puts[3], downloads[1], downloads[2], asked];
    assert_eq!(gone, sorted(all));
    assert!(!gone.contains(&waiting));
}

crate::store::testing::on_postgres_too!(
    a_wish_is_one_servers_until_it_is_silent_and_is_ended_once,
    what_a_server_had_taken_is_free_when_it_starts_again,
    of_two_servers_that_want_the_same_one_gets_it,
    what_is_to_be_put_somewhere_is_found_behind_any_number_of_downloads,
    only_what_is_ended_is_pushed_out_and_only_by_its_like,
);
