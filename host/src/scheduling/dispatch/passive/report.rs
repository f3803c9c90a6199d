//! What a holder reports: progress, results, failures. Everything it says is checked like a plan: unknown jobs and outputs,
//! and files outside of the job's own directory, are refused one by one, and can be reported again.

use std::collections::HashMap;
use std::path::Path;

use barycenter_plugin_api::PluginError;
use barycenter_plugin_api::passive::{OutputReport, WorkReport, work_state};
use serde_json::Value;

use super::{Passive, told};
use crate::model::state::JobState;
use crate::scheduling::dispatch::collect;
use crate::scheduling::dispatch::outcome::failed;
use crate::scheduling::dispatch::prepare::{self, Prepared, Unwritten};
use crate::scheduling::dispatch::runners::Held;
use crate::scheduling::engine::Services;
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::jobs::{self, ReadyJob, Started};
use crate::store::scheduling::leases;
use crate::tools::outputs::{self, Collected, CollectedCollection, CollectedElement};

/// Reports taken at once.
const REPORTS_MAX: usize = 1_000;
/// What is shown of a message, in characters.
const MESSAGE_MAX: usize = 2_000;

type Refused = Vec<(u64, String)>;

impl Passive<'_> {
    /// Stores what can be stored; the others with the reason.
    pub(super) async fn take_reports(
        &self,
        invocation_id: i64,
        reports: Vec<WorkReport>,
    ) -> Result<Refused, PluginError> {
        if reports.len() > REPORTS_MAX {
            let text = format!("More than {REPORTS_MAX} reports at once; send them in parts");
            return Err(PluginError::refused(text));
        }
        let services = self.services;
        let mut reader = services.store.reader();
        let held = leases::held_jobs(&mut reader, invocation_id, self.scheduler, i64::MAX);
        let (held, _) = held.await.map_err(told)?;
        let mut held: HashMap<u64, ReadyJob> =
            held.into_iter().map(|job| (job.id as u64, job)).collect();
        let mut refused = Refused::new();
        let mut known = Vec::new();
        for report in reports {
            // Taken out, so that a second word on the same job is refused.
            match held.remove(&report.job_id) {
                Some(job) => known.push((job, report)),
                None => {
                    let why = "This job is not yours, or it has ended.";
                    refused.push((report.job_id, why.to_owned()));
                }
            }
        }
        let ids: Vec<i64> = known.iter().map(|(job, _)| job.id).collect();
        let mut loaded = prepare::load(&mut reader, services, &ids)
            .await
            .map_err(told)?;
        let mut judged = Vec::new();
        for (ready, report) in known {
            let Some(dispatch) = loaded.jobs.remove(&ready.id) else {
                continue;
            };
            match prepare::prepare(services, &loaded, dispatch, &ready) {
                Ok(job) => judged.push((ready, job, report)),
                Err((_, text)) => refused.push((report.job_id, text)),
            }
        }
        let verdicts = {
            let services = services.clone();
            let judge = move || {
                let one = |(ready, job, report)| judge(&services, ready, job, report);
                judged.into_iter().map(one).collect::<Vec<_>>()
            };
            tokio::task::spawn_blocking(judge).await
        };
        let verdicts = verdicts.map_err(|_| PluginError::failed("The reports broke the server"))?;
        let (mut started, mut ends) = (Vec::new(), Vec::new());
        for verdict in verdicts {
            match verdict {
                Verdict::Started(one) => started.push(one),
                Verdict::Ended(end) => ends.push(*end),
                Verdict::Refused(job_id, why) => refused.push((job_id, why)),
            }
        }
        if !started.is_empty() {
            let stored = jobs::started(&services.store, &started, self.now()).await;
            stored.map_err(told)?;
        }
        self.settle(ends).await.map_err(told)?;
        Ok(refused)
    }
}

enum Verdict {
    Started(Started),
    Ended(Box<JobEnd>),
    Refused(u64, String),
}

/// What one report comes to. Blocks: results are looked at and moved into place.
fn judge(services: &Services, ready: ReadyJob, job: Prepared, report: WorkReport) -> Verdict {
    let now = services.clock.now_ms();
    let started_ms = (report.started_ms > 0).then_some(report.started_ms.min(now));
    let external_id = (!report.external_id.is_empty()).then(|| report.external_id.clone());
    let told = JobEnd {
        stdout: collect::text(report.stdout.clone().into_bytes()),
        stderr: collect::text(report.stderr.clone().into_bytes()),
        started_ms,
        external_id: external_id.clone(),
        ..failed(&job.dispatch, &message(&report), now)
    };
    match report.state.as_str() {
        work_state::RUNNING => Verdict::Started(Started {
            job_id: ready.id,
            external_id: external_id.unwrap_or_default(),
            started_ms: started_ms.unwrap_or(now),
            dataset_ids: job.dataset_ids(),
        }),
        work_state::FAILED => Verdict::Ended(Box::new(told)),
        work_state::DONE => {
            let gathered = match gather(&job, &report.outputs) {
                Ok(gathered) => gathered,
                Err(why) => return Verdict::Refused(report.job_id, why),
            };
            let mut end = JobEnd {
                state: JobState::Ok,
                info: None,
                outputs: Vec::new(),
                collections: Vec::new(),
                ..told
            };
            let held = Held {
                id: ready.id,
                token: ready.token,
                user_id: ready.user_id,
                cores: ready.cores.max(1) as u64,
                since_ms: now,
                external_id,
                seen_running: true,
                prepared: job,
            };
            let actions = &held.prepared.dispatch.actions;
            match collect::place(services, &held, gathered, actions, &mut end) {
                Ok(()) => Verdict::Ended(Box::new(end)),
                // The holder reports it once more when it likes.
                Err(Unwritten::Fault(why) | Unwritten::NoRoom(why)) => {
                    Verdict::Refused(report.job_id, why)
                }
            }
        }
        other => {
            let why = format!("`{other}` is no state of work: use running, done or failed.");
            Verdict::Refused(report.job_id, why)
        }
    }
}

fn message(report: &WorkReport) -> String {
    match report.message.trim() {
        "" => "The scheduler reports that the work failed.".to_owned(),
        text => text.replace('\0', " ").chars().take(MESSAGE_MAX).collect(),
    }
}

/// The files of a report, each output exactly once.
fn gather(job: &Prepared, reported: &[OutputReport]) -> Result<Collected, String> {
    let slots = job.dispatch.outputs.iter().map(|slot| &slot.name);
    let collections = job.dispatch.output_collections.iter();
    let wanted: Vec<&String> = slots.chain(collections.map(|slot| &slot.name)).collect();
    for (at, output) in reported.iter().enumerate() {
        if !wanted.contains(&&output.name) {
            return Err(format!("The job has no output `{}`.", output.name));
        }
        if reported[..at].iter().any(|other| other.name == output.name) {
            return Err(format!("The output `{}` is reported twice.", output.name));
        }
    }
    let working = job.working_directory();
    let file = |name: &str, file: &str| {
        let found = outputs::named(
            &job.tool,
            &working,
            name,
            file,
            &job.dispatch.params,
            &job.views,
        );
        found.map_err(|error| error.to_string())
    };
    let mut collected = Collected::default();
    for name in wanted {
        let Some(output) = reported.iter().find(|output| output.name == *name) else {
            return Err(format!("The output `{name}` is missing."));
        };
        let is_collection = job
            .dispatch
            .output_collections
            .iter()
            .any(|slot| slot.name == *name);
        match (&output.file, &output.value) {
            _ if is_collection => {
                let mut elements = Vec::new();
                for element in &output.elements {
                    let found = file(name, &element.file)?;
                    if element.identifiers.is_empty() {
                        return Err(format!("An element of `{name}` has no identifier."));
                    }
                    elements.push(CollectedElement {
                        identifiers: element.identifiers.clone(),
                        path: found.path,
                        size: found.size,
                        ext: found.ext,
                        dbkey: None,
                    });
                }
                collected.collections.push(CollectedCollection {
                    output_name: name.clone(),
                    elements,
                });
            }
            (Some(path), None) => collected.datasets.push(file(name, path)?),
            (None, Some(value)) => {
                let path = write_value(&working, collected.datasets.len(), value)
                    .map_err(|error| format!("The value of `{name}` was not written: {error}"))?;
                collected.datasets.push(file(name, &path)?);
            }
            _ => return Err(format!("Give either a file or a value for `{name}`.")),
        }
    }
    Ok(collected)
}

/// A value as a file of the job. The name is new, so that nothing is written through a link.
fn write_value(working: &Path, number: usize, value: &Value) -> std::io::Result<String> {
    use std::io::Write as _;
    let name = format!(".value-{number}-{}", uuid::Uuid::new_v4());
    let mut file = std::fs::File::create_new(working.join(&name))?;
    match value {
        Value::String(text) => file.write_all(text.as_bytes())?,
        other => file.write_all(other.to_string().as_bytes())?,
    }
    Ok(name)
}
