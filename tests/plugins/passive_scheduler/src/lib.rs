//! A passive scheduler, as one that hands work to another server would be: it takes the invocations that carry its id,
//! "sends" each piece of work away, and reports what "came back": the input's text in capitals.
//!
//! Its options make it go wrong on purpose; what the server says to that is written to `journal`, line by line.

use barycenter_plugin_api::passive::{
    ClaimRequest, Claimed, ElementReport, OutputReport, Work, WorkReport, work_state,
};
use barycenter_plugin_api::{
    Host, Plan, PlanRequest, Plugin, PluginError, Scheduler, Text, capability,
};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Passive {
    farm: Farm,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Refuses to start.
    startup_fails: bool,
    /// Refuses an earlier one's state.
    restore_fails: bool,
}

/// The "other server".
#[derive(Clone)]
struct Farm {
    host: Host,
    lease_ms: i64,
    /// Ends its process once, between claim and report; the file remembers that it happened.
    abort_once: Option<PathBuf>,
    /// Stands still once, between claim and report, and never asks for anything again; the file remembers it.
    hang_once: Option<PathBuf>,
    /// Work takes so long, milliseconds.
    work_ms: u64,
    /// Lets the first lease run out, and reports all the same.
    late: bool,
    /// Reports nonsense before it reports what is right.
    hostile: bool,
    /// Takes work and never finishes it.
    idle: bool,
    /// Says that the work failed.
    fails: bool,
    journal: Option<PathBuf>,
    /// Its state: how much work was done, by this one and those whose state it was given.
    worked: Arc<AtomicU64>,
}

impl Plugin for Passive {
    fn create(config: Value, host: Host) -> Result<Self, PluginError> {
        let path = |name: &str| config[name].as_str().map(PathBuf::from);
        let flag = |name: &str| config[name].as_bool().unwrap_or(false);
        Ok(Self {
            farm: Farm {
                host,
                lease_ms: config["lease_ms"].as_i64().unwrap_or(10_000),
                abort_once: path("abort_once"),
                hang_once: path("hang_once"),
                work_ms: config["work_ms"].as_u64().unwrap_or(0),
                late: flag("late"),
                hostile: flag("hostile"),
                idle: flag("idle"),
                fails: flag("fails"),
                journal: path("journal"),
                worked: Arc::default(),
            },
            stop: Arc::default(),
            thread: None,
            startup_fails: flag("startup_fails"),
            restore_fails: flag("restore_fails"),
        })
    }
}

impl Scheduler for Passive {
    const ACTIVE: bool = false;
    const CAPABILITIES: &'static [&'static str] = &[capability::STATE];

    fn plan(&mut self, _: &PlanRequest) -> Result<Plan, PluginError> {
        panic!("a passive scheduler is not asked for a plan")
    }

    fn startup(&mut self) -> Result<(), PluginError> {
        if self.startup_fails {
            return Err(PluginError::failed("the farm is closed"));
        }
        let (mut farm, stop) = (self.farm.clone(), self.stop.clone());
        self.thread = Some(std::thread::spawn(move || farm.work_until(&stop)));
        Ok(())
    }

    fn shutdown(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The thread tells the journal itself what went wrong.
            let _ = thread.join();
        }
    }

    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Ok(self.farm.worked.load(Ordering::SeqCst).to_string().into())
    }

    fn restore_state(&mut self, state_json: &str) -> Result<(), PluginError> {
        if self.restore_fails {
            return Err(PluginError::failed("the farm forgets"));
        }
        let worked: u64 = serde_json::from_str(state_json)?;
        self.farm.worked.fetch_add(worked, Ordering::SeqCst);
        self.farm.note(format!("goes on after {worked}"));
        Ok(())
    }
}

impl Farm {
    fn work_until(&mut self, stop: &AtomicBool) {
        let mut held: Vec<String> = Vec::new();
        self.note("begins");
        while !stop.load(Ordering::SeqCst) {
            let request = ClaimRequest {
                lease_ms: self.lease_ms,
                most: 4,
                // What a process before this one held.
                own: true,
            };
            match self.host.claim(&request) {
                Ok(claimed) => {
                    for one in claimed {
                        held.extend(self.begin(one));
                    }
                }
                Err(error) => self.note(format!("claim: {error}")),
            }
            held.retain(|token| self.go_on(token));
            std::thread::sleep(Duration::from_millis(50));
        }
        if !self.idle {
            for token in held {
                if let Err(error) = self.host.release(&token) {
                    self.note(format!("release: {error}"));
                }
            }
        }
    }

    /// Works on what was claimed; the token while there is more to come.
    fn begin(&mut self, claimed: Claimed) -> Option<String> {
        let again = claimed.work.iter().any(|work| work.again);
        self.note(format!(
            "claimed {} {} steps {} work {}{}",
            claimed.invocation.workflow_name,
            claimed.invocation.user_name,
            claimed.steps.len(),
            claimed.work.len(),
            if again { " again" } else { "" }
        ));
        if let Some(flag) = self.abort_once.clone().filter(|flag| !flag.exists()) {
            let written = std::fs::write(flag, "");
            self.note(format!("aborting {}", written.is_ok()));
            std::process::abort();
        }
        if let Some(flag) = self.hang_once.clone().filter(|flag| !flag.exists()) {
            let written = std::fs::write(flag, "");
            self.note(format!("hanging {}", written.is_ok()));
            loop {
                std::thread::park();
            }
        }
        if std::mem::take(&mut self.late) {
            std::thread::sleep(Duration::from_millis(2 * self.lease_ms.unsigned_abs()));
            let reports = self.results(&claimed.work);
            match self.host.report(&claimed.token, &reports) {
                Ok(_) => self.note("late: taken"),
                Err(error) => self.note(format!("late: {error}")),
            }
            return None;
        }
        self.work(&claimed.token, &claimed.work);
        Some(claimed.token)
    }

    /// Asks for news and works on it. False when the invocation is no longer ours.
    fn go_on(&self, token: &str) -> bool {
        match self.host.renew(token, self.lease_ms) {
            Ok(news) if news.ended => {
                self.note(format!(
                    "ended {} stopped {}",
                    news.state,
                    news.stopped.len()
                ));
                false
            }
            Ok(news) => {
                self.work(token, &news.work);
                true
            }
            Err(error) => {
                self.note(format!("renew: {error}"));
                false
            }
        }
    }

    fn work(&self, token: &str, work: &[Work]) {
        if work.is_empty() || self.idle {
            return;
        }
        let running: Vec<WorkReport> = work
            .iter()
            .map(|work| WorkReport {
                job_id: work.job_id,
                state: work_state::RUNNING.into(),
                external_id: format!("farm-{}", work.job_id),
                ..WorkReport::default()
            })
            .collect();
        self.tell(token, &running);
        if self.hostile {
            for report in nonsense(&work[0]) {
                self.tell(token, &[report]);
            }
        }
        std::thread::sleep(Duration::from_millis(self.work_ms));
        for work in work {
            self.worked.fetch_add(1, Ordering::SeqCst);
            self.note(format!("worked on {}", work.job_id));
        }
        self.tell(token, &self.results(work));
    }

    fn tell(&self, token: &str, reports: &[WorkReport]) {
        match self.host.report(token, reports) {
            Ok(answer) => {
                for (_, why) in answer.refused {
                    self.note(format!("refused: {why}"));
                }
            }
            Err(error) => self.note(format!("report: {error}")),
        }
    }

    fn results(&self, work: &[Work]) -> Vec<WorkReport> {
        work.iter()
            .map(|work| match self.fails {
                true => WorkReport {
                    job_id: work.job_id,
                    state: work_state::FAILED.into(),
                    message: "The farm burnt down.".into(),
                    ..WorkReport::default()
                },
                false => done(work),
            })
            .collect()
    }

    fn note(&self, line: impl AsRef<str>) {
        let Some(journal) = &self.journal else { return };
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(journal);
        if let Ok(mut file) = file {
            // In one piece: two threads write here.
            let _ = file.write_all(format!("{}\n", line.as_ref()).as_bytes());
        }
    }
}

/// The first output as a file, others as values.
fn done(work: &Work) -> WorkReport {
    let text: String = work
        .inputs
        .iter()
        .filter_map(|input| std::fs::read_to_string(&input.path).ok())
        .collect();
    let text = text.to_uppercase();
    let outputs = work.outputs.iter().enumerate().map(|(at, wanted)| {
        let mut output = OutputReport {
            name: wanted.name.clone(),
            ..OutputReport::default()
        };
        if wanted.is_collection {
            for identifier in ["a", "b"] {
                output.elements.push(ElementReport {
                    identifiers: vec![identifier.to_owned()],
                    file: written(work, &format!("element-{identifier}"), &text),
                });
            }
        } else if at == 0 {
            output.file = Some(written(work, "sub/result.txt", &text));
        } else {
            output.value = Some(Value::String(text.clone()));
        }
        output
    });
    WorkReport {
        job_id: work.job_id,
        state: work_state::DONE.into(),
        external_id: format!("farm-{}", work.job_id),
        stdout: "done on the farm\n".into(),
        outputs: outputs.collect(),
        ..WorkReport::default()
    }
}

fn written(work: &Work, name: &str, text: &str) -> String {
    let path = Path::new(&work.directory).join(name);
    if let Some(parent) = path.parent() {
        let _ = std::fs::create_dir_all(parent);
    }
    let _ = std::fs::write(path, text);
    name.to_owned()
}

/// Reports that must be refused, each for one reason.
fn nonsense(work: &Work) -> Vec<WorkReport> {
    let directory = Path::new(&work.directory);
    let _ = std::os::unix::fs::symlink("/etc/hostname", directory.join("link"));
    let _ = std::fs::create_dir_all(directory.join("folder"));
    let name = work.outputs[0].name.clone();
    let of = |outputs: Vec<OutputReport>| WorkReport {
        job_id: work.job_id,
        state: work_state::DONE.into(),
        outputs,
        ..WorkReport::default()
    };
    let file = |name: &str, file: &str| OutputReport {
        name: name.to_owned(),
        file: Some(file.to_owned()),
        ..OutputReport::default()
    };
    vec![
        of(vec![file(&name, "../script.sh")]),
        of(vec![file(&name, "/etc/passwd")]),
        of(vec![file(&name, "link")]),
        of(vec![file(&name, "folder")]),
        of(vec![file(&name, "nothing")]),
        of(vec![file("no-such-output", "link")]),
        of(vec![]),
        WorkReport {
            job_id: 999_999,
            ..of(vec![])
        },
        WorkReport {
            state: "perhaps".into(),
            ..of(vec![])
        },
    ]
}

barycenter_plugin_api::export_scheduler! {
    type: "passive",
    description: "Takes its invocations by itself and answers in capitals; for tests",
    schema: r#"{
        "type": "object",
        "properties": {
            "lease_ms": { "type": "integer", "minimum": 1 },
            "abort_once": { "type": "string" },
            "hang_once": { "type": "string" },
            "work_ms": { "type": "integer", "minimum": 0 },
            "journal": { "type": "string" },
            "late": { "type": "boolean" },
            "hostile": { "type": "boolean" },
            "idle": { "type": "boolean" },
            "fails": { "type": "boolean" },
            "startup_fails": { "type": "boolean" },
            "restore_fails": { "type": "boolean" }
        },
        "additionalProperties": false
    }"#,
    Passive
}
