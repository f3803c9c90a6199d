//! What the export macros expand to. Not for direct use.

use crate::abi::{
    Create, HostBox, JobRunnerBox, JobRunnerObject_TO, PluginInfo, PluginRoot, PluginRootRef,
    SchedulerBox, SchedulerObject_TO, WorkflowModuleBox, WorkflowModuleObject_TO,
};
use crate::adapter::Guarded;
use crate::capability::{self, CapabilityHeader, ExplainRequest, ExplainTable, StateTable};
use crate::guard::guard;
use crate::{
    Attr, Explanation, Host, JobRunner, Plugin, PluginError, Scheduler, Text, WorkflowModule,
};
use abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RStr};

pub use abi_stable::library::LibHeader as Header;

/// Gives a capability by its id.
pub type Capability = extern "C" fn(RStr<'_>) -> CapabilityHeader;

/// What a macro knows about the plugin that it exports.
pub trait Export: Sized + 'static {
    const TYPE: &'static str;
    const VERSION: &'static str;
    const DESCRIPTION: &'static str;
    const SCHEDULER: Create<SchedulerBox> = refuse::<Self, SchedulerBox>;
    const WORKFLOW_MODULE: Create<WorkflowModuleBox> = refuse::<Self, WorkflowModuleBox>;
    const JOB_RUNNER: Create<JobRunnerBox> = refuse::<Self, JobRunnerBox>;
    const ACTIVE: bool = true;
    const CAPABILITIES: &'static [&'static str] = &[];
    const CAPABILITY: Capability = no_capability;
    fn schema() -> String;
}

/// The header that the library exports.
pub const fn header<E: Export>() -> LibHeader {
    #[expect(unsafe_code, reason = "abi_stable asks for a promise")]
    // SAFETY: `construct` returns a PluginRootRef.
    unsafe {
        LibHeader::from_constructor::<PluginRootRef>(construct::<E>, CheckTypeLayout::Yes)
    }
}

extern "C" fn construct<E: Export>() -> RootModuleResult {
    __call_root_module_loader(root::<E>)
}

fn root<E: Export>() -> PluginRootRef {
    PluginRoot {
        info: info::<E>,
        scheduler: E::SCHEDULER,
        workflow_module: E::WORKFLOW_MODULE,
        job_runner: E::JOB_RUNNER,
        capability: E::CAPABILITY,
    }
    .leak_into_prefix()
}

extern "C" fn refuse<E: Export, T>(_: RStr<'_>, _: HostBox) -> RResult<T, PluginError> {
    RResult::RErr(PluginError::refused(format!(
        "The plugin `{}` does not make this kind of object",
        E::TYPE
    )))
}

extern "C" fn info<E: Export>() -> RResult<PluginInfo, PluginError> {
    guard(|| {
        Ok(PluginInfo {
            type_id: E::TYPE.into(),
            version: E::VERSION.into(),
            description: E::DESCRIPTION.into(),
            config_schema: E::schema().into(),
            active: E::ACTIVE,
            attrs: match E::CAPABILITIES {
                [] => crate::List::new(),
                ids => vec![Attr::json("capabilities", &ids.to_vec().into())].into(),
            },
        })
    })
    .into()
}

pub extern "C" fn create_scheduler<P: Scheduler + 'static>(
    config_json: RStr<'_>,
    host: HostBox,
) -> RResult<SchedulerBox, PluginError> {
    guard(|| {
        let plugin = create::<P>(&config_json, host)?;
        Ok(SchedulerObject_TO::from_value(
            Guarded::new(plugin),
            TD_Opaque,
        ))
    })
    .into()
}

pub extern "C" fn create_workflow_module<P: WorkflowModule + 'static>(
    config_json: RStr<'_>,
    host: HostBox,
) -> RResult<WorkflowModuleBox, PluginError> {
    guard(|| {
        let plugin = create::<P>(&config_json, host)?;
        Ok(WorkflowModuleObject_TO::from_value(
            Guarded::new(plugin),
            TD_Opaque,
        ))
    })
    .into()
}

pub extern "C" fn create_job_runner<P: JobRunner + 'static>(
    config_json: RStr<'_>,
    host: HostBox,
) -> RResult<JobRunnerBox, PluginError> {
    guard(|| {
        let plugin = create::<P>(&config_json, host)?;
        Ok(JobRunnerObject_TO::from_value(
            Guarded::new(plugin),
            TD_Opaque,
        ))
    })
    .into()
}

extern "C" fn no_capability(_: RStr<'_>) -> CapabilityHeader {
    CapabilityHeader::ABSENT
}

/// Gives the capabilities that the scheduler lists.
pub extern "C" fn scheduler_capability<P: Scheduler + 'static>(id: RStr<'_>) -> CapabilityHeader {
    // An id that is listed and that this version of the contract does not know is not there.
    match id.as_str() {
        id if !P::CAPABILITIES.contains(&id) => CapabilityHeader::ABSENT,
        capability::STATE => CapabilityHeader::of(Tables::<P>::STATE),
        capability::EXPLAIN => CapabilityHeader::of(Tables::<P>::EXPLAIN),
        _ => CapabilityHeader::ABSENT,
    }
}

struct Tables<P>(std::marker::PhantomData<P>);

impl<P: Scheduler + 'static> Tables<P> {
    const STATE: &'static StateTable = &StateTable {
        snapshot_state: snapshot_state::<P>,
        restore_state: restore_state::<P>,
    };
    const EXPLAIN: &'static ExplainTable = &ExplainTable {
        explain: explain::<P>,
    };
}

#[expect(unsafe_code, reason = "the plugin's object comes as an address")]
unsafe extern "C" fn snapshot_state<P: Scheduler>(instance: *mut ()) -> RResult<Text, PluginError> {
    guard(|| {
        // SAFETY: the caller holds the object exclusively and took the address from it.
        let plugin = unsafe { &mut *instance.cast::<P>() };
        plugin.snapshot_state()
    })
    .into()
}

#[expect(unsafe_code, reason = "the plugin's object comes as an address")]
unsafe extern "C" fn restore_state<P: Scheduler>(
    instance: *mut (),
    state_json: RStr<'_>,
) -> RResult<(), PluginError> {
    guard(|| {
        // SAFETY: as above.
        let plugin = unsafe { &mut *instance.cast::<P>() };
        plugin.restore_state(&state_json)
    })
    .into()
}

#[expect(unsafe_code, reason = "the plugin's object comes as an address")]
unsafe extern "C" fn explain<P: Scheduler>(
    instance: *mut (),
    request: &ExplainRequest,
) -> RResult<Explanation, PluginError> {
    guard(|| {
        // SAFETY: as above.
        let plugin = unsafe { &mut *instance.cast::<P>() };
        plugin.explain(request)
    })
    .into()
}

fn create<P: Plugin>(config_json: &str, host: HostBox) -> Result<P, PluginError> {
    let config = serde_json::from_str(config_json)?;
    P::create(config, Host::from_object(host))
}

/// Exports a [`Scheduler`](crate::Scheduler) as the library's plugin.
///
/// ```text
/// export_scheduler! {
///     type: "fair-share",                       // what plugins.toml names
///     description: "Shares by user",            // optional
///     schema: include_str!("config.schema.json"),  // optional: JSON Schema of the configuration
///     FairShare
/// }
/// ```
/// Without a schema the plugin takes no options. The version is the crate's own.
#[macro_export]
macro_rules! export_scheduler {
    ($($input:tt)*) => {
        $crate::__export! {
            @parse [Scheduler, SCHEDULER, create_scheduler,
                    {
                        const ACTIVE: bool = <Subject as $crate::Scheduler>::ACTIVE;
                        const CAPABILITIES: &'static [&'static str] =
                            <Subject as $crate::Scheduler>::CAPABILITIES;
                        const CAPABILITY: $crate::export::Capability =
                            $crate::export::scheduler_capability::<Subject>;
                    }]
            $($input)*
        }
    };
}

/// Exports a [`WorkflowModule`](crate::WorkflowModule) as the library's plugin; takes what
/// [`export_scheduler!`](crate::export_scheduler) takes.
#[macro_export]
macro_rules! export_workflow_module {
    ($($input:tt)*) => {
        $crate::__export! {
            @parse [WorkflowModule, WORKFLOW_MODULE, create_workflow_module, {}] $($input)*
        }
    };
}

/// Exports a [`JobRunner`](crate::JobRunner) as the library's plugin; takes what
/// [`export_scheduler!`](crate::export_scheduler) takes.
#[macro_export]
macro_rules! export_job_runner {
    ($($input:tt)*) => {
        $crate::__export! { @parse [JobRunner, JOB_RUNNER, create_job_runner, {}] $($input)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    // One option after the other, so that each may be left out.
    (@parse $kind:tt type: $type_id:expr, $($rest:tt)*) => {
        $crate::__export! {
            @option $kind [$type_id] [env!("CARGO_PKG_VERSION")] [""] [""] $($rest)*
        }
    };
    (@option $kind:tt $t:tt $v:tt $d:tt $s:tt version: $version:expr, $($rest:tt)*) => {
        $crate::__export! { @option $kind $t [$version] $d $s $($rest)* }
    };
    (@option $kind:tt $t:tt $v:tt $d:tt $s:tt description: $description:expr, $($rest:tt)*) => {
        $crate::__export! { @option $kind $t $v [$description] $s $($rest)* }
    };
    (@option $kind:tt $t:tt $v:tt $d:tt $s:tt schema: $schema:expr, $($rest:tt)*) => {
        $crate::__export! { @option $kind $t $v $d [$schema] $($rest)* }
    };
    (
        @option [$kind:ident, $constant:ident, $create:ident, { $($extra:tt)* }]
        [$type_id:expr] [$version:expr] [$description:expr] [$schema:expr]
        $subject:ty $(,)?
    ) => {
        const _: () = {
            type Subject = $subject;
            const VERSION: &str = $version;

            struct Exported;

            impl $crate::export::Export for Exported {
                const TYPE: &'static str = $type_id;
                const VERSION: &'static str = VERSION;
                const DESCRIPTION: &'static str = $description;
                const $constant: $crate::abi::Create<$crate::export::objects::$kind> =
                    $crate::export::$create::<Subject>;
                $($extra)*
                fn schema() -> ::std::string::String {
                    ::std::string::String::from($schema)
                }
            }

            #[used]
            #[unsafe(export_name = "barycenter_plugin_header_v1")]
            static HEADER: $crate::export::Header = $crate::export::header::<Exported>();

            #[used]
            #[unsafe(link_section = ".barycenter.plugin")]
            static PREAMBLE: $crate::preamble::RawPreamble = $crate::preamble::RawPreamble::new(
                $crate::PluginKind::$kind,
                $type_id,
                VERSION,
                cfg!(panic = "unwind"),
                cfg!(debug_assertions),
            );
        };
    };
}

/// The objects under their kinds' names, for the macro.
pub mod objects {
    pub use crate::abi::{
        JobRunnerBox as JobRunner, SchedulerBox as Scheduler, WorkflowModuleBox as WorkflowModule,
    };
}
