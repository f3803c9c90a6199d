//! Every label in the sources is in a table: of requests, of a test of the whole way, or of reasons.

use std::collections::BTreeSet;
use std::path::Path;

use super::requests::{DATA, PEOPLE, WORK};

/// The jobs of users that a test of the whole way goes through: `durability.rs` and others.
const ON_THE_WAY: &[(&str, &str)] = &[
    ("iteration", "durability"),
    ("iteration.none", "durability"),
    ("job.dispatch", "durability"),
    ("job.submit", "durability"),
    ("job.started", "durability"),
    ("job.results", "durability"),
    ("job.settle", "durability"),
    ("job.tidy", "durability"),
    ("invocation.look", "durability"),
    ("invocation.complete", "durability"),
    ("invocation.cancelled", "durability"),
    ("fetch.claim", "restarts: fetching"),
    ("fetch.settle", "restarts: fetching"),
    ("fetch.placed", "restarts: fetching"),
    ("invocation.wake", "restarts: waiting for an instant"),
    ("mail.claim", "restarts: mail"),
    ("mail.sent", "restarts: mail"),
    ("lease.claim", "restarts: a passive scheduler"),
    ("lease.adopt", "restarts: a passive scheduler"),
    ("history.next", "restarts: one after the other"),
    ("installation.secret", "restarts: the first start"),
    ("installation.data_dir", "restarts: the first start"),
    ("export.claim", "restarts: an archive"),
    ("export.end", "restarts: an archive"),
    ("hook.claim", "restarts: on completion"),
    ("hook.note", "restarts: on completion"),
    ("hook.settle", "restarts: on completion; hooks"),
];

/// Labels that no crash test goes through, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "user.session",
        "one row, nothing else: a session that was not answered is lost and times out",
    ),
    ("dataset.permissions", "one column of one row"),
    (
        "invocation.age",
        "one transaction; an invocation that is not failed yet is found too old by its next look",
    ),
    (
        "ids",
        "a crash leaves a gap in the numbers; store/ids.rs tests that none is given twice",
    ),
    (
        "job.hold",
        "a text for people, written again with the next plan",
    ),
    (
        "job.put_back",
        "reached when a runner is full: host/tests/simulation.rs dies there in random order",
    ),
    (
        "fetch.renew",
        "moves an instant; a crash before it is a crash without it",
    ),
    (
        "fetch.forget",
        "removes a note whose dataset is gone; found again by the same statement",
    ),
    ("fetch.put_off", "moves an instant and counts an attempt"),
    (
        "tool.request.failed",
        "one row, which tells why nothing was made",
    ),
    (
        "invocation.undo",
        "takes back a request whose data could not be had; what stays is an empty history",
    ),
    ("submission.undo", "the same at the WES door"),
    (
        "scheduler.state",
        "a copy of what the plugin holds, written every few seconds; the last one counts",
    ),
    (
        "lease.extend",
        "moves an instant; suite `passive` has leases that were not extended",
    ),
    (
        "lease.release",
        "a lease that is not given back ends by itself; suite `passive` has those",
    ),
    (
        "handler.enter",
        "one row that says who is there; suite `handlers` kills servers at any moment",
    ),
    ("handler.renew", "moves an instant"),
    ("handler.leave", "a server that did not leave is found lost"),
    ("handler.lost", "found lost again by whoever looks next"),
    (
        "handler.reassign",
        "an administrator's command, one transaction",
    ),
    (
        "handler.grab",
        "what was not taken is nobody's and is taken again",
    ),
    ("handler.grab_jobs", "as handler.grab"),
    ("handler.grab_active", "as handler.grab"),
    (
        "handler.give",
        "what was not given is judged again by whoever has it",
    ),
    (
        "hook.renew",
        "moves an instant; without it another server does the same once more",
    ),
    ("hook.put_off", "moves an instant and counts an attempt"),
    (
        "hook.forget",
        "at start, before anything is taken: the next start forgets the same",
    ),
    (
        "export.renew",
        "moves an instant; a crash before it is a crash without it",
    ),
    (
        "export.forget",
        "at start, before anything is taken: the next start forgets the same",
    ),
    (
        "seed",
        "`admin seed-runs` and `seed-copies`, for benchmarks, on a stopped server",
    ),
];

/// Every label in the sources.
fn in_the_code() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
    let mut waiting = vec![root];
    let mut labels = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(&path).expect("a folder of the sources");
            waiting.extend(inside.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source");
        let source = source
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for start in [
            "Durability::Acknowledged",
            "Durability::Progress",
            "crash::point(",
        ] {
            for after in source.split(start).skip(1) {
                let after = after.trim_start_matches([',', ' ', '\n']);
                let label = after
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                let label = label.filter(|label| !label.starts_with("test"));
                labels.extend(label.map(str::to_owned));
            }
        }
    }
    labels
}

#[test]
fn every_crash_point_has_a_test_or_a_reason() {
    let requests = PEOPLE
        .iter()
        .chain(DATA)
        .chain(WORK)
        .map(|(label, ..)| *label);
    let elsewhere = ON_THE_WAY.iter().chain(LEFT_OUT).map(|(label, _)| *label);
    let known: BTreeSet<String> = requests.chain(elsewhere).map(str::to_owned).collect();
    let code = in_the_code();
    assert!(code.len() > 50, "{code:?}");
    let missing: Vec<_> = code.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "in the code and in no table: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&code).collect();
    assert!(gone.is_empty(), "in a table and not in the code: {gone:?}");
}
