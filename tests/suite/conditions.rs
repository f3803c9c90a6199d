//! Conditions, and scripts in the commands of tools, are programs that users write: one that does not end is its owner's
//! trouble and nobody else's.

use barycenter_tests::{Setup, TestServer, workflows};
use serde_json::json;

/// Invocations whose condition never ends: together they would take minutes one after the other.
const ENDLESS: usize = 30;

fn workflow(when: &str) -> String {
    format!(
        "class: GalaxyWorkflow\ninputs:\n  data: data\noutputs: {{}}\nsteps:\n  copied:\n    tool_id: copy\n    in: {{input: data}}\n\
         \x20   when: {when:?}\n"
    )
}

#[test]
fn conditions_that_do_not_end_hold_up_their_owner_alone() {
    let server = TestServer::start();
    let bob = server.client();
    let ada = bob.with_key(Some(&server.create_user("bea", false)));
    let history = bob.create_history("endless");
    let data = bob.upload(&history, "data", "x\n");
    // The second is one instruction for the engine, which looks at the clock between instructions only.
    let endless = [
        "$((function () { while (true) {} })())",
        "$(Array.prototype.reverse.call({length: 2 ** 53 - 1}) == 1)",
    ];
    let endless = endless.map(|when| bob.import_yaml(&workflow(when)));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocations: Vec<String> = (0..ENDLESS)
        .map(|n| bob.invoke(&endless[n % endless.len()], &history, &inputs))
        .collect();
    let own = ada.create_history("quick");
    let data = ada.upload(&own, "data", "x\n");
    let quick = ada.import_yaml(&workflow("$(1 + 1 == 2)"));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocation = ada.invoke(&quick, &own, &inputs);
    ada.wait_for_state(&invocation, &["completed"]);
    let state = |id: &String| bob.invocation(id)["state"].clone();
    let waiting = invocations
        .iter()
        .filter(|id| state(id) != "failed")
        .count();
    assert!(waiting > ENDLESS / 2, "only {waiting} still wait");

    // They come to their end one by one, and say why.
    for invocation in &invocations[..2] {
        let failed = bob.wait_for_state(invocation, &["failed"]);
        let message = &failed["messages"][0];
        assert_eq!(message["reason"], "expression_evaluation_failed");
        let details = message["details"].as_str().unwrap_or_default();
        assert!(details.contains("did not finish"), "{failed}");
    }
}

/// A tool whose command is a script that never ends.
const ENDLESS_TOOL: &str = "\
class: GalaxyTool
id: endless
version: '1'
name: endless
shell_command: echo $((function () { while (true) {} })()) > out.txt
inputs:
  - {name: input, type: data}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
";

#[test]
fn scripts_in_commands_that_do_not_end_hold_up_their_owner_alone() {
    let server = Setup::default().tool("endless.yml", ENDLESS_TOOL).start();
    let bob = server.client();
    let ada = bob.with_key(Some(&server.create_user("bea", false)));
    let history = bob.create_history("endless");
    let data = bob.upload(&history, "data", "x\n");
    let endless = bob.import_yaml(
        "class: GalaxyWorkflow\ninputs:\n  data: data\noutputs: {}\nsteps:\n  work:\n    tool_id: endless\n    in: {input: data}\n",
    );
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocations: Vec<String> = (0..ENDLESS)
        .map(|_| bob.invoke(&endless, &history, &inputs))
        .collect();
    let own = ada.create_history("quick");
    let data = ada.upload(&own, "data", "quick\n");
    let quick = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let invocation = ada.invoke(&quick, &own, &inputs);
        let done = ada.wait_for_state(&invocation, &["completed"]);
        assert_eq!(ada.output(&done, "work_out"), "quick\n");
    }
    let took = begun.elapsed();
    // One endless script may take five seconds, and thirty wait.
    assert!(took.as_secs() < 60, "{took:?}");
    let waiting = invocations
        .iter()
        .filter(|id| bob.invocation(id)["state"] != "completed")
        .count();
    assert!(waiting > ENDLESS / 2, "only {waiting} still wait");

    // They come to their end one by one, and say why; what needs no script is not held up behind them.
    let job = bob.wait_for_job(&invocations[0], "work", &["error"]);
    let info = job["info"].as_str().unwrap_or_default();
    assert!(info.contains("did not finish"), "{job:#}");
    let data = bob.upload(&history, "data", "own\n");
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let plain = bob.import_yaml(
        "class: GalaxyWorkflow\ninputs:\n  data: data\noutputs: {}\nsteps:\n  copied:\n    tool_id: copy\n    in: {input: data}\n",
    );
    let invocation = bob.invoke(&plain, &history, &inputs);
    bob.wait_for_state(&invocation, &["completed"]);
}
