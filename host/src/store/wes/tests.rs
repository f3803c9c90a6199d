use super::seed::{Shape, seed};
use super::*;
use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query};
use crate::store::testing::databases::TestDatabase;
use crate::store::testing::{TestStore, add_user, plan};

async fn seeded(shape: Shape, tasks: i64) -> (Store, i64, TestDatabase) {
    let (store, dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let seeded = seed(&store, user, shape, tasks, 1, 1_000).await.unwrap();
    (store, seeded.invocation_ids[0], dir)
}

async fn bounds(store: &Store, id: i64) -> Bounds {
    let head = page_head(&mut store.reader(), id).await.unwrap();
    head.expect("there").bounds
}

/// Every key of a walk in pages of this size, with `between` done after each page.
async fn walk(
    store: &Store,
    id: i64,
    size: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Task> {
    let bounds = bounds(store, id).await;
    let (mut found, mut after, mut pages) = (Vec::new(), Key::START, 0);
    loop {
        let part = page(&mut store.reader(), id, after, bounds, size)
            .await
            .unwrap();
        assert!(part.len() <= size);
        let Some(last) = part.last() else {
            return found;
        };
        after = last.key();
        found.extend(part);
        between(pages).await;
        pages += 1;
    }
}

#[tokio::test]
async fn every_shape_is_walked_in_order_whatever_the_page_size() {
    for shape in [Shape::Single, Shape::Collection, Shape::Mixed] {
        for tasks in [0, 1, 27, 130] {
            let (store, id, _dir) = seeded(shape, tasks).await;
            let whole = walk(&store, id, 1_000, async |_| {}).await;
            assert_eq!(whole.len() as i64, tasks, "{shape:?}");
            let keys: Vec<Key> = whole.iter().map(Task::key).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
            for size in [1, 7, 100] {
                assert_eq!(walk(&store, id, size, async |_| {}).await, whole);
            }
        }
    }
}

#[tokio::test]
async fn mixed_runs_have_jobs_where_they_should() {
    let (store, id, _dir) = seeded(Shape::Mixed, 23).await;
    let tasks = walk(&store, id, 100, async |_| {}).await;
    let kinds: String = tasks
        .iter()
        .map(|t| match (&t.job, t.job_index) {
            (None, None) => '-',
            (Some(_), None) => '1',
            (Some(_), Some(_)) => 'm',
            (None, Some(_)) => '?',
        })
        .collect();
    assert_eq!(kinds, "-1111mmmmm-1111mmmmm111");
    let mut jobs: Vec<i64> = tasks
        .iter()
        .filter_map(|t| Some(t.job.as_ref()?.id))
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), 21, "each job once");
}

#[tokio::test]
async fn no_page_scans_or_sorts_a_run() {
    let (store, id, _dir) = seeded(Shape::Mixed, 50).await;
    let bounds = bounds(&store, id).await;
    let args = args![
        id,
        -1,
        -1,
        bounds.member_id,
        bounds.step_id,
        bounds.order_index,
        11
    ];
    let plan = plan(&store, super::tasks::WALK, args).await;
    println!("{}", plan.join("\n"));
    for line in &plan {
        // The constant row of the walk's beginning, and the walk itself: as many rows as the page has.
        let is_small = line == "SCAN w" || line == "SCAN k" || line == "SCAN CONSTANT ROW";
        assert!(!line.contains("SCAN") || is_small, "{line}");
        assert!(!line.contains("TEMP B-TREE"), "{line}");
        assert!(
            !line.contains("Seq Scan on") && !line.contains("Sort"),
            "{line}"
        );
    }
    assert!(
        plan.iter()
            .any(|line| line.contains("wis_invocation_order"))
    );
    assert!(plan.iter().any(|line| line.contains("icj_job_order")));
}

#[tokio::test]
async fn outputs_and_inputs_are_looked_up_by_their_run() {
    let (store, id, _dir) = seeded(Shape::Single, 3).await;
    for sql in [super::runs::OUTPUTS, super::runs::INPUTS] {
        let lines = plan(&store, sql, args![id]).await;
        assert!(
            lines
                .iter()
                .all(|l| !l.starts_with("SCAN") && !l.contains("Seq Scan on")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn lists_of_runs_follow_the_index_of_their_user() {
    let (store, _, _dir) = seeded(Shape::Single, 1).await;
    let query = RunQuery {
        user_id: 1,
        state: None,
        tags: Vec::new(),
        workflow: None,
        from_ms: None,
        before_ms: None,
        below: Some(10),
        limit: 11,
    };
    let (sql, args) = super::runs::statement(&query);
    let lines = plan(&store, &sql, args).await;
    assert!(
        lines.iter().any(
            |l| l.contains("SEARCH i USING INDEX workflow_invocation_user")
                || l.contains("Index Scan Backward using workflow_invocation_user")
        ),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .all(|l| !l.contains("TEMP B-TREE") && !l.contains("Sort")),
        "{lines:?}"
    );
    let counts = "SELECT i.state, COUNT(*) AS n FROM workflow_invocation i WHERE i.parent_invocation_id IS NULL GROUP BY i.state";
    let lines = plan(&store, counts, args![]).await;
    assert!(
        lines
            .iter()
            .any(|l| l.contains("COVERING INDEX workflow_invocation_state")
                || l.contains("Index Only Scan using workflow_invocation_state")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_walk_shows_what_was_there_when_it_began_exactly_once() {
    let (store, id, _dir) = seeded(Shape::Mixed, 200).await;
    let before = walk(&store, id, 1_000, async |_| {}).await;
    let first_job = "SELECT MIN(id) FROM job";
    let first_job = store.reader().maybe(first_job, args![]).await.unwrap();
    let first_job: i64 = first_job.unwrap().get(0).unwrap();
    let adding = async |round: usize| {
        let mut tx = store.begin().await.unwrap();
        // A job more for a step that was passed, one for a step to come, and steps at both ends.
        for (order, index) in [(5, 100 + round), (119, 100 + round)] {
            tx.run(
                "INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index)
                 SELECT implicit_collection_jobs_id, (SELECT MIN(id) FROM job), $3 FROM workflow_invocation_step
                 WHERE workflow_invocation_id = $1 AND order_index = $2",
                args![id, order as i64, index],
            )
            .await
            .unwrap();
        }
        let step = store.ids.workflow_step();
        tx.run(
            "INSERT INTO workflow_step (id, workflow_id, type, order_index)
             SELECT $2, workflow_id, 'tool', 100000 + $2 FROM workflow_invocation WHERE id = $1",
            args![id, step],
        )
        .await
        .unwrap();
        tx.run(
            "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, create_time, update_time)
             VALUES ($3, $1, $4, 1000 + $2, 'new', 1, 1)",
            args![id, round, store.ids.invocation_step(), step],
        )
        .await
        .unwrap();
        // A step that had no job is mapped in the meantime.
        if round == 0 {
            tx.run(
                "INSERT INTO implicit_collection_jobs (id) VALUES (99999)",
                args![],
            )
            .await
            .unwrap();
            tx.run("INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index) SELECT 99999, id, id - $1 FROM job WHERE id < $1 + 2", args![first_job]).await.unwrap();
            tx.run("UPDATE workflow_invocation_step SET implicit_collection_jobs_id = 99999 WHERE workflow_invocation_id = $1 AND order_index = 60", args![id]).await.unwrap();
        }
        tx.commit(Durability::Progress, "test").await.unwrap();
    };
    let during = walk(&store, id, 17, adding).await;
    let keys = |tasks: &[Task]| {
        tasks
            .iter()
            .map(|t| (t.step.id, t.job_index))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&during), keys(&before));
    let after = walk(&store, id, 50, async |_| {}).await;
    assert!(after.len() > before.len() + 20);
}

#[tokio::test]
async fn states_are_counted_and_paused_runs_told_apart() {
    let (store, dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let made = seed(&store, user, Shape::Single, 2, 4, 1_000)
        .await
        .unwrap()
        .invocation_ids;
    let mut tx = store.begin().await.unwrap();
    for id in &made[..2] {
        tx.run(
            "UPDATE workflow_invocation SET state = 'ready', blocked_on = 'review' WHERE id = $1",
            args![*id],
        )
        .await
        .unwrap();
    }
    // A child of the second is still at work.
    tx.run(
        "UPDATE workflow_invocation SET parent_invocation_id = $1 WHERE id = $2",
        args![made[1], made[2]],
    )
    .await
    .unwrap();
    tx.run(
        "UPDATE job SET state = 'running' WHERE workflow_invocation_id = $1",
        args![made[2]],
    )
    .await
    .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let q = &mut store.reader();
    let counts = state_counts(q).await.unwrap();
    use crate::model::state::InvocationState as S;
    assert_eq!(counts.get(&S::Ready), Some(&(2, 1)));
    assert_eq!(counts.get(&S::Completed), Some(&(1, 0)));
    assert!(by_id(q, made[0]).await.unwrap().unwrap().is_paused);
    assert!(!by_id(q, made[1]).await.unwrap().unwrap().is_paused);
    let query = RunQuery {
        user_id: user,
        state: Some(StateFilter {
            states: vec![S::Ready],
            paused: Paused::Only,
        }),
        tags: Vec::new(),
        workflow: None,
        from_ms: None,
        before_ms: None,
        below: None,
        limit: 10,
    };
    let listed = list(q, &query).await.unwrap();
    assert_eq!(listed.iter().map(|r| r.id).collect::<Vec<_>>(), [made[0]]);
    drop(dir);
}

crate::store::testing::on_postgres_too!(
    every_shape_is_walked_in_order_whatever_the_page_size,
    mixed_runs_have_jobs_where_they_should,
    no_page_scans_or_sorts_a_run,
    outputs_and_inputs_are_looked_up_by_their_run,
    lists_of_runs_follow_the_index_of_their_user,
    a_walk_shows_what_was_there_when_it_began_exactly_once,
    states_are_counted_and_paused_runs_told_apart,
);
