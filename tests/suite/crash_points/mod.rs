//! Every place where a server can be made to die (docs/durability.md): each is named in a table with what dies there, or
//! with why no test of ours goes through it. A label in the code that is in none of them is a failure.

mod requests;
mod restarts;
mod table;

use barycenter_tests::client::text;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, TestServer, eventually, rows};
use serde_json::{Value, json};

use requests::{DATA, PEOPLE, WORK};

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
fn a_strict_tool_request_is_never_without_its_jobs_nor_they_without_it() {
    let mut server = TestServer::start();
    let call = {
        let history = server.client().create_history("strict");
        let body = json!({"tool_id": "script", "history_id": history, "inputs": {"script": "echo x > out.txt"}});
        move || Call::new(Who::Ada, "POST", "/api/jobs".into(), &body)
    };
    let count = |server: &TestServer| {
        rows::read(
            server.database(),
            "SELECT CAST((SELECT COUNT(*) FROM tool_request) AS TEXT), CAST((SELECT COUNT(*) FROM job) AS TEXT),
                 CAST((SELECT COUNT(*) FROM tool_request_job r JOIN job j ON j.id = r.job_id) AS TEXT)",
        )
    };
    for (side, all) in [("before", "0"), ("after", "1")] {
        let place = format!("{side}:tool.request:1");
        server.restart_with(&[("BARYCENTER_CRASH_AT".to_owned(), place)]);
        call().send(&server).expect_err("it dies of it");
        server.wait_for_death();
        server.restart_with(&[]);
        assert_eq!(count(&server), [[all, all, all]], "{side}");
    }
    comes_to_rest(&server);
    assert_eq!(count(&server), [["1", "1", "1"]]);
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
