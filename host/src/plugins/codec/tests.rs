use super::*;
use barycenter_plugin_api::{
    Attr, InvocationDecision, InvocationOffer, InvocationVerdict, JobDecision, JobVerdict, List,
    Plan, ReadyJob, RunnerOffer, StepHold, StepOffer, Text, UserLoad,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Text> {
    // Few texts often, so that they are named again; and any.
    let one = prop_oneof![
        Just(String::new()),
        Just("cat1".to_owned()),
        Just("toolshed.example.org/repos/iuc/multiqc/multiqc/1.11+galaxy1".to_owned()),
        Just("toolshed.example.org/repos/iuc/multiqc/multiqc/1.12+galaxy1".to_owned()),
        "\\PC{0,20}",
    ];
    one.prop_map(Text::from)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(u64::MAX), Just(1 << 63), any::<u64>()]
}

fn list<T: std::fmt::Debug + Clone>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = List<T>> {
    vec(of, 0..6).prop_map(List::from)
}

fn attrs() -> impl Strategy<Value = List<Attr>> {
    list((text(), text()).prop_map(|(name, value)| Attr { name, value }))
}

fn offer() -> impl Strategy<Value = InvocationOffer> {
    let step = (number(), any::<u32>(), number(), text(), text(), attrs());
    let step = step.prop_map(
        |(step_id, order_index, jobs, step_type, tool_id, attrs)| StepOffer {
            step_id,
            order_index,
            expected_jobs: jobs as i64,
            label: step_type.clone(),
            step_type,
            tool_id,
            attrs,
        },
    );
    let rest = (number(), number(), text(), text(), attrs(), list(step));
    rest.prop_map(|(id, time, uuid, state, attrs, steps)| InvocationOffer {
        id,
        uuid,
        user_id: id,
        history_id: time,
        workflow_name: state.clone(),
        state,
        create_time_ms: time as i64,
        age_ms: (id ^ time) as i64,
        active_jobs: time,
        parameters: attrs.clone(),
        steps,
        attrs,
    })
}

fn job() -> impl Strategy<Value = ReadyJob> {
    let job = (number(), number(), any::<u32>(), text(), attrs());
    job.prop_map(|(id, time, cores, tool_id, attrs)| ReadyJob {
        id,
        invocation_id: time,
        user_id: id,
        history_id: time,
        tool_id,
        cores,
        memory_mb: time,
        ready_since_ms: time as i64,
        create_time_ms: id as i64,
        attempts: cores,
        attrs,
    })
}

fn any_request() -> impl Strategy<Value = PlanRequest> {
    let runner = (text(), number()).prop_map(|(id, slots)| RunnerOffer {
        id,
        slots_total: slots,
        ..RunnerOffer::default()
    });
    let load = number().prop_map(|user_id| UserLoad {
        user_id,
        ..UserLoad::default()
    });
    let all = (
        number(),
        list(offer()),
        list(job()),
        list(runner),
        list(load),
        attrs(),
    );
    all.prop_map(
        |(cycle, invocations, jobs, runners, load, attrs)| PlanRequest {
            cycle,
            now_ms: cycle as i64,
            seed: cycle,
            deadline_ms: -1,
            invocations,
            jobs,
            runners,
            load,
            attrs,
        },
    )
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let hold = (number(), text()).prop_map(|(step_id, code)| StepHold {
        step_id,
        code,
        ..StepHold::default()
    });
    let invocation = (number(), any::<u32>(), list(number()), list(hold), text());
    let invocation = invocation.prop_map(|(id, code, expand, holds, text)| InvocationDecision {
        invocation_id: id,
        decision: InvocationVerdict(code),
        expand,
        holds,
        text,
        ..InvocationDecision::default()
    });
    let job = (number(), any::<u32>(), text(), text(), text(), attrs());
    let job = job.prop_map(|(job_id, code, runner_id, word, text, attrs)| JobDecision {
        job_id,
        decision: JobVerdict(code),
        runner_id,
        code: word,
        text,
        wake_at_ms: job_id as i64,
        attrs,
    });
    (list(invocation), list(job), number(), attrs()).prop_map(|(invocations, jobs, wake, attrs)| {
        Plan {
            invocations,
            jobs,
            wake_at_ms: wake as i64,
            attrs,
        }
    })
}

fn written(plan: Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    Compact::write_answer(&plan.into(), &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written_whatever_was_read_before(
        first in any_request(), second in any_request(),
    ) {
        let mut kept = Kept::default();
        for request in [&first, &second, &first] {
            let mut bytes = b"head".to_vec();
            Compact::write_request(request, &mut bytes).unwrap();
            let read = <Compact as Codec<_, MadePlan>>::read_request(&bytes[4..], &mut kept).unwrap();
            prop_assert_eq!(&*read, request);
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_whatever_was_read_before(
        first in any_plan(), plan in any_plan(),
    ) {
        drop(Compact::read_answer(&written(first)).unwrap());
        let mut bytes = written(plan.clone());
        prop_assert_eq!(Compact::read_answer(&bytes).unwrap(), plan);
        // Cut short it is none.
        for end in 0..bytes.len() {
            prop_assert!(Compact::read_answer(&bytes[..end]).is_err(), "{}", end);
        }
        bytes.push(0);
        prop_assert_eq!(Compact::read_answer(&bytes).unwrap_err(), "there is more after its end");
    }

    #[test]
    fn no_bytes_bring_the_reader_down(bytes in vec(any::<u8>(), 0..512)) {
        let _ = Compact::read_answer(&bytes);
        let _ = <Compact as Codec<PlanRequest, MadePlan>>::read_request(&bytes, &mut Kept::default());
    }
}

#[test]
fn a_thousand_decisions_take_three_bytes_each() {
    let decisions = (1..=1000).map(|id| JobDecision::place(id, "local"));
    let plan = Plan {
        jobs: decisions.collect(),
        ..Plan::default()
    };
    let bytes = written(plan);
    assert!(bytes.len() < 3_100, "{}", bytes.len());
}

#[test]
fn a_few_bytes_do_not_become_a_lot_of_memory() {
    // One long text, and a hundred thousand decisions that name it again.
    let decisions = (1..=100_000).map(|id| JobDecision::place(id, "x"));
    let mut plan = Plan {
        jobs: decisions.collect(),
        ..Plan::default()
    };
    for job in &mut plan.jobs[..2] {
        job.runner_id = "y".repeat(1 << 16).into();
    }
    let bytes = written(plan.clone());
    assert_eq!(Compact::read_answer(&bytes).unwrap(), plan);
    // The number that every later decision has for its runner becomes that of the long one.
    let (long, short) = (2_u8, 3_u8);
    let hostile: Vec<u8> = bytes[1 << 16..]
        .iter()
        .map(|byte| if *byte == short { long } else { *byte })
        .collect();
    let hostile = [&bytes[..1 << 16], hostile.as_slice()].concat();
    assert_eq!(
        Compact::read_answer(&hostile).unwrap_err(),
        "it is too large"
    );
    // A list that claims more entries than there are bytes: the field `jobs`, 2^63 long.
    let claims = [[0b100].as_slice(), &[0xff; 8], &[0x7f]].concat();
    assert_eq!(
        Compact::read_answer(&claims).unwrap_err(),
        "it ends too early"
    );
}

#[test]
fn a_text_that_was_never_sent_and_one_that_is_none_are_refused() {
    // The attributes of a plan, one entry: its name is the text with the number 5 that there is not.
    assert_eq!(
        Compact::read_answer(&[0b1000, 1, 7, 0]).unwrap_err(),
        "it names what there is not"
    );
    assert_eq!(
        Compact::read_answer(&[0b1000, 1, 1, 1, 0xff, 0]).unwrap_err(),
        "a text is not UTF-8"
    );
}

#[test]
fn memory_that_is_used_again_does_not_grow_from_plan_to_plan() {
    let long = "y".repeat(1 << 16);
    let taken =
        |plan: &Plan| -> usize { plan.jobs.iter().map(|job| job.runner_id.capacity()).sum() };
    let mut most = 0;
    // Each time another decision has a text of 64 KiB.
    for round in 0..200 {
        let decisions =
            (0..200).map(|id| JobDecision::place(id, if id == round { &long } else { "x" }));
        let plan = Plan {
            jobs: decisions.collect(),
            ..Plan::default()
        };
        let read = Compact::read_answer(&written(plan.clone())).unwrap();
        assert_eq!(read, plan);
        most = most.max(taken(&read));
    }
    assert!(most <= KEPT_MAX + 2 * long.len(), "{most}");
}
