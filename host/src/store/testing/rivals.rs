//! Several servers on one PostgreSQL database: what they do at the same time is done once, and nothing is left waiting.
//! Each test opens the database twice. SQLite has one server.

use std::collections::BTreeSet;

use super::databases::TestDatabase;
use super::{TestStore, add_user, on_postgres_too};
use crate::args;
use crate::invoker::iteration::Outcome;
use crate::invoker::writes::{JobInput, NewJob, Writes};
use crate::model::handler::{Peer, Roles};
use crate::model::state::{DatasetState, InvocationState, JobState};
use crate::store::db::{Durability, Query as _, StoreError};
use crate::store::handlers::{Newcomer, enter};
use crate::store::scheduling::commit::{Stored, commit_iteration};
use crate::store::scheduling::ends::{EndAction, FileFacts, JobEnd, OutputEnd};
use crate::store::scheduling::objects::{Owner, insert_objects, reserve};
use crate::store::scheduling::progress::head;
use crate::store::scheduling::settle::settle;
use crate::store::{Store, histories};

struct Rivals {
    stores: [Store; 2],
    user: i64,
    history: i64,
    _database: TestDatabase,
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test());
}

impl Rivals {
    async fn open() -> Rivals {
        let (one, database) = TestStore::open().await;
        let other = TestStore::open_again(&database).await;
        let user = add_user(&one, "ada").await;
        let mut tx = one.begin().await.expect("begins");
        let history = one.ids.history(&mut tx).await.expect("an id");
        histories::create(&mut tx, history, user, "h", 1)
            .await
            .expect("a history");
        tx.commit(Durability::Progress, "test")
            .await
            .expect("commits");
        Rivals {
            stores: [one, other],
            user,
            history,
            _database: database,
        }
    }

    async fn run(&self, statements: &[String]) {
        let mut tx = self.stores[0].begin().await.expect("begins");
        for sql in statements {
            tx.run(sql.clone(), args![])
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        tx.commit(Durability::Progress, "test")
            .await
            .expect("commits");
    }

    async fn number(&self, sql: &str) -> i64 {
        let row = self.stores[1].reader().maybe(sql, args![]).await;
        row.expect("reads")
            .expect("a row")
            .get(0)
            .expect("a number")
    }

    /// A job in this state with one output: job, dataset and HDA have the same id.
    async fn job(&self, id: i64, state: &str, invocation: Option<i64>) {
        let (user, history) = (self.user, self.history);
        let invocation = invocation.map_or("NULL".to_owned(), |id| id.to_string());
        self.run(&[
            format!("INSERT INTO dataset (id, uuid, state, create_time, update_time) VALUES ({id}, 'd{id}', '{state}', 1, 1)"),
            format!("INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, create_time, update_time)
                     VALUES ({id}, {history}, {id}, {id}, 'n', 'txt', 1, 1)"),
            format!("INSERT INTO job (id, uuid, user_id, history_id, workflow_invocation_id, handler, tool_id, state, create_time, update_time)
                     VALUES ({id}, 'j{id}', {user}, {history}, {invocation}, 'main', 't', '{state}', 1, 1)"),
            format!("INSERT INTO job_to_output_dataset (job_id, hda_id, name) VALUES ({id}, {id}, 'out')"),
        ])
        .await;
    }

    async fn invocation(&self, state: &str) -> i64 {
        let mut tx = self.stores[0].begin().await.expect("begins");
        let id = self.stores[0]
            .ids
            .invocations(&mut tx, 1)
            .await
            .expect("an id")[0];
        let workflow = self.stores[0]
            .ids
            .workflows(&mut tx, 1)
            .await
            .expect("an id")[0];
        tx.run(
            "INSERT INTO workflow (id, uuid, name, create_time, update_time) VALUES ($1, $2, 'w', 1, 1)",
            args![workflow, uuid::Uuid::new_v4()],
        )
        .await
        .expect("a workflow");
        tx.run(
            "INSERT INTO workflow_invocation (id, uuid, workflow_id, history_id, user_id, state, handler, create_time, update_time)
             VALUES ($1, $2, $3, $4, $5, $6, 'main', 1, 1)",
            args![id, uuid::Uuid::new_v4(), workflow, self.history, self.user, state],
        )
        .await
        .expect("an invocation");
        tx.commit(Durability::Progress, "test")
            .await
            .expect("commits");
        id
    }
}

/// The end of a job made by [`Rivals::job`].
fn end(id: i64) -> JobEnd {
    JobEnd {
        job_id: id,
        state: JobState::Ok,
        exit_code: Some(0),
        stdout: "a NUL \0 in the middle".into(),
        stderr: String::new(),
        info: None,
        started_ms: Some(1),
        ended_ms: 2,
        external_id: None,
        outputs: vec![OutputEnd {
            hda_id: id,
            dataset_id: id,
            state: DatasetState::Ok,
            file: FileFacts {
                extension: "txt".into(),
                ..FileFacts::default()
            },
            visible: true,
            info: None,
            share: None,
        }],
        collections: Vec::new(),
        extra: Vec::new(),
        actions: Vec::new(),
    }
}

const ROUNDS: i64 = 20;

fn hids_have_no_gaps_and_no_repeats() {
    run(async || {
        let rivals = Rivals::open().await;
        let history = rivals.history;
        let tasks = (0..8).map(|n| {
            let store = rivals.stores[n % 2].clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for round in 0..20 {
                    let count = 1 + (n + round) % 3;
                    let mut tx = store.begin().await.expect("begins");
                    let first = histories::allocate_hids(&mut tx, history, count, 2).await;
                    let first = first.expect("hids");
                    // One in five is undone, and leaves no gap.
                    if round % 5 == 4 {
                        continue;
                    }
                    tx.commit(Durability::Progress, "test")
                        .await
                        .expect("commits");
                    taken.extend(first..first + count as i64);
                }
                taken
            })
        });
        let mut all = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            all.extend(task.await.expect("ends"));
        }
        all.sort_unstable();
        let expected: Vec<i64> = (1..=all.len() as i64).collect();
        assert_eq!(all, expected);
    });
}

fn a_job_that_waits_for_two_is_released_once() {
    run(async || {
        let rivals = Rivals::open().await;
        for round in 0..ROUNDS {
            let (one, two, waiting) = (10 * round + 1, 10 * round + 2, 10 * round + 3);
            for id in [one, two] {
                rivals.job(id, "running", None).await;
            }
            rivals.job(waiting, "new", None).await;
            rivals
                .run(&[one, two].map(|d| {
                    format!("INSERT INTO job_wait (job_id, dataset_id) VALUES ({waiting}, {d})")
                }))
                .await;
            let [a, b] = &rivals.stores;
            let (a, b) = tokio::join!(settle(a, vec![end(one)], 3), settle(b, vec![end(two)], 3));
            let mut ready = a.expect("settles").ready;
            ready.extend(b.expect("settles").ready);
            let ready: Vec<i64> = ready.iter().map(|job| job.id).collect();
            assert_eq!(ready, [waiting]);
        }
    });
}

fn an_end_that_two_report_is_stored_once() {
    run(async || {
        let rivals = Rivals::open().await;
        for id in 1..=ROUNDS {
            rivals.job(id, "running", None).await;
            let [a, b] = &rivals.stores;
            let (a, b) = tokio::join!(settle(a, vec![end(id)], 3), settle(b, vec![end(id)], 3));
            a.expect("settles");
            b.expect("settles");
            let ends = format!(
                "SELECT COUNT(*) FROM job_state_history WHERE job_id = {id} AND state = 'ok'"
            );
            assert_eq!(rivals.number(&ends).await, 1);
        }
    });
}

fn the_last_jobs_of_an_invocation_signal_it() {
    run(async || {
        let rivals = Rivals::open().await;
        for round in 0..ROUNDS {
            let invocation = rivals.invocation("scheduled").await;
            let (one, two) = (2 * round + 1, 2 * round + 2);
            for id in [one, two] {
                rivals.job(id, "running", Some(invocation)).await;
            }
            let [a, b] = &rivals.stores;
            let (a, b) = tokio::join!(settle(a, vec![end(one)], 3), settle(b, vec![end(two)], 3));
            a.expect("settles");
            b.expect("settles");
            let count =
                format!("SELECT signal_count FROM workflow_invocation WHERE id = {invocation}");
            assert!(rivals.number(&count).await > 1, "round {round}");
        }
    });
}

fn a_signal_is_answered_by_one_of_two() {
    run(async || {
        let rivals = Rivals::open().await;
        for _ in 0..ROUNDS {
            let id = rivals.invocation("ready").await;
            let loaded = head(&mut rivals.stores[0].reader(), id).await;
            let loaded = loaded.expect("reads").expect("is there");
            assert_eq!(loaded.state, InvocationState::Ready);
            let nothing = Outcome {
                writes: Writes::default(),
                event: None,
            };
            let [a, b] = &rivals.stores;
            let (a, b) = tokio::join!(
                commit_iteration(a, &loaded, "main", "main", &nothing, 2),
                commit_iteration(b, &loaded, "main", "main", &nothing, 2)
            );
            let stored = [a.expect("commits"), b.expect("commits")];
            let stale = stored.iter().filter(|s| **s == Stored::Stale).count();
            assert_eq!(stale, 1, "{stored:?}");
        }
    });
}

fn a_new_job_never_waits_for_what_ended_meanwhile() {
    run(async || {
        let rivals = Rivals::open().await;
        let owner = Owner {
            user_id: rivals.user,
            history_id: rivals.history,
            scheduler: None,
            handler: "main".into(),
        };
        for id in 1..=ROUNDS {
            rivals.job(id, "running", None).await;
            let [a, b] = &rivals.stores;
            let mut writes = Writes::default();
            let job = b.ids.job();
            writes.jobs.push(NewJob {
                id: job,
                uuid: uuid::Uuid::new_v4(),
                invocation_id: None,
                tool_id: "t".into(),
                tool_version: "1".into(),
                dynamic_tool_id: None,
                state: JobState::New,
                params: serde_json::json!({"n": 1}),
                inputs: vec![JobInput {
                    name: "i".into(),
                    hda_id: id,
                    dataset_id: id,
                    element_identifier: None,
                }],
                input_collections: vec![],
                outputs: vec![],
                output_collections: vec![],
                post_job_action_ids: vec![],
                cores: 1,
                memory_mb: 0,
                use_cached: false,
                copied_from: None,
                structure: None,
            });
            let insert = async {
                let mut tx = b.begin().await?;
                let place = reserve(&mut tx, &owner, &writes, 2).await?;
                insert_objects(&mut tx, &owner, &writes, place.as_ref(), 2).await?;
                // As long as a larger iteration would take.
                tokio::time::sleep(std::time::Duration::from_millis(id as u64 % 4)).await;
                tx.commit(Durability::Progress, "test").await
            };
            let (settled, inserted) = tokio::join!(settle(a, vec![end(id)], 3), insert);
            settled.expect("settles");
            inserted.expect("inserts");
            let ready =
                format!("SELECT COUNT(*) FROM job WHERE id = {job} AND ready_time IS NOT NULL");
            assert_eq!(rivals.number(&ready).await, 1, "round {id}");
        }
    });
}

fn ids_of_two_servers_differ_and_those_of_histories_grow() {
    run(async || {
        let rivals = Rivals::open().await;
        let mut seen = BTreeSet::new();
        let mut last = 0;
        for n in 0..200 {
            let store = &rivals.stores[n % 2];
            assert!(seen.insert(store.ids.job()));
            let mut tx = store.begin().await.expect("begins");
            let history = store.ids.history(&mut tx).await.expect("an id");
            assert!(history > last);
            last = history;
        }
        // A block of job ids is used for a second, so that they grow as well.
        let [a, b] = &rivals.stores;
        let before = a.ids.job().max(b.ids.job());
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        for store in [a, b] {
            store.ids.before_jobs().await;
            assert!(store.ids.job() > before);
        }
    });
}

fn sequences_are_moved_behind_rows_from_elsewhere() {
    run(async || {
        let rivals = Rivals::open().await;
        let far = 5_000_000_000;
        rivals.job(far, "ok", None).await;
        rivals.run(&["INSERT INTO galaxy_user (id, username, email, create_time, update_time) VALUES (77, 'x', 'x', 1, 1)".into()]).await;
        crate::store::ids::move_sequences(&rivals.stores[0].db)
            .await
            .expect("moves");
        assert_eq!(add_user(&rivals.stores[0], "bob").await, 78);
        let fresh = TestStore::open_again(&rivals._database).await;
        assert!(fresh.ids.job() > far && fresh.ids.hda() > far && fresh.ids.dataset() > far);
    });
}

fn a_lost_connection_is_told_from_a_refusal_and_replaced() {
    run(async || {
        let rivals = Rivals::open().await;
        let store = &rivals.stores[0];
        let mut open = store.begin().await.expect("begins");
        let others = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(rivals.number(others).await > 0);
        let lost = open.run("UPDATE history SET name = 'x'", args![]).await;
        let lost = lost.expect_err("its connection is gone");
        assert!(lost.is_unavailable() && !lost.is_constraint(), "{lost:?}");
        let undone = open.commit(Durability::Progress, "test").await;
        assert!(matches!(undone, Err(StoreError::Undone)));
        // Whatever the pool held is replaced without anybody noticing.
        store.ping().await.expect("the database is back");
        let mut tx = store.begin().await.expect("begins again");
        let twice = "INSERT INTO galaxy_user (username, email, create_time, update_time) VALUES ('ada', 'a', 1, 1)";
        let refused = tx.run(twice, args![]).await.expect_err("the name is taken");
        assert!(refused.is_constraint() && !refused.is_unavailable());
    });
}

fn a_pool_without_a_free_connection_says_so() {
    run(async || {
        let database = TestDatabase::fresh();
        let url = database.url().parse().expect("a URL");
        let limits = crate::store::Limits {
            readers: 1,
            writers: 1,
            acquire_timeout: std::time::Duration::from_millis(300),
        };
        let store = Store::open_with(&url, &limits).await.expect("opens");
        let _held = store.begin().await.expect("begins");
        let Err(error) = store.begin().await else {
            panic!("there is one connection");
        };
        assert!(error.is_unavailable());
        assert_eq!(
            error.to_string(),
            "no connection to the database within 0.3 s"
        );
    });
}

fn the_last_readers_of_an_intermediate_delete_it_though_they_end_together() {
    run(async || {
        let rivals = Rivals::open().await;
        let action = EndAction {
            action_type: "DeleteIntermediatesAction".into(),
            output_name: "out".into(),
            arguments: serde_json::Value::Null,
        };
        for round in 0..ROUNDS {
            let invocation = rivals.invocation("scheduled").await;
            let workflow =
                format!("SELECT workflow_id FROM workflow_invocation WHERE id = {invocation}");
            let workflow = rivals.number(&workflow).await;
            let made = 3 * round + 1;
            let readers = [made + 1, made + 2];
            rivals.job(made, "ok", Some(invocation)).await;
            for id in readers {
                rivals.job(id, "running", Some(invocation)).await;
            }
            // The steps have the ids of their jobs; only the first has a result of the workflow.
            let mut setup = Vec::new();
            for id in [made, readers[0], readers[1]] {
                setup.push(format!("INSERT INTO workflow_step (id, workflow_id, type, order_index) VALUES ({id}, {workflow}, 'tool', {id})"));
                setup.push(format!(
                    "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, job_id, create_time, update_time)
                     VALUES ({id}, {invocation}, {id}, {id}, 'scheduled', {id}, 1, 1)"
                ));
            }
            setup.push(format!("INSERT INTO workflow_output (id, workflow_step_id, output_name) VALUES ({made}, {made}, 'other')"));
            for id in readers {
                setup.push(format!("INSERT INTO job_to_input_dataset (job_id, hda_id, name) VALUES ({id}, {made}, 'i')"));
                setup.push(format!("INSERT INTO post_job_action (id, workflow_step_id, action_type) VALUES ({id}, {id}, 'DeleteIntermediatesAction')"));
                setup.push(format!("INSERT INTO post_job_action_association (job_id, post_job_action_id) VALUES ({id}, {id})"));
            }
            rivals.run(&setup).await;
            let [one, two] = readers.map(|id| JobEnd {
                actions: vec![action.clone()],
                ..end(id)
            });
            let [a, b] = &rivals.stores;
            let (a, b) = tokio::join!(settle(a, vec![one], 3), settle(b, vec![two], 3));
            a.expect("settles");
            b.expect("settles");
            let deleted = format!(
                "SELECT COUNT(*) FROM history_dataset_association WHERE id = {made} AND deleted"
            );
            assert_eq!(rivals.number(&deleted).await, 1, "round {round}");
        }
    });
}

fn of_two_starts_that_find_the_holder_of_a_name_dead_one_enters() {
    run(async || {
        let rivals = Rivals::open().await;
        for round in 0..ROUNDS {
            let peer = Peer {
                name: format!("p{round}"),
                roles: Roles::ALL,
                tags: Vec::new(),
            };
            let newcomer = Newcomer {
                peer: &peer,
                hostname: "here",
                pid: 1,
                machine: "m",
                version: "1",
                lease_ms: 60_000,
            };
            let [a, b] = &rivals.stores;
            // Nobody has it yet: one of two, and nobody after that.
            let (one, two) = tokio::join!(enter(a, &newcomer, None), enter(b, &newcomer, None));
            let mut entered = vec![one.expect("asks"), two.expect("asks")];
            entered.sort_unstable();
            assert_eq!(entered, [None, Some(1)]);
            // Both know that its holder is dead.
            let (one, two) =
                tokio::join!(enter(a, &newcomer, Some(1)), enter(b, &newcomer, Some(1)));
            let mut entered = vec![one.expect("asks"), two.expect("asks")];
            entered.sort_unstable();
            assert_eq!(entered, [None, Some(2)]);
        }
    });
}

on_postgres_too!(
    hids_have_no_gaps_and_no_repeats,
    a_job_that_waits_for_two_is_released_once,
    an_end_that_two_report_is_stored_once,
    the_last_jobs_of_an_invocation_signal_it,
    a_signal_is_answered_by_one_of_two,
    a_new_job_never_waits_for_what_ended_meanwhile,
    the_last_readers_of_an_intermediate_delete_it_though_they_end_together,
    of_two_starts_that_find_the_holder_of_a_name_dead_one_enters,
    ids_of_two_servers_differ_and_those_of_histories_grow,
    sequences_are_moved_behind_rows_from_elsewhere,
    a_lost_connection_is_told_from_a_refusal_and_replaced,
    a_pool_without_a_free_connection_says_so,
);
