//! The version rules, checked: what 1.0 was still fits in both directions, and nothing frozen has changed.

use crate::abi::{
    HostBox, JobRunnerBox, PluginInfo, PluginRootRef, SchedulerBox, WorkflowModuleBox,
};
use crate::capability::{self, CapabilityHeader, ExplainTable, SchedulerCapabilities, StateTable};
use crate::export::{Capability, create_scheduler, scheduler_capability};
use crate::testing::FakeHost;
use crate::*;
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RStr};
use abi_stable::type_layout::TypeLayout;

/// The root and the scheduler of 1.0, under their names.
mod v1_0 {
    #![allow(unsafe_code, dead_code, reason = "what sabi_trait generates")]

    use crate::abi::{HostBox, JobRunnerBox, PluginInfo, WorkflowModuleBox};
    use crate::{Plan, PlanRequest, PluginError};
    use abi_stable::std_types::{RBox, RResult, RStr};
    use abi_stable::{StableAbi, sabi_trait};

    #[sabi_trait]
    pub trait SchedulerObject: Send {
        fn plan(&mut self, request: &PlanRequest) -> RResult<Plan, PluginError>;
        fn startup(&mut self) -> RResult<(), PluginError>;
        #[sabi(last_prefix_field)]
        fn shutdown(&mut self) -> RResult<(), PluginError>;
    }

    pub type SchedulerBox = SchedulerObject_TO<'static, RBox<()>>;

    #[repr(C)]
    #[derive(StableAbi)]
    #[sabi(kind(Prefix(prefix_ref = PluginRootRef)))]
    #[sabi(missing_field(panic))]
    pub struct PluginRoot {
        pub info: extern "C" fn() -> RResult<PluginInfo, PluginError>,
        pub scheduler: extern "C" fn(
            config_json: RStr<'_>,
            host: HostBox,
        ) -> RResult<SchedulerBox, PluginError>,
        pub workflow_module: extern "C" fn(
            config_json: RStr<'_>,
            host: HostBox,
        ) -> RResult<WorkflowModuleBox, PluginError>,
        #[sabi(last_prefix_field)]
        pub job_runner: extern "C" fn(
            config_json: RStr<'_>,
            host: HostBox,
        ) -> RResult<JobRunnerBox, PluginError>,
    }
}

#[test]
fn the_root_of_1_0_fits_when_the_older_side_is_the_interface() {
    let old = <v1_0::PluginRootRef as StableAbi>::LAYOUT;
    let new = <PluginRootRef as StableAbi>::LAYOUT;
    check_layout_compatibility(old, new)
        .map_err(|e| e.to_string())
        .unwrap();
    // The other way round is what `open_root` avoids.
    assert!(check_layout_compatibility(new, old).is_err());
}

struct Counting(u64);

impl Plugin for Counting {
    fn create(_: serde_json::Value, _: Host) -> Result<Self, PluginError> {
        Ok(Self(0))
    }
}

impl Scheduler for Counting {
    const CAPABILITIES: &'static [&'static str] =
        &[capability::STATE, capability::EXPLAIN, "somebody.else/7"];

    fn plan(&mut self, _: &PlanRequest) -> Result<Plan, PluginError> {
        self.0 += 1;
        Ok(Plan::default())
    }

    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Ok(self.0.to_string().into())
    }

    fn restore_state(&mut self, state_json: &str) -> Result<(), PluginError> {
        self.0 = state_json.parse()?;
        Ok(())
    }

    fn explain(&mut self, _: &ExplainRequest) -> Result<Explanation, PluginError> {
        panic!("no idea")
    }
}

fn root(capability: Capability) -> PluginRootRef {
    extern "C" fn info() -> RResult<PluginInfo, PluginError> {
        RResult::ROk(PluginInfo::default())
    }
    extern "C" fn module(_: RStr<'_>, _: HostBox) -> RResult<WorkflowModuleBox, PluginError> {
        RResult::RErr(PluginError::refused("no module"))
    }
    extern "C" fn runner(_: RStr<'_>, _: HostBox) -> RResult<JobRunnerBox, PluginError> {
        RResult::RErr(PluginError::refused("no runner"))
    }
    crate::abi::PluginRoot {
        info,
        scheduler: create_scheduler::<Counting>,
        workflow_module: module,
        job_runner: runner,
        capability,
    }
    .leak_into_prefix()
}

fn scheduler(root: PluginRootRef) -> SchedulerBox {
    let host = FakeHost::new().host().into_object();
    root.scheduler()("{}".into(), host).into_result().unwrap()
}

#[test]
fn a_state_goes_from_one_object_to_the_next_and_a_panic_is_an_error() {
    let root = root(scheduler_capability::<Counting>);
    let capabilities = SchedulerCapabilities::of(root);
    assert_eq!(capabilities.ids(), [capability::STATE, capability::EXPLAIN]);
    let (mut first, mut second) = (scheduler(root), scheduler(root));
    first.plan(&PlanRequest::default()).into_result().unwrap();
    let state = capabilities.snapshot_state(&mut first).unwrap();
    assert_eq!(state, "1");
    capabilities.restore_state(&mut second, &state).unwrap();
    assert_eq!(capabilities.snapshot_state(&mut second).unwrap(), "1");
    let error = capabilities
        .restore_state(&mut second, "no number")
        .unwrap_err();
    assert!(error.message.contains("invalid digit"), "{error}");
    let error = capabilities
        .explain(&mut second, &ExplainRequest::default())
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::PANICKED);
    // It serves all the same.
    second.plan(&PlanRequest::default()).into_result().unwrap();
}

#[test]
fn a_capability_of_another_shape_is_dropped_in_two_lines_and_the_plugin_plans() {
    extern "C" fn wrong(id: RStr<'_>) -> CapabilityHeader {
        match id.as_str() {
            // The table of another capability.
            capability::EXPLAIN => CapabilityHeader {
                layout: std::ptr::from_ref(<StateTable as StableAbi>::LAYOUT).cast(),
                ..scheduler_capability::<Counting>(id)
            },
            _ => scheduler_capability::<Counting>(id),
        }
    }
    let root = root(wrong);
    let capabilities = SchedulerCapabilities::of(root);
    assert_eq!(capabilities.ids(), [capability::STATE]);
    let [dropped] = capabilities.dropped() else {
        panic!("{:?}", capabilities.dropped());
    };
    assert_eq!(dropped.id, capability::EXPLAIN);
    assert!(
        (1..=2).contains(&dropped.reason.lines().count()),
        "{}",
        dropped.reason
    );
    assert!(
        dropped.reason.contains("ExplainTable"),
        "{}",
        dropped.reason
    );
    let mut object = scheduler(root);
    object.plan(&PlanRequest::default()).into_result().unwrap();
    assert!(
        capabilities
            .explain(&mut object, &ExplainRequest::default())
            .is_err()
    );
    assert_eq!(capabilities.snapshot_state(&mut object).unwrap(), "1");
}

/// Type, size, alignment and fields of everything that crosses the border by value: frozen until 2.0.
#[test]
fn the_frozen_types_are_as_they_were() {
    let mut text = String::new();
    let mut add = |layout: &'static TypeLayout| {
        use std::fmt::Write as _;
        let (size, alignment) = (layout.size(), layout.alignment());
        writeln!(text, "{} {size} {alignment}", layout.name()).unwrap();
        for field in layout
            .get_fields()
            .into_iter()
            .flat_map(|fields| fields.iter())
        {
            writeln!(text, "  {}: {}", field.name(), field.full_type()).unwrap();
        }
    };
    macro_rules! add {
        ($($type:ty),+ $(,)?) => { $(add(<$type as StableAbi>::LAYOUT);)+ };
    }
    add!(
        Attr,
        PluginError,
        PluginInfo,
        PlanRequest,
        InvocationOffer,
        StepOffer,
        ReadyJob,
        RunnerOffer,
        UserLoad,
        Plan,
        InvocationDecision,
        StepHold,
        JobDecision,
        ModuleDescription,
        TerminalDescription,
        Diagnostic,
        StepContext,
        StepInputValue,
        ValueRef,
        StepOutcome,
        NamedValue,
        RunnerCapacity,
        JobSpec,
        JobRef,
        SubmitResult,
        CancelResult,
        RecoverRequest,
        RecoverResult,
        JobReport,
        ExplainRequest,
        Explanation,
        CapabilityHeader,
        StateTable,
        ExplainTable,
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/frozen-types.txt");
    if std::env::var_os("BARYCENTER_WRITE_FROZEN_TYPES").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let frozen = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        text, frozen,
        "a type that crosses the border by value changed; additions travel in `attrs` until the next major version"
    );
}
