//! A machine on which no process for scripts can be started, for a while: what needs one waits and says so, and fails by
//! nothing that is not its own fault. All of this test's process has one program and one pool of processes, so there is one test.

use std::time::{Duration, Instant};

use barycenter::args;
use barycenter::program::use_program;
use barycenter::store::Query;
use serde_json::json;

#[path = "../src/store/testing/databases.rs"]
#[allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with other tests"
)]
mod databases;
#[path = "../src/store/testing/given.rs"]
mod given;
#[path = "engine/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;
use world::*;

mod semantics {
    pub const TOOLS: [&str; 2] = [
        r#"
class: GalaxyTool
id: sum
version: "1"
name: Say a sum
shell_command: "echo $(inputs.n + 1) > out.txt"
inputs:
  - {name: n, type: integer, value: 2}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
        r#"
class: GalaxyTool
id: twice
version: "1"
name: Twice as much
expression: "return {out: $job.n * 2};"
inputs:
  - {name: n, type: integer, value: 2}
outputs:
  - {name: out, type: integer, from: out}
"#,
    ];
}

async fn holds(world: &World, id: i64) -> Vec<(i64, String)> {
    let rows = world
        .store
        .reader()
        .all(
            "SELECT order_index, code FROM workflow_invocation_hold WHERE workflow_invocation_id = $1 ORDER BY order_index",
            args![id],
        )
        .await
        .expect("reads");
    rows.iter()
        .map(|row| (row.get(0).expect("a place"), row.get(1).expect("a code")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_cannot_be_evaluated_wait_and_fail_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("barycenter");
    let link = || {
        let there = env!("CARGO_BIN_EXE_barycenter");
        std::os::unix::fs::symlink(there, &program).expect("linked");
    };
    // The plugins that come with the server are known by being beside its program.
    link();
    use_program(program.clone());
    let world = World::new().await;
    std::fs::remove_file(&program).expect("removed");
    let input = world.dataset("x\n").await;
    let mut conditional = step(3, "tool", Some("copy"), &[("input", 0, "output")]);
    conditional["when"] = json!("$(1 + 1 == 2)");
    let id = world
        .invoke(
            steps(vec![
                step(0, "data_input", None, &[]),
                step(1, "tool", Some("sum"), &[]),
                step(2, "tool", Some("twice"), &[]),
                conditional,
                step(4, "tool", Some("copy"), &[("input", 0, "output")]),
            ]),
            &[(0, "hda", input)],
        )
        .await;
    let away = |what: i64| (what, "javascript_away".to_owned());
    let deadline = Instant::now() + Duration::from_secs(60);
    while holds(&world, id).await != [away(-2), away(3)]
        || world.jobs(id).await != ["new", "new", "ok"]
    {
        assert!(
            Instant::now() < deadline,
            "{} {:?} {:?}",
            world.state(id).await,
            holds(&world, id).await,
            world.ends().await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Long enough for it to be tried again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(holds(&world, id).await, [away(-2), away(3)]);
    assert_eq!(world.jobs(id).await, ["new", "new", "ok"]);
    assert_eq!(world.state(id).await, "ready");
    link();
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok"; 4]);
    assert_eq!(holds(&world, id).await, []);
    let mut outputs = world.outputs(id).await;
    outputs.sort();
    assert_eq!(
        outputs,
        [
            "Copy a dataset on data 1: x\ncopied\n",
            "Copy a dataset on data 1: x\ncopied\n",
            "Say a sum: 3\n",
            "Twice as much: 4",
        ]
    );
}
