//! Sending a document to a URL: what webhooks do.

use std::sync::Arc;
use std::time::Duration;

use super::rules::{Refusal, Rules, Target};
use super::transfer::{Failure, place};
use super::web::{self, NotPublic};

/// How long one may take, answer and all.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Sends to where the operator allows.
#[derive(Debug, Clone)]
pub struct Sender {
    rules: Arc<Rules>,
    agent: ureq::Agent,
}

impl Sender {
    pub fn new(rules: Rules) -> Sender {
        let rules = Arc::new(rules);
        Sender {
            agent: web::agent(rules.clone()),
            rules,
        }
    }

    /// Whether a URL may be sent to, as far as that can be told without asking anybody.
    pub fn check(&self, url: &str) -> Result<(), Refusal> {
        self.rules.check(url).map(drop)
    }

    /// Sends JSON; anything but a status of success is a failure, a redirect included. What the other side gets twice has
    /// the same `key`. Blocks, for half a minute at most. Answers the status.
    pub fn post_json(&self, url: &str, body: &[u8], key: &str) -> Result<u16, Failure> {
        let url = match self.rules.check(url)? {
            Target::Web(url) => url,
            Target::File(_) => return Err(Failure::lasting("A webhook is an http or https URL.")),
        };
        let place = place(&url);
        let sent = self
            .agent
            .post(url.as_str())
            .config()
            .timeout_global(Some(TIME_LIMIT))
            .build()
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key)
            .send(body);
        let answer = sent.map_err(|error| match &error {
            ureq::Error::Other(inner) if inner.is::<NotPublic>() => {
                Failure::lasting(format!("The URL {place} {NotPublic}"))
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::lasting(format!("{place} cannot be called: {error}."))
            }
            _ => Failure::passing(format!("{place} cannot be called: {error}.")),
        })?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => Ok(status),
            408 | 425 | 429 | 500.. => Err(Failure::passing(format!(
                "{place} answered with status {status}."
            ))),
            300..=399 => Err(Failure::lasting(format!(
                "{place} redirects, which is not followed."
            ))),
            _ => Err(Failure::lasting(format!(
                "{place} answered with status {status}."
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::rules::{Local, Prefix, Purpose};
    use super::*;

    /// Answers one request with a status; gives its port, and what it was sent.
    fn serve(status: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut got = Vec::new();
            let mut buffer = [0; 1024];
            while !String::from_utf8_lossy(&got).ends_with("{\"a\":1}") {
                let n = stream.read(&mut buffer).expect("a request");
                got.extend(&buffer[..n]);
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: /other\r\n\r\n");
            stream.write_all(answer.as_bytes()).expect("sent");
            String::from_utf8_lossy(&got).into_owned()
        });
        (port, asked)
    }

    fn sender(local: &[&str]) -> Sender {
        Sender::new(Rules {
            purpose: Purpose::Webhook,
            prefixes: vec![Prefix::parse("http://").expect("a prefix")],
            local: local.iter().map(|l| Local::parse(l).expect(l)).collect(),
            ..Rules::default()
        })
    }

    #[test]
    fn a_document_is_sent_with_its_key() {
        let (port, asked) = serve("204 No Content");
        let url = format!("http://127.0.0.1:{port}/hook?t=1");
        let sent = sender(&["127.0.0.1"]).post_json(&url, b"{\"a\":1}", "k-1");
        assert_eq!(sent, Ok(204));
        let request = asked.join().expect("asked").to_lowercase();
        assert!(request.starts_with("post /hook?t=1 "), "{request}");
        assert!(request.contains("idempotency-key: k-1"), "{request}");
        assert!(
            request.contains("content-type: application/json"),
            "{request}"
        );
    }

    #[test]
    fn failures_pass_or_last_and_hide_the_query() {
        for (status, may_pass) in [
            ("503 Busy", true),
            ("429 Slowly", true),
            ("404 Not Found", false),
            ("307 Elsewhere", false),
        ] {
            let (port, asked) = serve(status);
            let url = format!("http://127.0.0.1:{port}/hook?secret");
            let failure = sender(&["127.0.0.1"])
                .post_json(&url, b"{\"a\":1}", "k")
                .expect_err(status);
            assert_eq!(failure.may_pass, may_pass, "{failure}");
            assert!(!failure.sentence.contains("secret"), "{failure}");
            asked.join().expect("asked");
        }
    }

    #[test]
    fn own_networks_are_not_called_by_name_or_number() {
        for url in ["http://127.0.0.1:9/", "http://localhost:9/"] {
            let failure = sender(&[]).post_json(url, b"{}", "k").expect_err(url);
            assert!(!failure.may_pass && failure.sentence.contains("fetch_url_allowlist"));
        }
        let closed = Sender::new(Rules {
            purpose: Purpose::Webhook,
            ..Rules::default()
        });
        let refusal = closed.check("https://example.org/").expect_err("closed");
        assert!(refusal.0.contains("webhook_url_prefixes"), "{refusal}");
    }
}
