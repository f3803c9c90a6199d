//! Servers are killed at random moments while people work: nothing that was acknowledged is lost, no command of a job
//! runs twice, nothing is stuck. Checked from outside: through HTTP, and by the marks that the jobs' commands leave.
//!
//! `BARYCENTER_STORM_KILLS` and `BARYCENTER_STORM_INVOCATIONS` make it longer, `BARYCENTER_STORM_SEED` repeats one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barycenter_tests::client::text;
use barycenter_tests::database::is_postgres;
use barycenter_tests::server::Peer;
use barycenter_tests::{Client, Setup, TestServer};
use serde_json::{Value, json};

/// What an invocation is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Three marks in a chain, and two beside it.
    Chain,
    /// A list of four, mapped through two marks.
    Mapped,
    /// A step that fails, and one behind it.
    Failing,
    /// A mark, a review that is approved, a mark.
    Reviewed,
    /// Marks that are cancelled on the way.
    Cancelled,
}

const KINDS: [Kind; 5] = [
    Kind::Chain,
    Kind::Mapped,
    Kind::Failing,
    Kind::Reviewed,
    Kind::Cancelled,
];

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A step that adds a line with its name, its invocation's number and its input's text to the file of marks.
fn step(name: &str, number: usize, marks: &Path, input: &str, then: &str) -> String {
    let script = format!(
        "echo {number} {name} $(head -c 20 $INPUT) >> {}; sleep 0.05; {then}cat $INPUT > out.txt",
        marks.display()
    );
    format!(
        "  {name}:\n    tool_id: script\n    in: {{input: {input}}}\n    state: {{script: {}}}\n",
        Value::from(script)
    )
}

fn workflow(kind: Kind, number: usize, marks: &Path) -> String {
    let input = match kind {
        Kind::Mapped => "{type: collection, collection_type: list}",
        _ => "data",
    };
    let one = |name: &str, input: &str| step(name, number, marks, input, "");
    let steps = match kind {
        Kind::Chain => [
            one("a", "data"),
            one("b", "a/out"),
            one("c", "b/out"),
            one("x", "data"),
            one("y", "data"),
        ]
        .concat(),
        Kind::Mapped => [one("a", "data"), one("b", "a/out")].concat(),
        Kind::Failing => [
            step("a", number, marks, "data", "exit 3; "),
            one("b", "a/out"),
            one("x", "data"),
        ]
        .concat(),
        Kind::Reviewed => [
            one("a", "data"),
            "  review:\n    type: pause\n    in: {input: a/out}\n".to_owned(),
            one("b", "review/output"),
        ]
        .concat(),
        Kind::Cancelled => (0..6)
            .map(|n| match n {
                0 => one("s0", "data"),
                n => one(&format!("s{n}"), &format!("s{}/out", n - 1)),
            })
            .collect(),
    };
    format!("class: GalaxyWorkflow\ninputs:\n  data: {input}\noutputs: {{}}\nsteps:\n{steps}")
}

/// The servers, of which one is always the first that a client tries.
struct Fleet {
    first: TestServer,
    peers: Vec<Peer>,
}

impl Fleet {
    /// A request, sent again to whichever server is there until it is answered.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            for client in self.clients() {
                let headers = [("content-type", "application/json")];
                if let Ok(answer) = client.try_send(method, path, &headers, bytes.as_bytes())
                    && answer.status < 500
                {
                    assert!(answer.status < 300, "{method} {path}: {}", answer.text());
                    return answer.json();
                }
            }
            assert!(Instant::now() < end, "nobody answers {method} {path}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn clients(&self) -> Vec<Client> {
        let mut clients = vec![self.first.client()];
        clients.extend(self.peers.iter().map(|peer| self.first.client_of(peer)));
        clients
    }

    /// Kills one and starts it again after a moment.
    fn kill_one(&mut self, dice: &mut Dice) {
        let which = dice.below(1 + self.peers.len() as u64) as usize;
        let pause = Duration::from_millis(dice.below(150));
        match which.checked_sub(1) {
            None => {
                self.first.kill9();
                std::thread::sleep(pause);
                self.first.restart();
            }
            Some(n) => {
                self.peers[n].kill9();
                std::thread::sleep(pause);
                self.peers[n] = peer(&self.first, n);
            }
        }
    }
}

fn peer(first: &TestServer, n: usize) -> Peer {
    first.peer(&["--name", &format!("peer-{n}")])
}

struct Work {
    kind: Kind,
    id: String,
    ordered: bool,
}

#[test]
fn a_storm_of_kills_loses_nothing_and_runs_nothing_twice() {
    let (kills, count) = (
        number("BARYCENTER_STORM_KILLS", 12),
        number("BARYCENTER_STORM_INVOCATIONS", 15) as usize,
    );
    let seed = number("BARYCENTER_STORM_SEED", 1);
    eprintln!("seed {seed}: {kills} kills, {count} invocations");
    let mut dice = Dice(seed);
    let first = Setup::default()
        .env("BARYCENTER_HANDLER_LEASE_SECONDS", "2")
        .start();
    let marks = first.folder().join("marks");
    let others = if is_postgres() { 3 } else { 0 };
    let peers = (0..others).map(|n| peer(&first, n)).collect();
    let mut fleet = Fleet { first, peers };
    let ada = fleet.first.client();
    let history = ada.create_history("storm");
    let data = ada.upload(&history, "data", "one\n");
    let elements = [
        ("e0", "t0\n"),
        ("e1", "t1\n"),
        ("e2", "t2\n"),
        ("e3", "t3\n"),
    ];
    let list = ada.upload_list(&history, "list", &elements);

    let mut works: Vec<Work> = Vec::new();
    let mut left = kills;
    while works.len() < count || left > 0 {
        if works.len() < count {
            let number = works.len();
            let kind = KINDS[number % KINDS.len()];
            works.push(begin(
                &fleet,
                kind,
                number,
                &marks,
                &history,
                (&data, &list),
            ));
        }
        // Kills fall into the time in which there is work to do.
        let due = kills.saturating_sub(kills * works.len() as u64 / count as u64);
        while left > due || (works.len() == count && left > 0) {
            std::thread::sleep(Duration::from_millis(dice.below(120)));
            fleet.kill_one(&mut dice);
            left -= 1;
            order(&fleet, &mut works);
        }
        order(&fleet, &mut works);
    }
    check(&fleet, &mut works, &marks);
}

/// Imports and invokes. An answer that was lost may have made one: then there is one more, which has to end as well.
fn begin(
    fleet: &Fleet,
    kind: Kind,
    number: usize,
    marks: &Path,
    history: &str,
    (data, list): (&str, &str),
) -> Work {
    let yaml = json!({"yaml_content": workflow(kind, number, marks)});
    let body = json!({"workflow": yaml, "publish": false});
    let made = fleet.ask("POST", "/api/workflows/upload", Some(&body));
    let input = match kind {
        Kind::Mapped => json!({"src": "hdca", "id": list}),
        _ => json!({"src": "hda", "id": data}),
    };
    let request = json!({"history_id": history, "inputs_by": "name", "inputs": {"data": input}});
    let path = format!("/api/workflows/{}/invocations", text(&made, "id"));
    let invoked = fleet.ask("POST", &path, Some(&request));
    Work {
        kind,
        id: text(&invoked, "id"),
        ordered: false,
    }
}

/// What people do meanwhile: they approve what waits for them, and cancel.
fn order(fleet: &Fleet, works: &mut [Work]) {
    for work in works.iter_mut().filter(|work| !work.ordered) {
        let path = format!("/api/invocations/{}", work.id);
        match work.kind {
            Kind::Cancelled => {
                let shown = fleet.ask("GET", &path, None);
                let begun = shown["steps"].as_array().is_some_and(|s| s.len() > 1);
                if begun {
                    fleet.ask("DELETE", &path, None);
                    work.ordered = true;
                }
            }
            Kind::Reviewed => {
                let shown = fleet.ask("GET", &path, None);
                let steps = shown["steps"].as_array().cloned().unwrap_or_default();
                let review = steps
                    .iter()
                    .find(|step| step["workflow_step_label"] == "review");
                if let Some(review) = review {
                    let step = format!("{path}/steps/{}", text(review, "id"));
                    fleet.ask("PUT", &step, Some(&json!({"action": true})));
                    work.ordered = true;
                }
            }
            _ => work.ordered = true,
        }
    }
}

/// Waits for everything to end and compares with what must be.
fn check(fleet: &Fleet, works: &mut [Work], marks: &PathBuf) {
    let end = Instant::now() + Duration::from_secs(300);
    let mut ended: Vec<Value> = Vec::new();
    loop {
        order(fleet, works);
        ended.clear();
        for work in works.iter() {
            let shown = fleet.ask("GET", &format!("/api/invocations/{}", work.id), None);
            let state = shown["state"].as_str().unwrap_or_default().to_owned();
            if matches!(state.as_str(), "completed" | "cancelled" | "failed") {
                ended.push(shown);
            }
        }
        if ended.len() == works.len() {
            break;
        }
        assert!(
            Instant::now() < end,
            "stuck: {:#?}",
            works
                .iter()
                .map(|work| fleet.ask("GET", &format!("/api/invocations/{}", work.id), None))
                .filter(|shown| !ended.iter().any(|done| done["id"] == shown["id"]))
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let made = std::fs::read_to_string(marks).expect("some job ran");
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for line in made.lines() {
        *times.entry(line).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "ran more than once: {twice:?}");
    let mut lost = 0;
    for (number, (work, shown)) in works.iter().zip(&ended).enumerate() {
        let expected = match work.kind {
            Kind::Cancelled => ["cancelled", "completed"].as_slice(),
            _ => ["completed"].as_slice(),
        };
        let state = shown["state"].as_str().unwrap_or_default();
        assert!(
            expected.contains(&state),
            "{number}: {:?} is {state}",
            work.kind
        );
        lost += check_jobs(fleet, number, work, &times);
    }
    eprintln!("{lost} jobs were lost with the moment in which they started, and say so");
}

/// The jobs of one invocation; answers how many were lost and say so.
fn check_jobs(fleet: &Fleet, number: usize, work: &Work, times: &BTreeMap<&str, usize>) -> usize {
    let path = format!("/api/jobs?invocation_id={}&limit=500", work.id);
    let jobs = fleet.ask("GET", &path, None);
    let jobs = jobs.as_array().expect("a list");
    let marked = times
        .keys()
        .filter(|mark| mark.starts_with(&format!("{number} ")))
        .count();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lost = 0;
    for job in jobs {
        let state = job["state"].as_str().unwrap_or_default();
        *counts.entry(state).or_default() += 1;
        if state == "error" {
            let path = format!("/api/jobs/{}?full=true", text(job, "id"));
            let record = fleet.ask("GET", &path, None).to_string();
            lost += usize::from(record.contains("its process is gone"));
        }
    }
    let of = |state: &str| counts.get(state).copied().unwrap_or(0);
    let told = format!(
        "{number}: {:?} has {counts:?} and {marked} marks",
        work.kind
    );
    assert_eq!(
        counts
            .keys()
            .filter(|s| !["ok", "error", "paused", "deleted"].contains(s))
            .count(),
        0,
        "{told}"
    );
    // A job that was lost may have made its mark or not.
    let (ran, at_most) = (of("ok") + of("error") - lost, of("ok") + of("error"));
    if work.kind != Kind::Cancelled {
        let all = match work.kind {
            Kind::Chain => 5,
            Kind::Mapped => 8,
            Kind::Failing => 3,
            _ => 2,
        };
        assert_eq!(jobs.len(), all, "{told}");
        assert!((ran..=at_most).contains(&marked), "{told}");
        if lost == 0 && work.kind != Kind::Failing {
            assert_eq!(of("ok"), all, "{told}");
        }
        if lost == 0 && work.kind == Kind::Failing {
            assert_eq!((of("ok"), of("error"), of("paused")), (1, 1, 1), "{told}");
        }
    } else {
        assert!(marked >= of("ok"), "{told}");
    }
    lost
}
