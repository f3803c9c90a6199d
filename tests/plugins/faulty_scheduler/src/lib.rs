//! A scheduler that goes wrong as its configuration says, and otherwise wants everything at once. For tests of the host.

use barycenter_plugin_api::{
    ExplainRequest, Explanation, Host, InvocationDecision, InvocationVerdict, JobDecision,
    JobVerdict, Plan, PlanRequest, Plugin, PluginError, Scheduler, Text, capability,
};

include!("../../faults.rs");

/// Goes wrong.
pub struct Faulty {
    faults: Faults,
    host: Host,
}

impl Plugin for Faulty {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        let mut faults: Faults = serde_json::from_value(config)?;
        // Faults that are named like the method they belong to.
        for method in ["create", "plan", "startup", "shutdown", "drop"] {
            if faults.fault == method {
                faults.fault = "panic".to_owned();
                faults.at = method.to_owned();
            }
        }
        if faults.fault == "panic" && faults.at.is_empty() {
            faults.at = "plan".to_owned();
        }
        if faults.at.is_empty() {
            faults.at = "plan".to_owned();
        }
        if faults.fault == "refuse" {
            return Err(PluginError::invalid("no such farm"));
        }
        faults.strike("create");
        Ok(Self { faults, host })
    }
}

impl Scheduler for Faulty {
    const CAPABILITIES: &'static [&'static str] = &[capability::STATE, capability::EXPLAIN];

    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Ok(match self.faults.strike("snapshot_state") {
            Some("garbage") => "{\"no json".into(),
            Some("huge") => format!("\"{}\"", "x".repeat(2 << 20)).into(),
            _ => "{}".into(),
        })
    }

    fn restore_state(&mut self, _: &str) -> Result<(), PluginError> {
        match self.faults.strike("restore_state") {
            Some("fail") => Err(PluginError::failed("no idea what that is")),
            _ => Ok(()),
        }
    }

    fn explain(&mut self, _: &ExplainRequest) -> Result<Explanation, PluginError> {
        self.faults.strike("explain");
        Ok(Explanation::default())
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        let faults = self.faults.clone();
        let good = everything(request);
        let Some(fault) = faults.strike("plan") else {
            return Ok(good);
        };
        let lie = |invocations: Vec<InvocationDecision>| Plan {
            invocations: invocations.into(),
            ..Plan::default()
        };
        Ok(match fault {
            "fail" => return Err(PluginError::failed("no idea")),
            "overcommit" => {
                let place = |job: &barycenter_plugin_api::ReadyJob| {
                    JobDecision::place(job.id, &request.runners[0].id)
                };
                Plan {
                    // At least one more than fits.
                    jobs: request
                        .jobs
                        .iter()
                        .chain(&request.jobs)
                        .map(place)
                        .collect(),
                    invocations: request
                        .invocations
                        .iter()
                        .chain(&request.invocations)
                        .map(InvocationDecision::expand_all)
                        .collect(),
                    ..Plan::default()
                }
            }
            "lie" => lie(vec![InvocationDecision::hold(4711, "")]),
            "twice" => {
                let mut plan = good;
                let (jobs, invocations) = (plan.jobs.clone(), plan.invocations.clone());
                plan.jobs.extend(jobs);
                plan.invocations.extend(invocations);
                plan
            }
            "nowhere" => Plan {
                jobs: request
                    .jobs
                    .iter()
                    .map(|job| JobDecision::place(job.id, "nowhere"))
                    .collect(),
                invocations: vec![InvocationDecision {
                    expand: vec![u64::MAX].into(),
                    ..odd(request)
                }]
                .into(),
                ..Plan::default()
            },
            "negative" => Plan {
                wake_at_ms: i64::MIN,
                jobs: request
                    .jobs
                    .iter()
                    .map(|job| JobDecision {
                        wake_at_ms: i64::MIN,
                        ..JobDecision::hold(job.id, "", "")
                    })
                    .collect(),
                invocations: request
                    .invocations
                    .iter()
                    .map(|offer| InvocationDecision {
                        wake_at_ms: -5,
                        job_budget: i64::MIN,
                        ..InvocationDecision::hold(offer.id, "")
                    })
                    .collect(),
                ..Plan::default()
            },
            "garbage" => Plan {
                jobs: request
                    .jobs
                    .iter()
                    .map(|job| JobDecision {
                        decision: JobVerdict(77),
                        ..JobDecision::hold(job.id, "\0\u{1b}[31m", "\u{202e}\0")
                    })
                    .collect(),
                invocations: request
                    .invocations
                    .iter()
                    .map(|offer| InvocationDecision {
                        decision: InvocationVerdict(99),
                        wake_at_ms: 1,
                        ..InvocationDecision::hold(offer.id, "\0\u{1b}[2J\u{202e}")
                    })
                    .collect(),
                ..Plan::default()
            },
            "huge" => Plan {
                jobs: (0..300_000)
                    .map(|id| JobDecision::hold(id, "", "x".repeat(100)))
                    .collect(),
                ..good
            },
            "enormous" => lie(vec![InvocationDecision::hold(4711, "x".repeat(300 << 20))]),
            "dawdle" => {
                std::thread::sleep(Duration::from_secs(3));
                good
            }
            "talk" => {
                self.host.warn("plan was called");
                self.host.wake();
                good
            }
            "ask" => {
                self.host.query("nonsense", &serde_json::json!({}))?;
                good
            }
            _ => good,
        })
    }

    fn startup(&mut self) -> Result<(), PluginError> {
        self.faults.strike("startup");
        Ok(())
    }

    fn shutdown(&mut self) {
        self.faults.strike("shutdown");
    }
}

fn odd(request: &PlanRequest) -> InvocationDecision {
    match request.invocations.first() {
        Some(offer) => InvocationDecision::expand_all(offer),
        None => InvocationDecision::hold(4711, ""),
    }
}

/// Every step, and every job that fits.
fn everything(request: &PlanRequest) -> Plan {
    let mut jobs = request.jobs.iter();
    let mut placed = Vec::new();
    for runner in &request.runners {
        let some = jobs
            .by_ref()
            .take(usize::try_from(runner.accepts).unwrap_or(0));
        placed.extend(some.map(|job| JobDecision::place(job.id, &runner.id)));
    }
    Plan {
        invocations: request
            .invocations
            .iter()
            .map(InvocationDecision::expand_all)
            .collect(),
        jobs: placed.into(),
        ..Plan::default()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.faults.strike("drop");
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "faulty",
    schema: FAULTS_SCHEMA,
    Faulty
}
