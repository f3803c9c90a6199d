//! Scripts in the processes that evaluate them.

use std::process::Command;
use std::time::{Duration, Instant};

use barycenter::javascript::{Failure, Limits, Script, evaluate};
use barycenter::program::use_program;
use serde_json::json;

fn run(source: &str, limits: Limits) -> Result<serde_json::Value, Failure> {
    use_program(env!("CARGO_BIN_EXE_barycenter").into());
    evaluate(&Script {
        source: format!("JSON.stringify({source})"),
        globals: vec![("inputs".into(), json!({"n": 3}).to_string())],
        limits,
    })
}

fn brief() -> Limits {
    Limits {
        time: Duration::from_millis(200),
        ..Limits::default()
    }
}

#[test]
fn a_script_sees_its_globals_and_nothing_of_the_one_before() {
    let limits = Limits::default();
    assert_eq!(
        run("(globalThis.left = inputs.n, left + 1)", limits),
        Ok(json!(4))
    );
    assert_eq!(run("typeof left", limits), Ok(json!("undefined")));
    assert_eq!(run("undefined", limits), Ok(json!(null)));
    assert_eq!(
        run("nothing.at.all", limits),
        Err(Failure::Failed(
            "ReferenceError: nothing is not defined".into()
        ))
    );
}

/// Each of these is one instruction for the engine, or spends its time between few of them.
#[test]
fn what_the_engine_cannot_stop_is_stopped_and_the_next_script_is_answered() {
    for endless in [
        "(() => { while (true) {} })()",
        "Array.prototype.reverse.call({length: 2 ** 53 - 1})",
        "Array.prototype.join.call({length: 2 ** 53 - 1})",
        "Array.prototype.shift.call({length: 2 ** 53 - 1})",
        "String.raw({raw: {length: 2 ** 53 - 1}})",
        "'a'.repeat(2 ** 24).replaceAll('a', 'bb').length",
    ] {
        let begun = Instant::now();
        assert_eq!(run(endless, brief()), Err(Failure::TooSlow), "{endless}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{endless}");
        assert_eq!(run("inputs.n", Limits::default()), Ok(json!(3)));
    }
}

#[test]
fn memory_is_bounded_and_many_may_ask_at_once() {
    let greedy = "(() => { const a = []; while (true) a.push(new Array(1000).fill(7)); })()";
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || match n % 2 {
                0 => assert_eq!(run(greedy, Limits::default()), Err(Failure::TooLarge)),
                _ => assert_eq!(run("inputs.n * 2", Limits::default()), Ok(json!(6))),
            });
        }
    });
}

#[test]
fn a_value_that_nobody_can_read_is_its_authors_trouble() {
    let deep = "(() => { let a = []; for (let i = 0; i < 500; i++) a = [a]; return a; })()";
    let failure = run(deep, Limits::default()).expect_err("deeper than JSON is read");
    assert!(
        matches!(&failure, Failure::Failed(why) if why.contains("not usable")),
        "{failure:?}"
    );
}

/// The process answers on its standard input; whoever starts it by hand gets nothing and no panic.
#[test]
fn started_by_hand_it_ends() {
    let program = Command::new(env!("CARGO_BIN_EXE_barycenter"))
        .arg(barycenter::javascript::COMMAND)
        .output()
        .expect("starts");
    assert!(
        program.stdout.is_empty() && program.stderr.is_empty(),
        "{program:?}"
    );
}
