//! Tools that are mapped over collections.

use super::*;

fn names(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

fn texts(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(_, text)| text.as_str()).collect()
}

/// The one datasets of the leaves of a step's collection, whatever its depth: with all identifiers on the way.
async fn leaves(world: &World, collection: i64) -> Vec<(String, String)> {
    let root = "SELECT '', collection_id FROM history_dataset_collection_association WHERE id = $1";
    let mut level = world.rows(root, collection).await;
    let mut found = Vec::new();
    while let Some((path, id)) = level.pop() {
        let elements = world
            .store
            .reader()
            .all(
                "SELECT element_identifier, hda_id, child_collection_id FROM dataset_collection_element
                 WHERE dataset_collection_id = $1 ORDER BY element_index",
                args![id],
            )
            .await
            .expect("reads");
        let mut inner = Vec::new();
        for row in elements {
            let name: String = row.get(0).expect("text");
            let path = format!("{path}/{name}");
            match (
                row.get::<Option<i64>>(1).expect("id"),
                row.get::<Option<i64>>(2).expect("id"),
            ) {
                (Some(hda), _) => found.push((path, content(world, hda).await.0)),
                (_, child) => inner.push((path, child.expect("one of both"))),
            }
        }
        level.extend(inner.into_iter().rev());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_dataset_input_is_mapped_over_the_whole_tree() {
    let world = World::new().await;
    let input = world
        .pairs(&[("s1", "a\n", "b\n"), ("s2", "c\n", "d\n")])
        .await;
    let id = completed_on(
        &world,
        collection(0, "list:paired"),
        input,
        vec![
            copy(1, 0, "output"),
            step(2, "tool", Some("pair"), &[("pair", 1, "out")]),
        ],
    )
    .await;
    let (kind, made) = collection_of(&world, id, 1, "out").await;
    assert_eq!(kind, "list:paired");
    let found = leaves(&world, made).await;
    assert_eq!(
        names(&found),
        ["/s1/forward", "/s1/reverse", "/s2/forward", "/s2/reverse"]
    );
    // A pair out of a list of pairs is one job, and the slices are numbered in the order of the walk.
    assert_eq!(collection_of(&world, id, 2, "out").await.0, "list");
    let pairs = written(&world, id, 2, "out").await;
    assert_eq!(names(&pairs), ["s1", "s2"]);
    assert_eq!(pairs[1].1, "c\ncopied\nd\ncopied\n");
    let order = world
        .rows(
            "SELECT a.name, g.order_index FROM implicit_collection_jobs_job_association g JOIN job_to_output_dataset o ON o.job_id = g.job_id
             JOIN history_dataset_association a ON a.id = o.hda_id JOIN job j ON j.id = g.job_id
             WHERE j.workflow_invocation_id = $1 AND j.tool_id = 'copy' ORDER BY a.id",
            id,
        )
        .await;
    assert_eq!(
        order.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiple_input_takes_a_list_whole_and_is_mapped_over_a_list_of_lists() {
    let world = World::new().await;
    let flat = world.list(&["a\n", "b\n"]).await;
    let inner = |texts: [&'static str; 2]| {
        let of = [("x", texts[0]), ("y", texts[1])].map(|(n, t)| (n, Node::Dataset(t)));
        Node::Inner("list", of.into())
    };
    let nested = vec![("o1", inner(["c\n", "d\n"])), ("o2", inner(["e\n", "f\n"]))];
    let nested = world.collection("list:list", nested).await;
    let workflow = |kind| {
        steps(vec![
            collection(0, kind),
            step(1, "tool", Some("concat"), &[("inputs", 0, "output")]),
        ])
    };
    let id = world.invoke(workflow("list"), &[(0, "hdca", flat)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 1, "out").await, "a\nb\n");
    let id = world
        .invoke(workflow("list:list"), &[(0, "hdca", nested)])
        .await;
    world.wait_for(id, "completed").await;
    let found = written(&world, id, 1, "out").await;
    assert_eq!(
        (names(&found), texts(&found)),
        (vec!["o1", "o2"], vec!["c\nd\n", "e\nf\n"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_or_an_unpaired_one_is_taken_from_a_list_of_either() {
    let world = World::new().await;
    let workflow = |kind| {
        steps(vec![
            collection(0, kind),
            step(1, "tool", Some("either"), &[("reads", 0, "output")]),
        ])
    };
    let flat = world.list(&["a\n", "b\n"]).await;
    let id = world.invoke(workflow("list"), &[(0, "hdca", flat)]).await;
    world.wait_for(id, "completed").await;
    let found = written(&world, id, 1, "out").await;
    assert_eq!(texts(&found), ["e0 unpaired\n", "e1 unpaired\n"]);
    let pairs = world.pairs(&[("s1", "a\n", "b\n")]).await;
    let id = world
        .invoke(workflow("list:paired"), &[(0, "hdca", pairs)])
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(collection_of(&world, id, 1, "out").await.0, "list");
    assert!(
        text_of(&world, id, 1, "out")
            .await
            .ends_with("forward reverse\n")
    );
    let ends = vec![
        ("forward", Node::Dataset("a\n")),
        ("reverse", Node::Dataset("b\n")),
    ];
    let pair = world.collection("paired", ends).await;
    let id = world.invoke(workflow("paired"), &[(0, "hdca", pair)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(
        text_of(&world, id, 1, "out").await,
        "nested forward reverse\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_never_mapped_over() {
    let world = World::new().await;
    let of = vec![("a", Node::Dataset("a\n")), ("b", Node::Dataset("b\n"))];
    let record = world.collection("record", of).await;
    let id = on_input(
        &world,
        collection(0, "record"),
        record,
        vec![copy(1, 0, "output")],
    )
    .await;
    world.wait_for(id, "failed").await;
    assert_eq!(said(&world, id).await.reason, "workflow_parameter_invalid");
    assert!(world.jobs(id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mapped_inputs_are_linked_and_the_first_by_name_gives_the_identifiers() {
    let world = World::new().await;
    let left = world.list(&["a\n", "b\n"]).await;
    let named = vec![("x", Node::Dataset("c\n")), ("y", Node::Dataset("d\n"))];
    let right = world.collection("list", named).await;
    let workflow = || {
        steps(vec![
            list(0),
            list(1),
            step(
                2,
                "tool",
                Some("two"),
                &[("b", 0, "output"), ("a", 1, "output")],
            ),
        ])
    };
    let id = world
        .invoke(workflow(), &[(0, "hdca", left), (1, "hdca", right)])
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await.len(), 2, "no cross product");
    let found = written(&world, id, 2, "out").await;
    assert_eq!(
        (names(&found), texts(&found)),
        (vec!["x", "y"], vec!["c\na\n", "d\nb\n"])
    );
    // An output may name the input that its elements are called after.
    assert_eq!(names(&written(&world, id, 2, "also").await), ["e0", "e1"]);
    let longer = world.list(&["a\n", "b\n", "c\n"]).await;
    let id = world
        .invoke(workflow(), &[(0, "hdca", longer), (1, "hdca", right)])
        .await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(said.reason, "unexpected_failure");
    assert!(
        said.details
            .expect("a sentence")
            .starts_with("Cannot match collection types")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_put_out_by_a_mapped_step_becomes_a_list_of_lists() {
    let world = World::new().await;
    let input = world.list(&["a\nb\n", "c\n"]).await;
    let id = completed_on(
        &world,
        list(0),
        input,
        vec![run_on(1, "split", 0, "output"), copy(2, 1, "parts")],
    )
    .await;
    let (kind, made) = collection_of(&world, id, 2, "out").await;
    assert_eq!(kind, "list:list");
    let found = leaves(&world, made).await;
    assert_eq!(names(&found), ["/e0/a", "/e0/b", "/e1/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_take_the_genome_of_the_last_input_that_has_one_and_the_name_says_what_they_are_on()
{
    let world = World::new().await;
    let (a, b) = (world.list(&["a\n"]).await, world.list(&["b\n"]).await);
    let elements = "UPDATE history_dataset_association SET metadata = $2 WHERE id IN
         (SELECT e.hda_id FROM dataset_collection_element e JOIN history_dataset_collection_association c
          ON c.collection_id = e.dataset_collection_id WHERE c.id = $1)";
    world
        .change(elements, args![a, "{\"dbkey\": \"hg19\"}"])
        .await;
    world
        .change(elements, args![b, "{\"dbkey\": \"mm10\"}"])
        .await;
    let id = world
        .invoke(
            steps(vec![
                list(0),
                list(1),
                step(
                    2,
                    "tool",
                    Some("two"),
                    &[("a", 0, "output"), ("b", 1, "output")],
                ),
            ]),
            &[(0, "hdca", a), (1, "hdca", b)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let made = output_of(&world, id, 2, "out").await;
    let metadata = world
        .rows(
            "SELECT metadata, id FROM history_dataset_association WHERE id = $1",
            made,
        )
        .await;
    assert!(metadata[0].0.contains("mm10"), "{metadata:?}");
    let name = "SELECT name, id FROM history_dataset_collection_association WHERE id = $1";
    let made = collection_of(&world, id, 2, "out").await.1;
    let name = world.rows(name, made).await[0].0.clone();
    assert!(
        name.starts_with("Put two datasets together on collection 2"),
        "{name}"
    );
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_single_dataset_input_is_mapped_over_the_whole_tree,
    a_multiple_input_takes_a_list_whole_and_is_mapped_over_a_list_of_lists,
    a_pair_or_an_unpaired_one_is_taken_from_a_list_of_either,
    a_record_is_never_mapped_over,
    mapped_inputs_are_linked_and_the_first_by_name_gives_the_identifiers,
    a_list_put_out_by_a_mapped_step_becomes_a_list_of_lists,
    outputs_take_the_genome_of_the_last_input_that_has_one_and_the_name_says_what_they_are_on,
);
