//! A thin client of the API: one call, one answer, nothing retried.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use crate::wait::until;

/// Speaks to one server as one user.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    pub url: String,
    /// Sent as `x-api-key`, if there is one.
    pub key: Option<String>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.bytes);
        parsed.unwrap_or_else(|error| panic!("{self}: not JSON ({error})"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, of an answer that must be 200.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        self.json()
    }

    /// Checks that this is a refusal: the status, the code, and one sentence in the envelope.
    #[track_caller]
    pub fn refused(&self, status: u16, code: u64) -> String {
        assert_eq!(self.status, status, "{self}");
        let body = self.json();
        assert_eq!(body["err_code"], code, "{self}");
        let sentence = body["err_msg"].as_str().unwrap_or_default().to_owned();
        assert!(!sentence.trim().is_empty(), "{self}: a refusal says why");
        assert!(sentence.lines().count() <= 5, "{self}: too long");
        sentence
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2000).collect();
        write!(f, "{} answered {}: {text}", self.asked, self.status)
    }
}

impl Client {
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .new_agent();
        Self {
            agent,
            url: url.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// The same server with another key, or none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self {
            key: key.map(str::to_owned),
            ..self.clone()
        }
    }

    /// One request, with whatever headers and body; fails only if there is no answer at all.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let asked = format!("{method} {path}");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let failed = |error: &dyn std::fmt::Display| format!("{asked}: {error}");
        let answer = match body.is_empty() {
            true => {
                let request = request.body(()).map_err(|error| failed(&error))?;
                self.agent.run(request)
            }
            false => {
                let request = request.body(body).map_err(|error| failed(&error))?;
                self.agent.run(request)
            }
        };
        let mut answer = answer.map_err(|error| failed(&error))?;
        let bytes = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
        Ok(Answer {
            bytes: bytes.map_err(|error| failed(&error))?,
            asked,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
        })
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let sent = self.try_send(method, path, headers, body);
        sent.unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, JSON, body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, JSON, body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    #[track_caller]
    pub fn create_history(&self, name: &str) -> String {
        let made = self.post("/api/histories", &json!({"name": name})).ok();
        text(&made, "id")
    }

    /// Uploads text and waits until it is ok; returns the dataset's id.
    #[track_caller]
    pub fn upload(&self, history: &str, name: &str, content: &str) -> String {
        let element =
            json!({"src": "pasted", "paste_content": content, "name": name, "ext": "txt"});
        let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
        let request = json!({"history_id": history, "targets": targets});
        let made = self.post("/api/tools/fetch", &request).ok();
        let id = text(&made["outputs"][0], "id");
        self.wait_for_dataset(&id);
        id
    }

    /// A flat list of text datasets; returns the collection's id.
    #[track_caller]
    pub fn upload_list(&self, history: &str, name: &str, elements: &[(&str, &str)]) -> String {
        let identifiers: Vec<Value> = elements
            .iter()
            .map(|(name, content)| {
                let id = self.upload(history, name, content);
                json!({"name": name, "src": "hda", "id": id})
            })
            .collect();
        self.create_collection(history, name, "list", &json!(identifiers))
    }

    #[track_caller]
    pub fn create_collection(&self, history: &str, name: &str, kind: &str, of: &Value) -> String {
        let request = json!({
            "history_id": history, "name": name, "collection_type": kind, "instance_type": "history",
            "element_identifiers": of,
        });
        text(&self.post("/api/dataset_collections", &request).ok(), "id")
    }

    /// Imports a workflow in format 2; returns its id.
    #[track_caller]
    pub fn import_yaml(&self, yaml: &str) -> String {
        let workflow = json!({"class": "GalaxyWorkflow", "yaml_content": yaml});
        self.import(&workflow)
    }

    /// Imports a workflow; returns its id.
    #[track_caller]
    pub fn import(&self, workflow: &Value) -> String {
        let made = self.post("/api/workflows", &json!({"workflow": workflow}));
        text(&made.ok(), "id")
    }

    /// Invokes a workflow with its inputs by label; returns the invocation's id.
    #[track_caller]
    pub fn invoke(&self, workflow: &str, history: &str, inputs: &Value) -> String {
        let request = json!({"history_id": history, "inputs_by": "name", "inputs": inputs});
        let made = self.post(&format!("/api/workflows/{workflow}/invocations"), &request);
        text(&made.ok(), "id")
    }

    /// Invokes a workflow in format 2 on a dataset with this content, which is its input `data`; returns the invocation's
    /// id. Both are new, and so is the history that they are in.
    #[track_caller]
    pub fn invoke_on(&self, yaml: &str, content: &str) -> String {
        let history = self.create_history("one run");
        let data = self.upload(&history, "data", content);
        let workflow = self.import_yaml(yaml);
        let inputs = json!({"data": {"src": "hda", "id": data}});
        self.invoke(&workflow, &history, &inputs)
    }

    #[track_caller]
    pub fn invocation(&self, id: &str) -> Value {
        self.get(&format!("/api/invocations/{id}?step_details=true"))
            .ok()
    }

    /// Waits until the invocation is in one of these states; returns it.
    #[track_caller]
    pub fn wait_for_state(&self, invocation: &str, states: &[&str]) -> Value {
        let mut last = Value::Null;
        let found = crate::wait::until_told(|| {
            last = self.invocation(invocation);
            let state = last["state"].as_str().unwrap_or_default();
            states.contains(&state).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("the invocation never became {states:?}: {last:#}"))
    }

    /// The step with this label, once it has been reached.
    #[track_caller]
    pub fn wait_for_step(&self, invocation: &str, label: &str, state: &str) -> Value {
        until(&format!("step {label} becomes {state}"), || {
            let step = step(&self.invocation(invocation), label)?;
            (step["state"] == state).then_some(step)
        })
    }

    /// The job of the step with this label, in one of these states.
    #[track_caller]
    pub fn wait_for_job(&self, invocation: &str, label: &str, states: &[&str]) -> Value {
        until(&format!("the job of {label} becomes {states:?}"), || {
            let step = step(&self.invocation(invocation), label)?;
            let id = step["job_id"].as_str()?.to_owned();
            let job = self.get(&format!("/api/jobs/{id}?full=true")).ok();
            let state = job["state"].as_str()?;
            states.contains(&state).then_some(job)
        })
    }

    /// Approves or refuses at a pause.
    #[track_caller]
    pub fn act(&self, invocation: &str, step: &str, action: &Value) -> Answer {
        let path = format!("/api/invocations/{invocation}/steps/{step}");
        self.put(&path, &json!({"action": action}))
    }

    /// Waits until a dataset is ok; returns it.
    #[track_caller]
    pub fn wait_for_dataset(&self, id: &str) -> Value {
        until("the dataset is ok", || {
            let dataset = self.get(&format!("/api/datasets/{id}")).ok();
            let state = dataset["state"].as_str()?;
            assert_ne!(state, "error", "{dataset:#}");
            (state == "ok").then_some(dataset)
        })
    }

    /// The content of a dataset.
    #[track_caller]
    pub fn content(&self, dataset: &str) -> String {
        let answer = self.get(&format!("/api/datasets/{dataset}/display"));
        if answer.status != 200 {
            let dataset = self.get(&format!("/api/datasets/{dataset}")).ok();
            let info = &dataset["misc_info"];
            panic!("{answer}; the dataset is {}: {info}", dataset["state"]);
        }
        answer.text()
    }

    /// The content of an invocation's output with this label.
    #[track_caller]
    pub fn output(&self, invocation: &Value, label: &str) -> String {
        let output = &invocation["outputs"][label];
        let Some(id) = output["id"].as_str() else {
            panic!("no output {label}: {invocation:#}");
        };
        self.content(id)
    }

    /// A collection with its elements.
    #[track_caller]
    pub fn collection(&self, id: &str) -> Value {
        let path = format!("/api/dataset_collections/{id}?instance_type=history");
        self.get(&path).ok()
    }

    /// What the elements of a flat collection contain, by identifier.
    #[track_caller]
    pub fn elements(&self, collection: &str) -> Vec<(String, String)> {
        let collection = self.collection(collection);
        let elements = collection["elements"].as_array().expect("elements").clone();
        let of = |element: &Value| {
            let id = text(&element["object"], "id");
            (text(element, "element_identifier"), self.content(&id))
        };
        elements.iter().map(of).collect()
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A text member that must be there.
#[track_caller]
pub fn text(value: &Value, key: &str) -> String {
    let member = value[key].as_str();
    member
        .unwrap_or_else(|| panic!("no text {key} in {value:#}"))
        .to_owned()
}

/// The invocation's step with this label, if it was reached.
pub fn step(invocation: &Value, label: &str) -> Option<Value> {
    let steps = invocation["steps"].as_array()?;
    let found = steps
        .iter()
        .find(|step| step["workflow_step_label"] == label);
    found.cloned()
}
