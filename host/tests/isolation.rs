//! Plugins in processes of their own: what they may do wrong, and what the server makes of it.

mod plugin_bed;

use barycenter::plugins::{Loss, PluginCallError, SupervisionState};
use barycenter_plugin_api::{
    InvocationOffer, JobVerdict, PlanRequest, ReadyJob, RunnerOffer, StepContext, StepOffer,
    UserLoad,
};
use plugin_bed::{Loaded, load, request, try_load, wait_until};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A faulty scheduler in a process of its own.
fn faulty(config: &str, limits: &str) -> Loaded {
    load(&format!(
        "[[scheduler]]\ntype = \"faulty\"\nisolation = \"process\"\nlimits = {{ {limits} }}\nconfig = {{ {config} }}\n"
    ))
}

#[test]
fn a_scheduler_in_a_process_of_its_own_decides_as_one_in_the_server() {
    let loaded = faulty("fault = \"none\"", "");
    let status = loaded.faulty().supervision().status();
    assert_eq!(status.state, SupervisionState::Ready);
    assert!(status.pid.is_some_and(|pid| pid != std::process::id()));
    loaded.faulty().startup().expect("it starts");
    let plan = loaded.faulty().plan(&request(10)).expect("a plan");
    assert_eq!((plan.invocations.len(), plan.jobs.len()), (1, 4));
    let listed = loaded.plugins.list();
    let listed = listed.iter().find(|one| one.id == "faulty");
    assert_eq!(
        listed.and_then(|one| one.isolation).map(|one| one.0.word()),
        Some("process")
    );
    loaded.faulty().shutdown().expect("it stops");
}

#[test]
fn a_process_that_is_lost_is_a_typed_error_and_another_takes_its_place() {
    for (fault, wanted) in [
        ("segfault", Loss::Signal(libc::SIGSEGV)),
        ("abort", Loss::Signal(libc::SIGABRT)),
        ("exit", Loss::Code(7)),
        ("overflow", Loss::Signal(libc::SIGABRT)),
    ] {
        let marker = tempfile::NamedTempFile::new().expect("a file");
        let config = format!(
            "fault = \"{fault}\", times = 1, marker = {:?}",
            marker.path()
        );
        let loaded = faulty(&config, "");
        let scheduler = loaded.faulty();
        scheduler.startup().expect("it starts");
        let first = scheduler.supervision().status().pid;
        let begin = Instant::now();
        let error = scheduler.plan(&request(10)).expect_err("it is lost");
        let told = begin.elapsed();
        let PluginCallError::Lost {
            loss,
            method: "plan",
            ..
        } = &error
        else {
            panic!("{fault}: {error:?}");
        };
        assert_eq!(*loss, wanted, "{fault}");
        let plan = scheduler.plan(&request(10)).expect("it serves again");
        let serving = begin.elapsed();
        println!("{fault}: typed error after {told:?}, serving again after {serving:?}");
        assert_eq!(plan.jobs.len(), 4);
        let status = scheduler.supervision().status();
        assert_eq!((status.losses, status.restarts), (1, 1));
        assert_ne!(status.pid, first);
        assert!(
            loaded.wakes.load(Ordering::Relaxed) >= 1,
            "nobody was woken"
        );
        assert!(
            Path::new("/proc")
                .join(status.pid.expect("a process").to_string())
                .exists()
        );
    }
}

#[test]
fn an_endless_call_is_ended_at_its_deadline() {
    for fault in ["loop", "sleep", "close", "scribble", "memory"] {
        let marker = tempfile::NamedTempFile::new().expect("a file");
        let config = format!(
            "fault = \"{fault}\", times = 1, marker = {:?}",
            marker.path()
        );
        let loaded = faulty(&config, "call_timeout = \"700ms\", memory = \"512MiB\"");
        let begin = Instant::now();
        let error = loaded.faulty().plan(&request(10)).expect_err("it is lost");
        let told = begin.elapsed();
        assert!(told < Duration::from_secs(30), "{fault}: {told:?}");
        match (fault, &error) {
            (
                "memory",
                PluginCallError::Lost {
                    loss: Loss::Signal(libc::SIGABRT),
                    ..
                },
            )
            | (
                "memory" | "loop" | "sleep" | "close" | "scribble",
                PluginCallError::TimedOut { .. },
            )
            | ("close", PluginCallError::Lost { .. })
            | (
                "scribble",
                PluginCallError::Lost {
                    loss: Loss::Frame(_),
                    ..
                },
            ) => {}
            _ => panic!("{fault}: {error:?}"),
        }
        if fault == "scribble" {
            assert!(error.to_string().contains("makes no sense"), "{error}");
        }
        loaded.faulty().plan(&request(10)).expect("it serves again");
        println!(
            "{fault}: {error}; after {told:?}, serving again after {:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn a_plugin_that_goes_on_crashing_is_left_alone_and_can_be_let_out() {
    let marker = tempfile::NamedTempFile::new().expect("a file");
    let config = format!("fault = \"abort\", times = 4, marker = {:?}", marker.path());
    let loaded = faulty(&config, "restarts = \"3/1m\"");
    let scheduler = loaded.faulty();
    wait_until("in quarantine", || {
        let _ = scheduler.plan(&request(1));
        loaded.state() == SupervisionState::Quarantined
    });
    let error = scheduler.plan(&request(1)).expect_err("it is left alone");
    assert!(
        error.was_not_asked() && error.to_string().contains("quarantine"),
        "{error}"
    );
    assert_eq!(scheduler.supervision().status().losses, 4);
    // The next start of a server puts this very file into a process of its own, come what may.
    let sha256 = &loaded.plugins.list()[1].sha256;
    let note = loaded.data.path().join("plugins/quarantined").join(sha256);
    wait_until("noted", || note.exists());
    scheduler.supervision().release();
    loaded.wait_for(SupervisionState::Ready);
    scheduler.plan(&request(1)).expect("it serves again");
}

#[test]
fn a_lost_process_leaves_a_report_with_the_request_that_it_was_asked() {
    let marker = tempfile::NamedTempFile::new().expect("a file");
    let config = format!("fault = \"abort\", times = 1, marker = {:?}", marker.path());
    let loaded = faulty(&config, "");
    let _ = loaded.faulty().plan(&request(3));
    let folder = loaded.data.path().join("plugins/crashes");
    let mut files = Vec::new();
    wait_until("a report", || {
        files = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files
            .iter()
            .any(|path| path.extension().is_some_and(|e| e == "txt"))
    });
    files.sort();
    let [requests, report] = files.as_slice() else {
        panic!("{files:?}");
    };
    let report = std::fs::read_to_string(report).expect("it is text");
    for wanted in [
        "scheduler faulty",
        "signal 6",
        "started again",
        "barycenter plugin replay",
        "in flight  plan",
    ] {
        assert!(report.contains(wanted), "{wanted}\n{report}");
    }
    assert!(report.contains(&requests.display().to_string()), "{report}");
    let requests = std::fs::read_to_string(requests).expect("it is text");
    let lines: Vec<serde_json::Value> = requests
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{requests}");
    let again: PlanRequest =
        serde_json::from_value(lines[1]["request"].clone()).expect("a request");
    assert_eq!(again, *request(3));
}

#[test]
fn wrong_answers_and_panics_are_errors_of_one_call_in_both_modes() {
    for isolation in ["process", "inproc"] {
        for fault in [
            "panic",
            "payload",
            "fail",
            "lie",
            "overcommit",
            "twice",
            "nowhere",
            "negative",
            "garbage",
            "huge",
            "enormous",
            "print",
        ] {
            let marker = tempfile::NamedTempFile::new().expect("a file");
            let loaded = load(&format!(
                "[[scheduler]]\ntype = \"faulty\"\nisolation = \"{isolation}\"\nlimits = {{ call_timeout = \"20s\" }}\n\
                 config = {{ fault = \"{fault}\", times = 1, marker = {:?} }}\n",
                marker.path()
            ));
            let scheduler = loaded.faulty();
            let answer = scheduler.plan(&request(10));
            match (fault, &answer) {
                // Odd, but it keeps the rules: an unknown code is a hold.
                ("garbage" | "print", Ok(_)) => {}
                ("panic" | "payload", Err(PluginCallError::Panicked { .. })) => {}
                ("fail", Err(PluginCallError::Refused { .. })) => {}
                ("enormous", Err(PluginCallError::Refused { message, .. }))
                    if isolation == "process" =>
                {
                    assert!(message.contains("cannot be sent"), "{message}");
                }
                (_, Err(PluginCallError::Invalid { .. })) => {}
                _ => panic!("{isolation} {fault}: {answer:?}"),
            }
            let plan = scheduler.plan(&request(10)).expect("the next plan is good");
            assert_eq!(plan.jobs.len(), 4, "{isolation} {fault}");
            assert_eq!(
                scheduler.supervision().status().restarts,
                0,
                "{isolation} {fault}"
            );
        }
    }
}

#[test]
fn a_plugin_that_cannot_be_made_is_told_at_the_start() {
    for (fault, wanted) in [
        ("panic", "refused to start: create panics"),
        ("segfault", "signal 11 (SIGSEGV) while it started"),
        ("exit", "ended by itself with code 7 while it started"),
    ] {
        let text = format!(
            "[[scheduler]]\ntype = \"faulty\"\nisolation = \"process\"\nconfig = {{ fault = \"{fault}\", at = \"create\" }}\n"
        );
        let faults = try_load(&text).err().expect("it does not start");
        assert!(faults.contains(wanted), "{fault}: {faults}");
    }
    let text =
        "[[scheduler]]\ntype = \"faulty\"\nisolation = \"process\"\nconfig = { fualt = 1 }\n";
    let faults = try_load(text).err().expect("its options are wrong");
    assert!(faults.contains("did you mean `fault`?"), "{faults}");
}

#[test]
fn a_plugin_reaches_the_host_from_its_process() {
    let loaded = faulty("fault = \"talk\"", "");
    loaded.faulty().plan(&request(1)).expect("a plan");
    wait_until("woken", || loaded.wakes.load(Ordering::Relaxed) == 1);
    let loaded = faulty("fault = \"ask\"", "");
    let error = loaded
        .faulty()
        .plan(&request(1))
        .expect_err("the host knows no such question");
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[test]
fn a_module_and_its_answers_are_the_same_in_both_modes() {
    for isolation in ["process", "inproc"] {
        let loaded = load(&format!(
            "[[workflow_module]]\ntype = \"faulty-step\"\nisolation = \"{isolation}\"\nconfig = {{ fault = \"none\" }}\n"
        ));
        let module = loaded.plugins.module("faulty-step").expect("it is loaded");
        assert_eq!(module.description().outputs[0].name, "output");
        let outcome = module.execute(&StepContext::default()).expect("an outcome");
        assert_eq!(outcome.outputs.len(), 1);
        assert_eq!(
            module.get_runtime_state("{}", "null").expect("a state"),
            "{}"
        );
        // Several at once.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        module
                            .recover_mapping(&StepContext::default())
                            .expect("an outcome");
                    }
                });
            }
        });
    }
}

#[test]
fn no_process_outlives_the_plugins() {
    let loaded = faulty("fault = \"panic\", at = \"drop\"", "");
    let pid = loaded
        .faulty()
        .supervision()
        .status()
        .pid
        .expect("a process");
    drop(loaded);
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    // One that does not want to go is ended.
    let loaded = faulty("fault = \"loop\", at = \"drop\"", "");
    let pid = loaded
        .faulty()
        .supervision()
        .status()
        .pid
        .expect("a process");
    let begin = Instant::now();
    drop(loaded);
    assert!(begin.elapsed() < Duration::from_secs(30));
    wait_until("gone", || {
        !Path::new("/proc").join(pid.to_string()).exists()
    });
}

#[test]
fn the_process_has_nothing_of_the_server_and_limits_of_its_own() {
    let loaded = faulty("fault = \"none\"", "memory = \"256MiB\"");
    let pid = loaded
        .faulty()
        .supervision()
        .status()
        .pid
        .expect("a process");
    let proc = Path::new("/proc").join(pid.to_string());
    let read =
        |name: &str| std::fs::read_to_string(proc.join(name)).expect("readable by its parent");
    let limits = read("limits");
    let limit = |name: &str| {
        let line = limits
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a limit");
        line[name.len()..]
            .split_whitespace()
            .next()
            .expect("a number")
            .to_owned()
    };
    assert_eq!(limit("Max address space"), (256 << 20).to_string());
    assert_eq!(limit("Max core file size"), "0");
    // What an undumpable process has is for its administrator to see.
    if let (Ok(environment), Ok(fds)) = (
        std::fs::read(proc.join("environ")),
        std::fs::read_dir(proc.join("fd")),
    ) {
        assert!(
            environment.is_empty(),
            "{}",
            String::from_utf8_lossy(&environment)
        );
        let open: Vec<_> = fds
            .flatten()
            .map(|entry| std::fs::read_link(entry.path()))
            .collect();
        assert!(open.len() <= 6, "{open:?}");
        assert_eq!(
            std::fs::read_link(proc.join("cwd")).expect("a folder"),
            Path::new("/")
        );
    }
    let stat = read("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    assert_eq!(fields[2], pid.to_string(), "it leads a group of its own");
}

/// Requests of all sizes, with every field set.
fn any_request() -> impl proptest::strategy::Strategy<Value = PlanRequest> {
    use proptest::prelude::*;
    let sizes = prop_oneof![3 => 0..50_usize, 2 => 50..1_000_usize, 1 => 1_000..=10_000_usize];
    (sizes, any::<u64>(), any::<i64>(), 0..20_u64, "\\PC{0,20}").prop_map(
        |(jobs, seed, now_ms, accepts, text)| {
            let job = |at: usize| ReadyJob {
                id: at as u64 + 1,
                invocation_id: seed.wrapping_add(at as u64) % 97,
                user_id: seed.wrapping_mul(at as u64) % 5,
                cores: 1 + (at % 4) as u32,
                tool_id: text.as_str().into(),
                ready_since_ms: now_ms.wrapping_sub(at as i64),
                create_time_ms: now_ms,
                memory_mb: at as u64,
                ..ReadyJob::default()
            };
            let offer = |at: usize| InvocationOffer {
                id: at as u64,
                uuid: text.as_str().into(),
                workflow_name: text.as_str().into(),
                age_ms: now_ms,
                steps: (0..at % 5)
                    .map(|step| StepOffer {
                        step_id: (at * 10 + step) as u64,
                        expected_jobs: -1,
                        label: text.as_str().into(),
                        ..StepOffer::default()
                    })
                    .collect(),
                ..InvocationOffer::default()
            };
            let runner = |at: u64| RunnerOffer {
                id: format!("r{at}").into(),
                slots_total: accepts,
                slots_free: accepts / 2,
                accepts,
                ..RunnerOffer::default()
            };
            PlanRequest {
                cycle: seed,
                now_ms,
                seed,
                invocations: (0..jobs % 17).map(offer).collect(),
                jobs: (0..jobs).map(job).collect(),
                runners: (0..3).map(runner).collect(),
                load: (0..5)
                    .map(|user_id| UserLoad {
                        user_id,
                        running: seed % 7,
                        queued: jobs as u64,
                        ..UserLoad::default()
                    })
                    .collect(),
                ..PlanRequest::default()
            }
        },
    )
}

#[test]
fn both_modes_give_the_same_answers_byte_for_byte() {
    let other = |id: &str, isolation: &str| {
        format!("[[scheduler]]\ntype = \"default\"\nid = \"{id}\"\nisolation = \"{isolation}\"\n")
    };
    let loaded = load(&format!(
        "{}{}",
        other("inside", "inproc"),
        other("outside", "process")
    ));
    let inside = loaded.plugins.scheduler("inside").expect("it is loaded");
    let outside = loaded.plugins.scheduler("outside").expect("it is loaded");
    let mut runner =
        proptest::test_runner::TestRunner::new(proptest::test_runner::Config::with_cases(60));
    let mut placed = 0;
    let result = runner.run(&any_request(), |request| {
        let request = Arc::new(request);
        let answers = [&inside, &outside].map(|one| {
            one.plan(&request)
                .map(|plan| postcard::to_allocvec(&plan).expect("bytes"))
        });
        proptest::prop_assert_eq!(&answers[0], &answers[1]);
        Ok(())
    });
    result.expect("the same answers");
    let most = Arc::new(PlanRequest {
        jobs: (1..=10_000)
            .map(|id| ReadyJob {
                id,
                cores: 1,
                ..ReadyJob::default()
            })
            .collect(),
        ..(*request(0)).clone()
    });
    for one in [inside, outside] {
        placed += one
            .plan(&most)
            .expect("a plan")
            .jobs
            .iter()
            .filter(|job| job.decision == JobVerdict::PLACE)
            .count();
    }
    assert_eq!(placed, 8);
}
