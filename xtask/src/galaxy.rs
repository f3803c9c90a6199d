//! The few calls of the Galaxy API that the demo and the benchmarks need.

use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Failure, Result};

/// No answer of the demo's server is larger, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A server and the key to speak to it with.
pub struct Galaxy {
    agent: ureq::Agent,
    pub url: String,
    pub key: String,
}

impl Galaxy {
    pub fn new(url: &str, key: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Self {
            agent,
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// A new user and their key. `self` must carry an administrator's key.
    pub fn create_user(&self, username: &str, email: &str, password: &str) -> Result<String> {
        let user = self.post(
            "/api/users",
            &json!({"username": username, "email": email, "password": password}),
        )?;
        let path = format!("/api/users/{}/api_key", text(&user, "id")?);
        let key = self.post(&path, &json!({}))?;
        key.as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::told(format!("POST {path} answered no key: {key}")))
    }

    pub fn create_history(&self, name: &str) -> Result<String> {
        text(&self.post("/api/histories", &json!({"name": name}))?, "id")
    }

    /// Imports a native workflow; returns its id.
    pub fn import_workflow(&self, workflow: &Value) -> Result<String> {
        text(
            &self.post("/api/workflows", &json!({"workflow": workflow}))?,
            "id",
        )
    }

    /// Uploads text as a dataset; returns its id. The dataset need not be ok yet.
    pub fn upload_text(
        &self,
        history: &str,
        name: &str,
        extension: &str,
        content: &str,
    ) -> Result<String> {
        let element =
            json!({"src": "pasted", "paste_content": content, "name": name, "ext": extension});
        let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
        let answer = self.post(
            "/api/tools/fetch",
            &json!({"history_id": history, "targets": targets}),
        )?;
        text(&answer["outputs"][0], "id")
    }

    /// Uploads a list of `count` small datasets; returns the collection's id.
    pub fn upload_list(&self, history: &str, count: u32) -> Result<String> {
        let element = |n: u32| json!({"src": "pasted", "paste_content": format!("{n}\n"), "name": n.to_string(), "ext": "txt"});
        let elements: Vec<Value> = (1..=count).map(element).collect();
        let targets = json!([{"destination": {"type": "hdca"}, "collection_type": "list", "name": "list", "elements": elements}]);
        let answer = self.post(
            "/api/tools/fetch",
            &json!({"history_id": history, "targets": targets}),
        )?;
        text(&answer["output_collections"][0], "id")
    }

    /// Invokes a workflow with its inputs by label; returns the invocation's id.
    pub fn invoke(&self, workflow: &str, history: &str, inputs: &Value) -> Result<String> {
        let request = json!({"history_id": history, "inputs_by": "name", "inputs": inputs});
        text(
            &self.post(&format!("/api/workflows/{workflow}/invocations"), &request)?,
            "id",
        )
    }

    pub fn invocation(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/invocations/{id}?step_details=true"))
    }

    /// The caller's newest invocation, without its steps.
    pub fn newest_invocation(&self) -> Result<Value> {
        self.get("/api/invocations?limit=1")
            .map(|page| page[0].clone())
    }

    /// The state of an invocation, without its steps.
    pub fn invocation_state(&self, id: &str) -> Result<String> {
        let shown = self.get(&format!("/api/invocations/{id}?view=collection"))?;
        text(&shown, "state")
    }

    pub fn history(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/histories/{id}"))
    }

    pub fn jobs_summary(&self, invocation: &str) -> Result<Value> {
        self.get(&format!("/api/invocations/{invocation}/jobs_summary"))
    }

    /// Approves or refuses what a pause step shows.
    pub fn act(&self, invocation: &str, step: &str, approve: bool) -> Result<Value> {
        let path = format!("/api/invocations/{invocation}/steps/{step}");
        let request = self
            .agent
            .put(self.address(&path))
            .header("x-api-key", &self.key);
        let sent = request
            .content_type("application/json")
            .send(json!({"action": approve}).to_string());
        parse("PUT", &path, &read("PUT", &path, sent)?)
    }

    pub fn job_stderr(&self, job: &str) -> Result<String> {
        self.fetch(&format!("/api/jobs/{job}/stderr"))
    }

    pub fn dataset(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/datasets/{id}"))
    }

    /// The content of a dataset that is ok.
    pub fn content(&self, dataset: &str) -> Result<String> {
        self.fetch(&format!("/api/datasets/{dataset}/display"))
    }

    fn get(&self, path: &str) -> Result<Value> {
        parse("GET", path, &self.fetch(path)?)
    }

    fn fetch(&self, path: &str) -> Result<String> {
        read(
            "GET",
            path,
            self.agent
                .get(self.address(path))
                .header("x-api-key", &self.key)
                .call(),
        )
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self
            .agent
            .post(self.address(path))
            .header("x-api-key", &self.key);
        let sent = request
            .content_type("application/json")
            .send(body.to_string());
        parse("POST", path, &read("POST", path, sent)?)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// A text member that must be there.
pub fn text(value: &Value, key: &str) -> Result<String> {
    value[key]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::told(format!("the server's answer has no {key}: {value}")))
}

type Sent = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(method: &'static str, path: &str, sent: Sent) -> Result<String> {
    let failed = |problem: String| Failure::Call {
        method,
        path: path.to_owned(),
        problem,
    };
    let mut answer = sent.map_err(|error| failed(error.to_string()))?;
    let status = answer.status();
    let body = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string();
    let body = body.map_err(|error| failed(error.to_string()))?;
    if !status.is_success() {
        return Err(failed(format!("{status}: {}", body.trim())));
    }
    Ok(body)
}

fn parse(method: &'static str, path: &str, body: &str) -> Result<Value> {
    serde_json::from_str(body).map_err(|error| Failure::Call {
        method,
        path: path.to_owned(),
        problem: format!("the answer is not JSON ({error})"),
    })
}
