//! `/metrics`: what Prometheus reads, and who may.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use barycenter_tests::wait::until;
use barycenter_tests::{Client, Setup, TestServer, build, workflows};
use serde_json::json;

type Labels = BTreeMap<String, String>;

/// What a text says, read strictly by the rules of the format, version 0.0.4, and by those that `promtool check metrics`
/// adds: help and type for every family, in one piece; counters end in `_total`; histograms are whole.
#[derive(Debug, Default)]
struct Parsed {
    types: BTreeMap<String, String>,
    samples: HashMap<(String, Labels), f64>,
}

impl Parsed {
    fn of(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut family = String::new();
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.trim().is_empty() && is_name(name), "{line}");
                assert!(!parsed.types.contains_key(name), "{name} is there twice");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, word) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family, "type and help belong together");
                assert!(["counter", "gauge", "histogram"].contains(&word), "{line}");
                assert_eq!(word == "counter", name.ends_with("_total"), "{line}");
                parsed.types.insert(name.to_owned(), word.to_owned());
            } else {
                let (name, labels, value) = sample(line);
                let of_histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name == format!("{family}{end}"));
                match parsed.types[&family].as_str() {
                    "histogram" => assert!(of_histogram, "{line} is not of {family}"),
                    _ => assert_eq!(name, family, "{line}"),
                }
                let before = parsed.samples.insert((name, labels), value);
                assert!(before.is_none(), "{line} is there twice");
            }
        }
        parsed.check_histograms();
        parsed
    }

    fn check_histograms(&self) {
        let histograms = self.types.iter().filter(|(_, word)| *word == "histogram");
        for (family, _) in histograms {
            let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((name, labels), value) in &self.samples {
                if *name == format!("{family}_bucket") {
                    let mut labels = labels.clone();
                    let bound = labels.remove("le").expect("a bound");
                    let bound = if bound == "+Inf" {
                        f64::INFINITY
                    } else {
                        bound.parse().expect("a number")
                    };
                    series.entry(labels).or_default().push((bound, *value));
                }
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(
                    buckets.is_sorted_by(|a, b| a.1 <= b.1),
                    "{family} {labels:?} {buckets:?}"
                );
                let last = buckets.last().expect("a bucket");
                assert!(last.0.is_infinite());
                assert_eq!(
                    last.1,
                    self.samples[&(format!("{family}_count"), labels.clone())]
                );
                assert!(
                    self.samples
                        .contains_key(&(format!("{family}_sum"), labels))
                );
            }
        }
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let key = (name.to_owned(), labels);
        *self
            .samples
            .get(&key)
            .unwrap_or_else(|| panic!("no sample {key:?}"))
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("{line}: no number"));
    let mut labels = Labels::new();
    let name = match head.split_once('{') {
        None => head,
        Some((name, rest)) => {
            let mut rest = rest.strip_suffix('}').expect("the labels end");
            while !rest.is_empty() {
                let (label, after) = rest.split_once("=\"").expect("a label");
                assert!(is_name(label), "{line}");
                let mut value = String::new();
                let mut chars = after.char_indices();
                let end = loop {
                    match chars.next().expect("the value ends") {
                        (_, '\\') => match chars.next().expect("something escaped").1 {
                            'n' => value.push('\n'),
                            c @ ('\\' | '"') => value.push(c),
                            c => panic!("{line}: \\{c}"),
                        },
                        (at, '"') => break at,
                        (_, c) => value.push(c),
                    }
                };
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
                rest = &after[end + 1..];
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            name
        }
    };
    assert!(is_name(name), "{line}");
    (name.to_owned(), labels, value)
}

fn read(client: &Client) -> Parsed {
    let answer = client.get("/metrics");
    assert_eq!(answer.status, 200, "{answer}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    Parsed::of(&answer.text())
}

#[test]
fn the_numbers_are_well_formed_and_count_what_happens() {
    let server = TestServer::start();
    let client = server.client();
    let before = read(&server.anonymous());
    let id = client.invoke_on(
        &workflows::steps(&[
            ("a", "cat $INPUT > out.txt", "data"),
            ("b", "exit 1", "a/out"),
        ]),
        "hello\n",
    );
    client.wait_for_job(&id, "b", &["error"]);
    client.get("/api/nonsense/%22%0A");
    let after = read(&server.anonymous());
    let grew = |name: &str, labels: &[(&str, &str)], by: f64| {
        let (before, after) = (before.value(name, labels), after.value(name, labels));
        assert!(
            after >= before + by,
            "{name} {labels:?}: {before} to {after}"
        );
    };
    grew("barycenter_invocations_created_total", &[], 1.0);
    grew("barycenter_iterations_total", &[], 1.0);
    grew("barycenter_jobs_started_total", &[], 2.0);
    grew("barycenter_jobs_ended_total", &[("how", "ok")], 1.0);
    grew("barycenter_jobs_ended_total", &[("how", "not_ok")], 1.0);
    grew("barycenter_database_commits_total", &[], 3.0);
    grew("barycenter_database_statements_total", &[], 10.0);
    let plan = [
        ("kind", "scheduler"),
        ("plugin", "default"),
        ("method", "plan"),
    ];
    grew("barycenter_plugin_calls_total", &plan, 2.0);
    grew("barycenter_plugin_call_duration_seconds_count", &plan, 2.0);
    let ready = [
        ("kind", "job_runner"),
        ("plugin", "local"),
        ("state", "ready"),
    ];
    assert_eq!(after.value("barycenter_plugin_state", &ready), 1.0);
    assert_eq!(after.value("barycenter_jobs_running", &[]), 0.0);
    assert_eq!(after.value("barycenter_plugin_retired_images", &[]), 0.0);
    assert!(after.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(after.value("process_threads", &[]) >= 1.0);
    assert!(after.value("process_open_fds", &[]) >= 3.0);
    // Requests are counted by what is served, not by what is asked for.
    let routes: BTreeSet<&str> = after
        .samples
        .keys()
        .filter(|(name, _)| name == "barycenter_http_requests_total")
        .map(|(_, labels)| labels["route"].as_str())
        .collect();
    assert!(
        routes.contains("/api/invocations/{id}") || routes.iter().any(|route| route.contains('{')),
        "{routes:?}"
    );
    assert!(
        routes.contains("none") && !routes.iter().any(|route| route.contains(&id)),
        "{routes:?}"
    );
    assert!(after.samples.len() < 2_000, "{}", after.samples.len());
}

#[test]
fn what_goes_wrong_with_plugins_is_counted_logged_and_can_be_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let marker = |id: &str| folder.path().join(id).display().to_string();
    let faults = [
        ("crash", "abort", 0, "lost"),
        ("once", "panic", 1, "panicked"),
        ("liar", "lie", 1, "invalid"),
        ("sleeper", "sleep", 1, "timed_out"),
        ("moody", "fail", 1, "refused"),
        ("talker", "talk", 1, ""),
    ];
    let tables = faults.map(|(id, fault, times, _)| {
        format!(
            "[[scheduler]]\ntype = \"faulty\"\nid = \"{id}\"\npath = {:?}\nisolation = \"process\"\non_failure = \"fallback:default\"\n\
             limits = {{ restarts = \"2/1m\", call_timeout = \"2s\" }}\n\
             config = {{ fault = \"{fault}\", at = \"plan\", times = {times}, marker = {:?} }}\n",
            build::library("faulty_scheduler").display().to_string(),
            marker(id)
        )
    });
    let server = Setup::default()
        .plugins(&format!(
            "[[scheduler]]\ntype = \"default\"\n[[job_runner]]\ntype = \"local\"\n{}",
            tables.concat()
        ))
        .start();
    let client = server.client();
    let history = client.create_history("faults");
    let data = client.upload(&history, "data", "hello\n");
    let workflow = client.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let path = format!("/api/workflows/{workflow}/invocations");
    let ids = faults.map(|(scheduler, ..)| {
        let request = json!({"history_id": history, "inputs_by": "name", "scheduler": scheduler,
            "inputs": {"data": {"src": "hda", "id": data}}});
        let made = client.post(&path, &request).ok();
        made["id"].as_str().expect("an id").to_owned()
    });
    for id in &ids {
        client.wait_for_state(id, &["completed"]);
    }
    let numbers = read(&server.anonymous());
    for (plugin, _, _, fault) in faults {
        let labels = [("kind", "scheduler"), ("plugin", plugin)];
        let plan = [&labels[..], &[("method", "plan")]].concat();
        let calls = numbers.value("barycenter_plugin_calls_total", &plan);
        let timed = numbers.value("barycenter_plugin_call_duration_seconds_count", &plan);
        assert!(calls >= 1.0 && calls == timed, "{plugin}: {calls} {timed}");
        for word in ["lost", "panicked", "invalid", "timed_out", "refused"] {
            let labels = [&plan[..], &[("fault", word)]].concat();
            let count = numbers.value("barycenter_plugin_call_faults_total", &labels);
            assert_eq!(count >= 1.0, word == fault, "{plugin} {word}: {count}");
        }
        let restarts = numbers.value("barycenter_plugin_restarts_total", &labels);
        assert_eq!(
            restarts >= 1.0,
            matches!(plugin, "crash" | "sleeper"),
            "{plugin}: {restarts}"
        );
    }
    let slept = numbers.value(
        "barycenter_plugin_call_duration_seconds_sum",
        &[
            ("kind", "scheduler"),
            ("plugin", "sleeper"),
            ("method", "plan"),
        ],
    );
    assert!(slept >= 2.0, "its whole time counts: {slept}");
    // A plugin's own words are in the server's log, with its name.
    let log = server.log();
    let said = log.lines().find(|line| line.contains("plan was called"));
    let said = said.unwrap_or_else(|| panic!("{log}"));
    assert!(
        said.contains("WARN plugin") && said.contains("plugin=\"talker\""),
        "{said}"
    );

    // The report of a crash names a command; pasted into a shell, it asks the same again, and tells that the same
    // happens.
    let crashes = server.data_dir().join("plugins/crashes");
    let report = until("a report of the crash", || {
        let files = std::fs::read_dir(&crashes).ok()?.flatten();
        let mut files = files.map(|file| file.path());
        let path = files.find(|path| {
            let name = path.display().to_string();
            name.ends_with("scheduler-crash.txt")
        })?;
        std::fs::read_to_string(path).ok()
    });
    let command = report
        .lines()
        .find_map(|line| line.strip_prefix("replay "))
        .unwrap_or_else(|| panic!("{report}"))
        .trim();
    let programs = build::binary().parent().expect("a folder").to_owned();
    let search = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let again = std::process::Command::new("sh")
        .args(["-c", command])
        .env("PATH", search)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    assert!(
        again.status.success() && said.contains("SIGABRT"),
        "{command}: {:?} {said}",
        again.status
    );
}

#[test]
fn who_may_read_them_is_the_operators_decision() {
    let usual = TestServer::start();
    read(&usual.anonymous());
    // A proxy on this machine speaks for somebody else.
    let forwarded = |server: &TestServer, name: &str| {
        server
            .anonymous()
            .send("GET", "/metrics", &[(name, "203.0.113.7")], b"")
    };
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-Ip"] {
        forwarded(&usual, name).refused(403, 403_001);
    }
    let strict = Setup::default().env("BARYCENTER_METRICS", "admin").start();
    strict.anonymous().get("/metrics").refused(403, 403_001);
    strict.client().get("/metrics").refused(403, 403_006);
    read(&strict.admin());
    read(&strict.bootstrap());
    let open = Setup::default().env("BARYCENTER_METRICS", "public").start();
    assert_eq!(forwarded(&open, "X-Forwarded-For").status, 200);
}
