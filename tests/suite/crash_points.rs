//! Every place where a server can be made to die (docs/durability.md): each is named here with what dies there, or with
//! why no test of ours goes through it. A label in the code that is missing here is a failure.

use std::collections::BTreeSet;
use std::path::Path;

use barycenter_tests::client::text;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Setup, TestServer, eventually, rows, until};
use serde_json::{Value, json};

/// Who is doing it.
#[derive(Clone, Copy)]
enum Who {
    Ada,
    Root,
}

/// A request that is sent to a server that dies of it.
struct Call {
    who: Who,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Call {
    fn new(who: Who, method: &'static str, path: String, body: &Value) -> Call {
        let (headers, body) = match body {
            Value::Null => (Vec::new(), Vec::new()),
            body => (
                vec![("content-type", "application/json".to_owned())],
                body.to_string().into_bytes(),
            ),
        };
        Call {
            who,
            method,
            path,
            headers,
            body,
        }
    }

    fn send(&self, server: &TestServer) -> Result<u16, String> {
        let client = match self.who {
            Who::Ada => server.client(),
            Who::Root => server.admin(),
        };
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = client.try_send(self.method, &self.path, &headers, &self.body)?;
        match answer.status {
            200..=299 => Ok(answer.status),
            _ => panic!("{answer}"),
        }
    }
}

/// What is there before a crash, made anew for each.
struct Stage {
    ada: Client,
    root: Client,
    history: String,
    number: usize,
}

impl Stage {
    fn new(server: &TestServer, number: usize) -> Stage {
        let ada = server.client();
        let history = ada.create_history(&format!("stage {number}"));
        Stage {
            root: server.admin(),
            ada,
            history,
            number,
        }
    }

    fn dataset(&self) -> String {
        self.ada.upload(&self.history, "data", "hello\n")
    }

    fn collection(&self) -> String {
        let elements = [("a", "1\n")];
        self.ada.upload_list(&self.history, "list", &elements)
    }

    fn user(&self) -> String {
        let name = format!("eve{}", self.number);
        let user = json!({"username": name, "email": format!("{name}@example.org"), "password": "long enough a word"});
        text(&self.root.post("/api/users", &user).ok(), "id")
    }

    /// An invocation that waits at its pause, and the step.
    fn paused(&self) -> (String, String) {
        let inputs = json!({"data": {"src": "hda", "id": self.dataset()}});
        let workflow = self.ada.import_yaml(REVIEWED);
        let invocation = self.ada.invoke(&workflow, &self.history, &inputs);
        let step = self.ada.wait_for_step(&invocation, "review", "scheduled");
        (invocation, text(&step, "id"))
    }

    /// The failed job of the first of two steps, whose second waits paused, and its invocation.
    fn failed(&self) -> (String, String, String) {
        let workflow = self.ada.import_yaml(&workflows::steps(&[
            ("first", "test -e /nonexistent/file", "data"),
            ("second", "cat $INPUT > out.txt", "first/out"),
        ]));
        let data = self.dataset();
        let inputs = json!({"data": {"src": "hda", "id": data}});
        let invocation = self.ada.invoke(&workflow, &self.history, &inputs);
        let first = self.ada.wait_for_job(&invocation, "first", &["error"]);
        let second = self.ada.wait_for_job(&invocation, "second", &["paused"]);
        (text(&first, "id"), text(&second, "id"), data)
    }

    fn ada(&self, method: &'static str, path: String, body: &Value) -> Call {
        Call::new(Who::Ada, method, path, body)
    }

    fn root(&self, method: &'static str, path: String, body: &Value) -> Call {
        Call::new(Who::Root, method, path, body)
    }

    fn tool(kind: &str) -> Value {
        json!({"src": "representation", "representation": {"class": kind, "id": "own", "name": "own", "version": "1",
            "container": "busybox", "shell_command": "true", "inputs": [], "outputs": []}})
    }

    fn upload(&self, element: &Value) -> Call {
        let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
        let body = json!({"history_id": self.history, "targets": targets});
        self.ada("POST", "/api/tools/fetch".into(), &body)
    }
}

/// A label, the request that reaches it, and a statement whose answer tells whether it was done.
type Request = (&'static str, fn(&Stage) -> Call, &'static str);

const PEOPLE: &[Request] = &[
    (
        "user.create",
        |s| {
            let name = format!("new{}", s.number);
            let user = json!({"username": name, "email": format!("{name}@example.org"), "password": "long enough a word"});
            s.root("POST", "/api/users".into(), &user)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user",
    ),
    (
        "user.update",
        |s| {
            let change = json!({"username": format!("renamed{}", s.number)});
            s.root("PUT", format!("/api/users/{}", s.user()), &change)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user WHERE username LIKE 'renamed%'",
    ),
    (
        "user.delete",
        |s| s.root("DELETE", format!("/api/users/{}", s.user()), &Value::Null),
        "SELECT CAST(COUNT(*) AS TEXT) FROM galaxy_user WHERE deleted",
    ),
    (
        "user.key",
        |s| {
            s.root(
                "POST",
                format!("/api/users/{}/api_key", s.user()),
                &json!({}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM api_keys",
    ),
    (
        "role.create",
        |s| {
            let role = json!({"name": format!("role {}", s.number), "description": "one"});
            s.root("POST", "/api/roles".into(), &role)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM role",
    ),
    (
        "job.lock",
        |s| {
            let body = json!({"active": s.root.get("/api/job_lock").ok()["active"] != true});
            s.root("PUT", "/api/job_lock".into(), &body)
        },
        "SELECT COALESCE(MAX(value), '') FROM installation WHERE name = 'job_lock'",
    ),
    (
        "dynamic_tool.create",
        |s| {
            s.root(
                "POST",
                "/api/dynamic_tools".into(),
                &Stage::tool("GalaxyTool"),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM dynamic_tool",
    ),
    (
        "dynamic_tool.deactivate",
        |s| {
            let made = s
                .root
                .post("/api/dynamic_tools", &Stage::tool("GalaxyTool"));
            let id = text(&made.ok(), "uuid");
            s.root("DELETE", format!("/api/dynamic_tools/{id}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM dynamic_tool WHERE NOT active",
    ),
    (
        "workflow.create",
        |s| {
            let workflow = json!({"class": "GalaxyWorkflow", "yaml_content": REVIEWED});
            s.ada(
                "POST",
                "/api/workflows".into(),
                &json!({"workflow": workflow}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow",
    ),
    (
        "workflow.update",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            s.ada(
                "PUT",
                format!("/api/workflows/{id}"),
                &json!({"name": "other"}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow WHERE name = 'other'",
    ),
    (
        "workflow.attributes",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            s.ada("DELETE", format!("/api/workflows/{id}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow WHERE deleted",
    ),
    (
        "workflow.share",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            let path = format!("/api/workflows/{id}/share_with_users");
            s.ada("PUT", path, &json!({"user_ids": [s.user()]}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM stored_workflow_user_share",
    ),
    (
        "workflow.refactor",
        |s| {
            let id = s.ada.import_yaml(REVIEWED);
            let actions = json!([{"action_type": "update_name", "name": "refactored"}]);
            s.ada(
                "PUT",
                format!("/api/workflows/{id}/refactor"),
                &json!({"actions": actions}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow",
    ),
];

const HDAS: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association";
const HDCAS: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association";

const DATA: &[Request] = &[
    (
        "history.create",
        |s| s.ada("POST", "/api/histories".into(), &json!({"name": "new"})),
        "SELECT CAST(COUNT(*) AS TEXT) FROM history",
    ),
    (
        "history.update",
        |s| {
            let name = json!({"name": format!("changed {}", s.number)});
            s.ada("PUT", format!("/api/histories/{}", s.history), &name)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE name LIKE 'changed%'",
    ),
    (
        "history.delete",
        |s| {
            s.ada(
                "DELETE",
                format!("/api/histories/{}", s.history),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE deleted",
    ),
    (
        "history.undelete",
        |s| {
            let path = format!("/api/histories/{}", s.history);
            s.ada.delete(&path).ok();
            let path = format!("/api/histories/deleted/{}/undelete", s.history);
            s.ada("POST", path, &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE deleted",
    ),
    (
        "history.tag",
        |s| {
            let path = format!("/api/histories/{}/tags/tagged", s.history);
            s.ada("POST", path, &json!({}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE tags LIKE '%tagged%'",
    ),
    (
        "history.share",
        |s| {
            s.ada(
                "PUT",
                format!("/api/histories/{}/publish", s.history),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history WHERE published",
    ),
    (
        "upload",
        |s| {
            s.upload(
                &json!({"src": "pasted", "paste_content": "more\n", "name": "more", "ext": "txt"}),
            )
        },
        HDAS,
    ),
    (
        "upload.placed",
        |s| {
            s.upload(
                &json!({"src": "pasted", "paste_content": "more\n", "name": "more", "ext": "txt"}),
            )
        },
        HDAS,
    ),
    (
        "dataset.copy",
        |s| {
            let body = json!({"source": "hda", "content": s.dataset()});
            s.ada(
                "POST",
                format!("/api/histories/{}/contents", s.history),
                &body,
            )
        },
        HDAS,
    ),
    (
        "dataset.update",
        |s| {
            s.ada(
                "PUT",
                format!("/api/datasets/{}", s.dataset()),
                &json!({"name": "renamed"}),
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association WHERE name = 'renamed'",
    ),
    (
        "dataset.delete",
        |s| {
            s.ada(
                "DELETE",
                format!("/api/datasets/{}", s.dataset()),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_association WHERE deleted",
    ),
    (
        "collection.create",
        |s| {
            let body = json!({"history_id": s.history, "name": "new", "collection_type": "list", "instance_type": "history",
                "element_identifiers": [{"name": "a", "src": "hda", "id": s.dataset()}]});
            s.ada("POST", "/api/dataset_collections".into(), &body)
        },
        HDCAS,
    ),
    (
        "collection.copy",
        |s| {
            let body =
                json!({"source": "hdca", "type": "dataset_collection", "content": s.collection()});
            s.ada(
                "POST",
                format!("/api/histories/{}/contents", s.history),
                &body,
            )
        },
        HDCAS,
    ),
    (
        "collection.update",
        |s| {
            let path = format!("/api/dataset_collections/{}", s.collection());
            s.ada("PUT", path, &json!({"name": "renamed"}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association WHERE name = 'renamed'",
    ),
    (
        "collection.delete",
        |s| {
            let path = format!("/api/dataset_collections/{}", s.collection());
            s.ada("DELETE", path, &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM history_dataset_collection_association WHERE deleted",
    ),
    (
        "export.order",
        |s| {
            let path = format!("/api/histories/{}/prepare_store_download", s.history);
            s.ada("POST", path, &json!({"model_store_format": "tgz"}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM short_term_storage",
    ),
    (
        "history.import",
        import,
        "SELECT CAST(COUNT(*) AS TEXT) FROM history",
    ),
];

const WORK: &[Request] = &[
    (
        "invocation.create",
        |s| {
            let inputs = json!({"data": {"src": "hda", "id": s.dataset()}});
            let id = s.ada.import_yaml(REVIEWED);
            let body = json!({"history_id": s.history, "inputs_by": "name", "inputs": inputs});
            s.ada("POST", format!("/api/workflows/{id}/invocations"), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation",
    ),
    (
        "invocation.action",
        |s| {
            let (invocation, step) = s.paused();
            let path = format!("/api/invocations/{invocation}/steps/{step}");
            s.ada("PUT", path, &json!({"action": true}))
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation_step WHERE action IS NOT NULL",
    ),
    (
        "invocation.cancel",
        |s| {
            let (invocation, _) = s.paused();
            s.ada(
                "DELETE",
                format!("/api/invocations/{invocation}"),
                &Value::Null,
            )
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM workflow_invocation WHERE state IN ('cancelling', 'cancelled')",
    ),
    (
        "tool.run",
        |s| {
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": {"script": "echo x > out.txt"}});
            s.ada("POST", "/api/tools".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE tool_id = 'script'",
    ),
    (
        "tool.request",
        |s| {
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": {"script": "echo x > out.txt"}});
            s.ada("POST", "/api/jobs".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM tool_request",
    ),
    (
        "job.cancel",
        |s| {
            let (_, second, _) = s.failed();
            s.ada("DELETE", format!("/api/jobs/{second}"), &Value::Null)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE state IN ('deleted', 'deleting')",
    ),
    (
        "job.remap",
        |s| {
            let (first, _, data) = s.failed();
            let inputs =
                json!({"script": "cat $INPUT > out.txt", "input": {"src": "hda", "id": data}});
            let body = json!({"tool_id": "script", "history_id": s.history, "inputs": inputs, "rerun_remap_job_id": first});
            s.ada("POST", "/api/tools".into(), &body)
        },
        "SELECT CAST(COUNT(*) AS TEXT) FROM job WHERE tool_id = 'script'",
    ),
    (
        "job.resume",
        |s| {
            let (_, second, _) = s.failed();
            s.ada("PUT", format!("/api/jobs/{second}/resume"), &Value::Null)
        },
        // It is paused again, as its input still failed: only its history tells.
        "SELECT CAST(COUNT(*) AS TEXT) FROM job_state_history",
    ),
];

/// An archive of a history, taken in as another one.
fn import(s: &Stage) -> Call {
    s.dataset();
    let path = format!("/api/histories/{}/prepare_store_download", s.history);
    let wish = s
        .ada
        .post(&path, &json!({"model_store_format": "tgz"}))
        .ok();
    let file = format!(
        "/api/short_term_storage/{}",
        text(&wish, "storage_request_id")
    );
    eventually("the archive is made", || {
        s.ada.get(&format!("{file}/ready")).ok() == true
    });
    let mut body = b"--edge\r\ncontent-disposition: form-data; name=\"archive_file\"; filename=\"h.tar.gz\"\r\n\r\n".to_vec();
    body.extend(s.ada.get(&file).bytes);
    body.extend(b"\r\n--edge--\r\n");
    Call {
        who: Who::Ada,
        method: "POST",
        path: "/api/histories".into(),
        headers: vec![("content-type", "multipart/form-data; boundary=edge".into())],
        body,
    }
}

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
    ("fetch.claim", "below: fetching"),
    ("fetch.settle", "below: fetching"),
    ("fetch.placed", "below: fetching"),
    ("invocation.wake", "below: waiting for an instant"),
    ("mail.claim", "below: mail"),
    ("mail.sent", "below: mail"),
    ("lease.claim", "below: a passive scheduler"),
    ("lease.adopt", "below: a passive scheduler"),
    ("history.next", "below: one after the other"),
    ("installation.secret", "below: the first start"),
    ("installation.data_dir", "below: the first start"),
    ("export.end", "below: an archive"),
    ("hook.claim", "below: on completion"),
    ("hook.note", "below: on completion"),
    ("hook.settle", "below: on completion; hooks"),
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
        "in the code and in no table of this file: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&code).collect();
    assert!(
        gone.is_empty(),
        "in a table of this file and not in the code: {gone:?}"
    );
}

/// Dies before and after each commit; a restarted server has all of it or nothing, takes the request once more where
/// there was nothing, and its database is in order.
fn all_or_nothing(requests: &[Request]) {
    let mut server = TestServer::start();
    let mut number = 0;
    for (label, make, probe) in requests {
        for side in ["before", "after"] {
            let place = format!("{side}:{label}:1");
            eprintln!("{place}");
            number += 1;
            let call = make(&Stage::new(&server, number));
            let asked = || rows::read(server.database(), probe);
            let before = asked();
            server.restart_with(&[("BARYCENTER_CRASH_AT".to_owned(), place.clone())]);
            let sent = call.send(&server);
            server.wait_for_death();
            assert!(sent.is_err(), "{place}: it was answered: {sent:?}");
            server.restart_with(&[]);
            let asked = || rows::read(server.database(), probe);
            // A point that is no commit of its own stands before the one that counts.
            let done = side == "after" && !label.ends_with(".placed");
            assert_eq!(asked() != before, done, "{place}: {before:?}");
            if !done {
                call.send(&server).expect("the second request is answered");
                assert_ne!(asked(), before, "{place}: sent again");
            }
        }
    }
    let unlocked = json!({"active": false});
    server.admin().put("/api/job_lock", &unlocked).ok();
    comes_to_rest(&server);
}

/// No job is under way any more, and the database is in order.
fn comes_to_rest(server: &TestServer) {
    const BUSY: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM job
        WHERE state IN ('new', 'queued', 'running', 'deleting', 'stop', 'upload', 'waiting')";
    eventually("all jobs are over", || {
        rows::read(server.database(), BUSY) == [["0"]]
    });
    let checked = server.db(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn requests_about_people_and_workflows_are_done_or_not_done() {
    all_or_nothing(PEOPLE);
}

#[test]
fn requests_about_data_are_done_or_not_done() {
    all_or_nothing(DATA);
}

#[test]
fn requests_for_work_are_done_or_not_done() {
    all_or_nothing(WORK);
}

/// The answer may be lost with the server.
fn try_send(client: &Client, method: &str, path: &str, body: &Value) {
    let kind = [("content-type", "application/json")];
    let _ = client.try_send(method, path, &kind, body.to_string().as_bytes());
}

/// Starts the server so that it dies at each of `labels`, has something done that goes there, restarts it and waits for
/// the same end.
fn same_end(
    setup: Setup,
    labels: &[&str],
    go: impl Fn(&Client, &str) -> Option<String>,
    end: impl Fn(&TestServer, &str, &str),
) {
    let mut server = setup.clone().start();
    for label in labels {
        for side in ["before", "after"] {
            let place = format!("{side}:{label}:1");
            eprintln!("{place}");
            let mut environment = setup.environment.clone();
            let ada = server.client();
            let history = ada.create_history(&place);
            environment.push(("BARYCENTER_CRASH_AT".to_owned(), place.clone()));
            server.restart_with(&environment);
            let made = go(&server.client(), &history);
            server.wait_for_death();
            server.restart();
            end(&server, &history, made.as_deref().unwrap_or_default());
        }
    }
    comes_to_rest(&server);
}

#[test]
fn what_waits_for_an_instant_goes_on_after_a_crash() {
    let plugins = "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n\
                   [[workflow_module]]\ntype = \"wait_until\"\n[[job_runner]]\ntype = \"local\"\n";
    let yaml = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {after: {outputSource: second/out}}\nsteps:\n\
                \x20 wait:\n    type: wait_until\n    in: {input: data}\n    state: {after: 1s}\n\
                \x20 second:\n    tool_id: copy\n    in: {input: wait/output}\n";
    same_end(
        Setup::default().plugins(plugins),
        &["invocation.wake"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let inputs = json!({"data": {"src": "hda", "id": data}});
            Some(ada.invoke(&ada.import_yaml(yaml), history, &inputs))
        },
        |server, _, invocation| {
            let done = server.client().wait_for_state(invocation, &["completed"]);
            assert_eq!(server.client().output(&done, "after"), "hello\ncopied\n");
        },
    );
}

#[test]
fn data_that_is_being_fetched_arrives_after_a_crash() {
    let shelf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://localhost:{}/",
        shelf.local_addr().expect("an address").port()
    );
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in shelf.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nthere\n",
            );
        }
    });
    let setup = Setup::default()
        .env("BARYCENTER_FETCH_URL_PREFIXES", &url)
        .env("BARYCENTER_FETCH_URL_ALLOWLIST", "localhost");
    same_end(
        setup,
        &["fetch.claim", "fetch.placed", "fetch.settle"],
        |ada, history| {
            let element = json!({"src": "url", "url": format!("{url}data.txt"), "ext": "txt"});
            let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
            let body = json!({"history_id": history, "targets": targets});
            try_send(ada, "POST", "/api/tools/fetch", &body);
            None
        },
        |server, history, _| {
            let ada = server.client();
            let id = until("the dataset is listed", || {
                let listed = ada.get(&format!("/api/histories/{history}/contents")).ok();
                listed[0]["id"].as_str().map(str::to_owned)
            });
            ada.wait_for_dataset(&id);
            assert_eq!(ada.content(&id), "there\n");
        },
    );
}

#[test]
fn a_passive_scheduler_claims_again_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = format!(
        "[[scheduler]]\ntype = \"default\"\n[[scheduler]]\ntype = \"passive\"\nid = \"farm\"\npath = {:?}\n\
         isolation = \"inproc\"\n[scheduler.config]\nlease_ms = 1000\njournal = {:?}\n\
         [[workflow_module]]\ntype = \"pause\"\n[[job_runner]]\ntype = \"local\"\n",
        barycenter_tests::build::library("passive_scheduler"),
        folder.path().join("journal"),
    );
    same_end(
        Setup::default().plugins(&plugins),
        &["lease.claim", "lease.adopt"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
            let body = json!({"history_id": history, "inputs_by": "name", "scheduler": "farm",
                "inputs": {"data": {"src": "hda", "id": data}}});
            try_send(
                ada,
                "POST",
                &format!("/api/workflows/{workflow}/invocations"),
                &body,
            );
            None
        },
        |server, history, _| {
            let ada = server.client();
            let listed = ada
                .get(&format!("/api/invocations?history_id={history}"))
                .ok();
            let done = ada.wait_for_state(&text(&listed[0], "id"), &["completed"]);
            assert_eq!(ada.output(&done, "work_out"), "HELLO\n");
        },
    );
}

#[test]
fn invocations_of_a_history_go_on_one_after_the_other_after_a_crash() {
    same_end(
        Setup::default().env(
            "BARYCENTER_HISTORY_LOCAL_SERIAL_WORKFLOW_SCHEDULING",
            "true",
        ),
        &["history.next"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(REVIEWED);
            let inputs = json!({"data": {"src": "hda", "id": data}});
            let first = ada.invoke(&workflow, history, &inputs);
            let second = ada.invoke(&workflow, history, &inputs);
            let step = text(&ada.wait_for_step(&first, "review", "scheduled"), "id");
            let path = format!("/api/invocations/{first}/steps/{step}");
            try_send(ada, "PUT", &path, &json!({"action": true}));
            Some(second)
        },
        |server, _, second| {
            let step = server.client().wait_for_step(second, "review", "scheduled");
            let acted = server
                .client()
                .act(second, &text(&step, "id"), &json!(true));
            acted.ok();
            server.client().wait_for_state(second, &["completed"]);
        },
    );
}

#[test]
fn an_archive_is_made_in_spite_of_a_crash() {
    same_end(
        Setup::default(),
        &["export.end"],
        |ada, history| {
            ada.upload(history, "data", "hello\n");
            let path = format!("/api/histories/{history}/prepare_store_download");
            try_send(ada, "POST", &path, &json!({"model_store_format": "tgz"}));
            None
        },
        |server, _, _| {
            let ada = server.client();
            const LAST: &str =
                "SELECT uuid FROM short_term_storage ORDER BY create_time DESC LIMIT 1";
            let id = &rows::read(server.database(), LAST)[0][0];
            let path = format!("/api/short_term_storage/{id}");
            eventually("the archive is made", || {
                ada.get(&format!("{path}/ready")).ok() == true
            });
            assert_eq!(ada.get(&path).bytes[..2], [0x1f, 0x8b]);
        },
    );
}

#[test]
fn what_is_asked_for_on_completion_is_done_in_spite_of_a_crash() {
    same_end(
        Setup::default(),
        &["hook.claim", "hook.note", "hook.settle"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
            let body = json!({"history_id": history, "inputs_by": "name",
                "inputs": {"data": {"src": "hda", "id": data}},
                "on_complete": [{"export_to_file_source": {"format": "tgz"}}]});
            let path = format!("/api/workflows/{workflow}/invocations");
            Some(text(&ada.post(&path, &body).ok(), "id"))
        },
        |server, _, invocation| {
            let ada = server.client();
            let path = format!("/api/invocations/{invocation}/completion");
            let done = until("the archive is made", || {
                let found = ada.get(&path).ok();
                (found["hooks"][0]["state"] == "ok").then_some(found)
            });
            let executed = json!(["export_to_file_source"]);
            assert_eq!(done["hooks_executed"], executed, "{done:#}");
            let made = text(&done["hooks"][0]["result"], "storage_request_id");
            let file = ada.get(&format!("/api/short_term_storage/{made}"));
            assert_eq!(file.bytes[..2], [0x1f, 0x8b]);
        },
    );
}

#[test]
fn mail_is_sent_in_spite_of_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sent, program) = (folder.path().join("sent"), folder.path().join("sendmail"));
    let script = format!("#!/bin/sh\ncat >> '{}'\n", sent.display());
    std::fs::write(&program, script).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("a program");
    let yaml = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n\
                \x20 work:\n    tool_id: copy\n    in: {input: data}\n    out: [{id: out}]\n";
    let setup = Setup::default().env("BARYCENTER_SENDMAIL", &program.display().to_string());
    same_end(
        setup,
        &["mail.claim", "mail.sent"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(yaml);
            let shown = ada.get(&format!("/api/workflows/{workflow}/download")).ok();
            let mut with_mail = shown.clone();
            for step in with_mail["steps"].as_object_mut().into_iter().flatten() {
                if step.1["type"] == "tool" {
                    let action = json!({"action_type": "EmailAction", "output_name": "out", "action_arguments": {}});
                    step.1["post_job_actions"] = json!({"EmailActionout": action});
                }
            }
            let workflow = ada.import(&with_mail);
            let inputs = json!({"data": {"src": "hda", "id": data}});
            Some(ada.invoke(&workflow, history, &inputs))
        },
        |server, _, invocation| {
            server.client().wait_for_state(invocation, &["completed"]);
            eventually("nothing is left to send", || {
                rows::read(
                    server.database(),
                    "SELECT CAST(COUNT(*) AS TEXT) FROM mail WHERE sent_time IS NULL",
                ) == [["0"]]
            });
        },
    );
    assert!(sent.exists(), "something was sent");
}

#[test]
fn a_first_start_that_died_is_begun_again() {
    for label in ["installation.secret", "installation.data_dir"] {
        for side in ["before", "after"] {
            let folder = tempfile::tempdir().expect("a folder");
            let database = barycenter_tests::Database::for_server(folder.path());
            let mut command = barycenter_tests::server::serve(folder.path());
            command.args(["--database-url", &database.url]);
            command.current_dir(barycenter_tests::build::repository());
            let place = format!("{side}:{label}:1");
            let dead = command.env("BARYCENTER_CRASH_AT", &place).output();
            let status = dead.expect("it runs").status;
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(signal, Some(libc::SIGKILL), "{place}: {status}");
            let mut checking = std::process::Command::new(barycenter_tests::build::binary());
            checking
                .args(["admin", "list-users", "--data-dir"])
                .arg(folder.path());
            checking.args(["--database-url", &database.url]);
            let listed = barycenter_tests::server::clean(&mut checking).output();
            assert!(listed.expect("it runs").status.success(), "{place}");
        }
    }
}
