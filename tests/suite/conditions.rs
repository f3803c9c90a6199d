//! Conditions are programs that users write: one that does not end is its owner's trouble and nobody else's.

use barycenter_tests::TestServer;
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
