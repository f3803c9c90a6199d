//! What a scheduler is asked and answers, in the compact form.

use super::wire::{Damage, Number, Reader, Wire, Writer, records};
use barycenter_plugin_api::{
    Attr, InvocationDecision, InvocationOffer, InvocationVerdict, JobDecision, JobVerdict, Plan,
    PlanRequest, ReadyJob, RunnerOffer, StepHold, StepOffer, UserLoad,
};

records! {
    PlanRequest { now_ms, cycle, seed, deadline_ms | invocations, jobs, runners, load, attrs }
    InvocationOffer {
        id, create_time_ms, age_ms, active_jobs, history_id, user_id | uuid, workflow_name, state, parameters, steps, attrs
    }
    StepOffer { step_id, order_index, expected_jobs | step_type, tool_id, label, attrs }
    ReadyJob {
        id, ready_since_ms, create_time_ms, invocation_id, history_id, user_id, cores, memory_mb, attempts | tool_id, attrs
    }
    RunnerOffer { slots_total, slots_free, accepts | id, attrs }
    UserLoad { user_id, running, queued | attrs }

    Plan { wake_at_ms | invocations, jobs, attrs }
    InvocationDecision { invocation_id, wake_at_ms, job_budget, decision | expand, holds, text, attrs }
    StepHold { step_id | code, text, attrs }
    JobDecision { job_id, decision, wake_at_ms | runner_id, code, text, attrs }
}

impl Wire for Attr {
    const LEAST: usize = 2;
    type Before = ();

    fn write(&self, to: &mut Writer<'_>, (): &mut ()) {
        let Self { name, value } = self;
        name.write(to, &mut ());
        value.write(to, &mut ());
    }

    fn read(&mut self, from: &mut Reader<'_>, (): &mut ()) -> Result<(), Damage> {
        self.name.read(from, &mut ())?;
        self.value.read(from, &mut ())
    }
}

/// Codes are numbers.
macro_rules! codes {
    ($($name:ident)+) => {
        $(
            impl Number for $name {
                #[inline]
                fn to_bits(&self) -> u64 {
                    self.0.to_bits()
                }

                #[inline]
                fn from_bits(bits: u64) -> Result<Self, Damage> {
                    u32::from_bits(bits).map(Self)
                }
            }
        )+
    };
}

codes! { InvocationVerdict JobVerdict }
