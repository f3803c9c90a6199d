//! `barycenter plugin list|reload|disable|enable` against a server that runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::out;

/// Which server, and as whom.
#[derive(Debug, Args)]
pub struct Server {
    /// The server, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = url)]
    server: String,
    /// The environment variable that has the key of an administrator
    #[arg(long, value_name = "NAME", default_value = KEY)]
    api_key_env: String,
}

impl Server {
    pub fn new(url: &str, api_key_env: &str) -> Self {
        Self {
            server: url.to_owned(),
            api_key_env: api_key_env.to_owned(),
        }
    }
}

/// The URL of a server.
pub fn url(text: &str) -> Result<String, String> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("give a URL such as http://127.0.0.1:8080".to_owned()),
    }
}

/// Where the key is looked for.
pub const KEY: &str = "BARYCENTER_API_KEY";

/// One plugin of a server.
#[derive(Debug, Args)]
pub struct One {
    /// Its id in plugins.toml, or KIND:ID where several kinds have one of this id
    id: String,
    #[command(flatten)]
    server: Server,
    /// The server's whole answer, as JSON
    #[arg(long)]
    json: bool,
}

/// A reload waits for the plugin's own start.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the server is asked to do with a plugin.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Reload,
    Disable,
    Enable,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Disable => "disable",
            Self::Enable => "enable",
        }
    }
}

/// Gives the order and says what came of it.
pub fn order(order: Order, one: &One) -> ExitCode {
    let path = format!("/api/plugins/{}/{}", escaped(&one.id), order.word());
    match ask(&one.server, "POST", &path) {
        Ok(answer) if one.json => out::line(answer),
        Ok(answer) => out::line(sentence(order, &answer)),
        Err(error) => return out::failure(error),
    }
    ExitCode::SUCCESS
}

/// The plugins of a server that runs.
pub fn list(server: &Server, as_json: bool) -> ExitCode {
    let plugins = match ask(server, "GET", "/api/plugins") {
        Ok(plugins) => plugins,
        Err(error) => return out::failure(error),
    };
    let Value::Array(plugins) = plugins else {
        return out::failure(format_args!(
            "{}: the answer is no list of plugins; is this a Barycenter?",
            server.server
        ));
    };
    if as_json {
        out::lines(plugins);
        return ExitCode::SUCCESS;
    }
    let heading = [
        "KIND",
        "ID",
        "TYPE",
        "VERSION",
        "API",
        "STATE",
        "ISOLATION",
        "CALLS",
        "REPORT",
    ];
    let rows: Vec<Vec<String>> = plugins.iter().map(row).collect();
    out::table(&heading, &rows);
    ExitCode::SUCCESS
}

fn row(plugin: &Value) -> Vec<String> {
    let text = |name: &str| plugin[name].as_str().unwrap_or_default().to_owned();
    let calls = plugin["calls"].as_array().into_iter().flatten();
    let calls: u64 = calls.filter_map(|method| method["calls"].as_u64()).sum();
    let report = &plugin["report"];
    let said = report["text"].as_str().or(report["code"].as_str());
    vec![
        text("kind"),
        text("id"),
        text("type"),
        text("version"),
        text("api"),
        text("state"),
        text("isolation"),
        calls.to_string(),
        said.and_then(|said| said.lines().next())
            .unwrap_or_default()
            .to_owned(),
    ]
}

fn sentence(order: Order, answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = format!("{} {}", text(&answer["kind"]), text(&answer["id"]));
    let state = text(&answer["state"]);
    match order {
        Order::Reload => {
            let reloaded = &answer["reloaded"];
            let short = |digest: &Value| text(digest).chars().take(12).collect::<String>();
            let from = match reloaded["was_loaded"].as_bool() {
                Some(true) => format!(
                    "{} ({}) → ",
                    text(&reloaded["version_before"]),
                    short(&reloaded["sha256_before"])
                ),
                _ => String::new(),
            };
            let rehearsal = match reloaded["rehearsal"]["cycles"].as_u64() {
                Some(cycles) => format!(
                    ", rehearsed {cycles} plans, {} of them other than before",
                    reloaded["rehearsal"]["differences"]
                ),
                None => String::new(),
            };
            let to = format!(
                "{} ({})",
                text(&answer["version"]),
                short(&answer["sha256"])
            );
            format!("{name}: {from}{to}, {state}{rehearsal}")
        }
        Order::Disable | Order::Enable => match answer["changed"].as_bool() {
            Some(true) => format!("{name}: {state}"),
            _ => format!("{name}: {state}, as before"),
        },
    }
}

fn ask(server: &Server, method: &str, path: &str) -> Result<Value, String> {
    let key = std::env::var(&server.api_key_env).unwrap_or_default();
    if key.is_empty() {
        return Err(format!(
            "no key: set {} to the key of an administrator",
            server.api_key_env
        ));
    }
    if !key.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "the value of {} is no key: it has blanks or other characters that no key has",
            server.api_key_env
        ));
    }
    let url = format!("{}{path}", server.server);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Whoever answers with another address does not get the key.
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let sent = match method {
        "GET" => agent.get(&url).header("x-api-key", &key).call(),
        _ => agent.post(&url).header("x-api-key", &key).send_empty(),
    };
    let mut answer = sent.map_err(|error| format!("{url}: {error}"))?;
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get("location");
        let to = to
            .and_then(|to| to.to_str().ok())
            .unwrap_or("another address");
        return Err(format!(
            "{url} leads to {to}; give the server that is there with --server"
        ));
    }
    let text = answer.body_mut().read_to_string();
    let text = text.map_err(|error| format!("{url}: {error}"))?;
    let body: Option<Value> = serde_json::from_str(&text).ok();
    match (status.is_success(), body) {
        (true, Some(body)) => Ok(body),
        (true, None) => Err(format!(
            "{url}: the answer is not JSON; is this a Barycenter?"
        )),
        (false, body) => {
            let said = body.as_ref().and_then(|body| body["err_msg"].as_str());
            Err(match said {
                Some(said) => said.to_owned(),
                None => format!("{url}: {status}"),
            })
        }
    }
}

/// For a part of a path.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_came_of_an_order_is_one_line() {
        let answer = json!({
            "kind": "scheduler", "id": "night", "state": "ready", "version": "1.1.0", "sha256": "b".repeat(64),
            "reloaded": {
                "was_loaded": true, "version_before": "1.0.0", "sha256_before": "a".repeat(64),
                "rehearsal": { "cycles": 8, "differences": 1 },
            },
        });
        assert_eq!(
            sentence(Order::Reload, &answer),
            "scheduler night: 1.0.0 (aaaaaaaaaaaa) → 1.1.0 (bbbbbbbbbbbb), ready, rehearsed 8 plans, 1 of them other \
             than before"
        );
        let answer =
            json!({ "kind": "job_runner", "id": "local", "state": "disabled", "changed": false });
        assert_eq!(
            sentence(Order::Disable, &answer),
            "job_runner local: disabled, as before"
        );
    }

    #[test]
    fn a_server_is_named_by_its_url() {
        assert_eq!(url("http://h:8080/"), Ok("http://h:8080".to_owned()));
        assert_eq!(url("https://h/below"), Ok("https://h/below".to_owned()));
        for text in [
            "",
            "h:8080",
            "http://",
            "http:///x",
            "http://:80",
            "ftp://h",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            escaped("scheduler:a/../b ?é"),
            "scheduler:a%2F..%2Fb%20%3F%C3%A9"
        );
    }
}
