//! A scheduler that goes wrong as its configuration says. For tests of the host.

use barycenter_plugin_api::{
    Host, InvocationDecision, JobDecision, Plan, PlanRequest, Plugin, PluginError, Scheduler,
};
use std::time::Duration;

/// Goes wrong.
pub struct Faulty {
    fault: String,
    host: Host,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload panics, too");
    }
}

impl Plugin for Faulty {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        let fault = config["fault"].as_str().unwrap_or_default().to_owned();
        assert!(fault != "create", "create panics");
        if fault == "refuse" {
            return Err(PluginError::invalid("no such farm"));
        }
        Ok(Self { fault, host })
    }
}

impl Scheduler for Faulty {
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        match self.fault.as_str() {
            "plan" => panic!("plan panics in cycle {}", request.cycle),
            "payload" => std::panic::panic_any(Bomb),
            "overcommit" => {
                let place = |job: &barycenter_plugin_api::ReadyJob| {
                    JobDecision::place(job.id, &request.runners[0].id)
                };
                return Ok(Plan {
                    jobs: request.jobs.iter().map(place).collect(),
                    ..Plan::default()
                });
            }
            "lie" => {
                return Ok(Plan {
                    invocations: vec![InvocationDecision::hold(4711, "")].into(),
                    ..Plan::default()
                });
            }
            "dawdle" => std::thread::sleep(Duration::from_millis(400)),
            "talk" => {
                self.host.warn("plan was called");
                self.host.wake();
            }
            _ => {}
        }
        Ok(Plan::default())
    }

    fn startup(&mut self) -> Result<(), PluginError> {
        assert!(self.fault != "startup", "startup panics");
        Ok(())
    }

    fn shutdown(&mut self) {
        assert!(self.fault != "shutdown", "shutdown panics");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.fault != "drop", "drop panics");
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "faulty",
    schema: r#"{
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "fault": { "type": "string" },
            "weight": { "type": "number", "maximum": 10 }
        }
    }"#,
    Faulty
}
