use serde_json::json;

use super::*;
use crate::args;
use crate::model::workflow::*;
use crate::store::db::Durability;
use crate::store::testing::{TestStore, add_user, plan};

fn rich() -> WorkflowDescription {
    let inner = WorkflowDescription {
        name: "inner".into(),
        steps: vec![step(0, "data_input"), step(1, "tool")],
        ..Default::default()
    };
    let mut steps = vec![
        step(0, "data_input"),
        step(1, "subworkflow"),
        step(2, "tool"),
    ];
    steps[1].subworkflow = Some(Box::new(inner));
    steps[1].inputs.push(StepInput {
        name: "0:reads".into(),
        connections: vec![Connection {
            output_step: 0,
            output_name: "output".into(),
            input_subworkflow_step: Some(0),
        }],
        ..Default::default()
    });
    steps[2].tool_id = Some("cat1".into());
    steps[2].tool_errors = Some(json!({"a": 1}));
    steps[2].tool_shed_repository = Some(json!({"name": "cat"}));
    steps[2].declared_outputs = vec![DeclaredOutput {
        name: "out_file1".into(),
        output_type: "input".into(),
    }];
    steps[2].inputs = vec![
        StepInput {
            name: "b".into(),
            connections: [1, 0]
                .map(|output_step| Connection {
                    output_step,
                    output_name: "x".into(),
                    input_subworkflow_step: None,
                })
                .to_vec(),
            ..Default::default()
        },
        StepInput {
            name: "a".into(),
            default_value: Some(json!(null)),
            default_value_set: true,
            ..Default::default()
        },
    ];
    steps[2].workflow_outputs = vec![WorkflowOutput {
        output_name: "out_file1".into(),
        label: Some("result".into()),
        uuid: Some(uuid::Uuid::from_u128(7)),
    }];
    steps[2].post_job_actions = vec![PostJobAction {
        action_type: "HideDatasetAction".into(),
        output_name: None,
        action_arguments: json!({}),
    }];
    WorkflowDescription {
        name: "outer".into(),
        annotation: Some("why".into()),
        tags: vec!["a".into(), "b:c".into()],
        creator: Some(json!([{"class": "Person"}])),
        doi: vec!["10.1/x".into()],
        comments: vec![Comment {
            id: 3,
            comment_type: "frame".into(),
            data: json!({"title": "t"}),
            child_steps: vec![0, 2],
            ..Default::default()
        }],
        steps,
        ..Default::default()
    }
}

fn step(order_index: usize, step_type: &str) -> StepDescription {
    StepDescription {
        order_index,
        step_type: step_type.into(),
        tool_inputs: json!({"n": order_index}),
        uuid: Some(uuid::Uuid::new_v4()),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_is_saved_is_what_is_loaded() {
    let (store, _dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut description = rich();
    let mut tx = store.begin().await.unwrap();
    let (stored, revision) =
        create_stored_workflow(&mut tx, &store.ids, user, &description, None, 5)
            .await
            .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();

    let mut reader = store.reader();
    let loaded = load_revision(&mut reader, revision).await.unwrap().unwrap();
    description.uuid = Some(loaded.uuid);
    let inner = description.steps[1].subworkflow.as_mut().unwrap();
    inner.uuid = Some(loaded.subrevisions[&1].uuid);
    assert_eq!(loaded.description, description);
    assert_eq!(loaded.stored_workflow_id, Some(stored));
    assert_eq!(loaded.total_steps(), 5);
    assert_eq!(loaded.post_job_action_ids[2].len(), 1);
    assert!(
        loaded
            .workflow_output_ids
            .contains_key(&(2, "out_file1".into()))
    );
    assert_eq!(loaded.order_index_of(loaded.step_ids[2]), Some(2));
    assert!(load_revision(&mut reader, 999).await.unwrap().is_none());

    let found = by_revision(&mut reader, loaded.subrevisions[&1].id)
        .await
        .unwrap();
    assert_eq!(found.unwrap().id, stored);
}

#[tokio::test]
async fn twenty_thousand_steps_take_a_fraction_of_a_second_and_few_queries() {
    let (store, _dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut steps: Vec<StepDescription> = (0..20_000).map(|n| step(n, "tool")).collect();
    for (n, step) in steps.iter_mut().enumerate().skip(1) {
        step.inputs.push(StepInput {
            name: "input".into(),
            connections: vec![Connection {
                output_step: n - 1,
                output_name: "out".into(),
                input_subworkflow_step: None,
            }],
            ..Default::default()
        });
    }
    let description = WorkflowDescription {
        name: "long".into(),
        steps,
        ..Default::default()
    };
    let started = std::time::Instant::now();
    let mut tx = store.begin().await.unwrap();
    let (_, revision) = create_stored_workflow(&mut tx, &store.ids, user, &description, None, 5)
        .await
        .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    eprintln!("saved 20,000 steps in {:?}", started.elapsed());

    let before = store.db.statements();
    let started = std::time::Instant::now();
    let loaded = load_revision(&mut store.reader(), revision).await.unwrap();
    eprintln!("loaded 20,000 steps in {:?}", started.elapsed());
    assert_eq!(loaded.unwrap().description.steps, description.steps);
    assert_eq!(store.db.statements() - before, 7);
}

#[tokio::test]
async fn a_list_shows_ones_own_and_what_is_shared_or_published() {
    let (store, _dir) = TestStore::open().await;
    let ada = add_user(&store, "ada").await;
    let bob = add_user(&store, "bob").await;
    let mut tx = store.begin().await.unwrap();
    let mut made = Vec::new();
    for (owner, name) in [
        (ada, "b"),
        (ada, "a 100%"),
        (bob, "shared"),
        (bob, "public"),
        (bob, "own"),
    ] {
        let description = WorkflowDescription {
            name: name.into(),
            ..Default::default()
        };
        made.push(
            create_stored_workflow(
                &mut tx,
                &store.ids,
                owner,
                &description,
                None,
                made.len() as i64,
            )
            .await
            .unwrap()
            .0,
        );
    }
    share_with(&mut tx, made[2], &[ada]).await.unwrap();
    let published = Attributes {
        published: Some(true),
        ..Default::default()
    };
    set_attributes(&mut tx, made[3], &published, 9)
        .await
        .unwrap();
    let gone = Attributes {
        deleted: Some(true),
        ..Default::default()
    };
    set_attributes(&mut tx, made[0], &gone, 9).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();

    let names = async |query: ListQuery| -> Vec<String> {
        let listed = list(&mut store.reader(), &query).await.unwrap();
        listed.workflows.into_iter().map(|w| w.name).collect()
    };
    let mine = ListQuery {
        user_id: Some(ada),
        ..Default::default()
    };
    assert_eq!(names(mine.clone()).await, ["a 100%"]);
    let all = ListQuery {
        show_published: true,
        show_shared: true,
        ..mine.clone()
    };
    assert_eq!(names(all.clone()).await, ["a 100%", "public", "shared"]);
    let deleted = ListQuery {
        show_deleted: true,
        ..mine.clone()
    };
    assert_eq!(names(deleted).await, ["b"]);
    for (search, expected) in [
        ("0%", vec!["a 100%"]),
        ("user:bob", vec!["public", "shared"]),
        ("is:published", vec!["public"]),
        ("is:nonsense", vec![]),
        ("name:'a 1'", vec!["a 100%"]),
        ("_", vec![]),
    ] {
        let search = Some(search.to_owned());
        assert_eq!(
            names(ListQuery {
                search,
                ..all.clone()
            })
            .await,
            expected
        );
    }
    let page = ListQuery {
        limit: Some(1),
        offset: 1,
        sort_by: Some(SortBy::CreateTime),
        sort_desc: true,
        ..all
    };
    let listed = list(&mut store.reader(), &page).await.unwrap();
    assert_eq!(
        (listed.workflows[0].name.as_str(), listed.total_matches),
        ("shared", 3)
    );
}

#[tokio::test]
async fn the_cache_keeps_as_many_steps_as_it_may() {
    let (store, _dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut tx = store.begin().await.unwrap();
    let mut revisions = Vec::new();
    for _ in 0..3 {
        let made = create_stored_workflow(&mut tx, &store.ids, user, &rich(), None, 5).await;
        revisions.push(made.unwrap().1);
    }
    tx.commit(Durability::Progress, "test").await.unwrap();

    let cache = RevisionCache::new(12);
    let mut reader = store.reader();
    let mut get = async |id: i64| {
        let before = store.db.statements();
        cache.get(&mut reader, id).await.unwrap().unwrap();
        store.db.statements() > before
    };
    assert!(get(revisions[0]).await);
    assert!(get(revisions[1]).await);
    assert!(!get(revisions[0]).await);
    assert!(get(revisions[2]).await, "was never loaded");
    assert!(!get(revisions[0]).await, "was used after the other");
    assert!(get(revisions[1]).await, "was dropped for the third");
}

#[tokio::test]
async fn versions_count_from_zero_and_every_query_uses_an_index() {
    let (store, _dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut tx = store.begin().await.unwrap();
    let (stored, first) = create_stored_workflow(&mut tx, &store.ids, user, &rich(), None, 5)
        .await
        .unwrap();
    let second = add_revision(&mut tx, &store.ids, stored, &rich(), 6)
        .await
        .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();

    let mut reader = store.reader();
    let found = versions(&mut reader, stored).await.unwrap();
    let ids: Vec<_> = found
        .iter()
        .map(|v| (v.version, v.workflow_id, v.steps))
        .collect();
    assert_eq!(ids, [(0, first, 3), (1, second, 3)]);
    assert_eq!(
        revision_at(&mut reader, stored, 1).await.unwrap(),
        Some(second)
    );
    assert_eq!(revision_at(&mut reader, stored, 2).await.unwrap(), None);
    let row = by_id(&mut reader, stored).await.unwrap().unwrap();
    assert_eq!(
        (row.latest_workflow_id, row.owner.as_str()),
        (second, "ada")
    );

    for sql in [
        "SELECT i.state, COUNT(*) AS n FROM workflow r JOIN workflow_invocation i ON i.workflow_id = r.id WHERE r.stored_workflow_id = $1 GROUP BY i.state",
        "SELECT x.* FROM workflow_step s JOIN workflow_output x ON x.workflow_step_id = s.id WHERE s.workflow_id IN ($1) ORDER BY x.id",
    ] {
        for line in plan(&store, sql, args![stored]).await {
            assert!(
                !line.starts_with("SCAN") && !line.contains("Seq Scan on"),
                "{line}"
            );
        }
    }
}

crate::store::testing::on_postgres_too!(
    what_is_saved_is_what_is_loaded,
    twenty_thousand_steps_take_a_fraction_of_a_second_and_few_queries,
    a_list_shows_ones_own_and_what_is_shared_or_published,
    the_cache_keeps_as_many_steps_as_it_may,
    versions_count_from_zero_and_every_query_uses_an_index,
);
