//! Abilities that a scheduler may have beyond planning, each asked for by id.
//!
//! A capability is a table of functions with a type check of its own: one that does not fit is left out, with a
//! reason of two lines, and the plugin goes on without it. An id ends in its version; a table of another shape is
//! another id, so a host that does not know an id simply never asks for it.

#![allow(
    unsafe_code,
    reason = "a capability's functions get the plugin's object as an address"
)]

use crate::abi::{PluginRootRef, SchedulerBox};
use crate::open::LayoutError;
use crate::values::{Attr, List, Text};
use crate::{PluginError, ReadyJob, UserLoad};
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::std_types::{RResult, RStr};
use abi_stable::type_layout::TypeLayout;
use serde::{Deserialize, Serialize};

/// Its state can be saved and given back: [`crate::Scheduler::snapshot_state`], [`crate::Scheduler::restore_state`].
pub const STATE: &str = "barycenter.state/1";
/// It can say why something waits: [`crate::Scheduler::explain`].
pub const EXPLAIN: &str = "barycenter.explain/1";

/// Every capability of a scheduler that this version of the contract knows.
pub const SCHEDULER_CAPABILITIES: [&str; 2] = [STATE, EXPLAIN];

/// What somebody wants explained: one invocation and its jobs that wait for a runner.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ExplainRequest {
    /// The host's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// The invocation.
    pub invocation_id: u64,
    /// Its public identity.
    pub invocation_uuid: Text,
    /// Its owner; 0 for nobody.
    pub user_id: u64,
    /// Its jobs that could run now, oldest first; at most a hundred.
    pub jobs: List<ReadyJob>,
    /// What each user has in the system.
    pub load: List<UserLoad>,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// Why an invocation waits. Read by its owner.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// A short word for machines, of the scheduler's choosing.
    pub code: Text,
    /// A sentence for people; empty when nothing waits for this scheduler.
    pub text: Text,
    /// When it is expected to go on, milliseconds since 1970; 0 when unknown.
    pub expected_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl Explanation {
    /// An explanation without a time.
    pub fn of(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into().into(),
            ..Self::default()
        }
    }
}

/// What a library answers when it is asked for a capability.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct CapabilityHeader {
    /// The address of the table's description; null when the library does not have the capability.
    pub layout: *const (),
    /// The address of the table.
    pub table: *const (),
}

impl CapabilityHeader {
    /// The library does not have it.
    pub const ABSENT: Self = Self {
        layout: std::ptr::null(),
        table: std::ptr::null(),
    };

    /// A table and its description.
    pub fn of<T: StableAbi>(table: &'static T) -> Self {
        let layout: &'static TypeLayout = T::LAYOUT;
        Self {
            layout: std::ptr::from_ref(layout).cast(),
            table: std::ptr::from_ref(table).cast(),
        }
    }
}

/// The functions behind [`STATE`]. `instance` is what the object's `instance` gave.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct StateTable {
    /// See [`crate::Scheduler::snapshot_state`].
    pub snapshot_state: unsafe extern "C" fn(instance: *mut ()) -> RResult<Text, PluginError>,
    /// See [`crate::Scheduler::restore_state`].
    pub restore_state:
        unsafe extern "C" fn(instance: *mut (), state_json: RStr<'_>) -> RResult<(), PluginError>,
}

/// The functions behind [`EXPLAIN`]. `instance` is what the object's `instance` gave.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ExplainTable {
    /// See [`crate::Scheduler::explain`].
    pub explain: unsafe extern "C" fn(
        instance: *mut (),
        request: &ExplainRequest,
    ) -> RResult<Explanation, PluginError>,
}

/// A capability that a library offers and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its id.
    pub id: String,
    /// Why, in at most two lines.
    pub reason: String,
}

/// The capabilities of one scheduler library, for hosts. Cheap to copy around.
#[derive(Clone, Default)]
pub struct SchedulerCapabilities {
    state: Option<&'static StateTable>,
    explain: Option<&'static ExplainTable>,
    dropped: Vec<Dropped>,
}

impl SchedulerCapabilities {
    /// Asks a library that was opened with [`crate::open::open_root`] for every capability that this host knows.
    pub fn of(root: PluginRootRef) -> Self {
        let mut found = Self::default();
        // A library of 1.0 has no such field.
        if let Some(capability) = root.capability() {
            found.state = found.take(STATE, capability(STATE.into()));
            found.explain = found.take(EXPLAIN, capability(EXPLAIN.into()));
        }
        found
    }

    /// The table, if the library has it and its types are ours.
    fn take<T: StableAbi>(&mut self, id: &str, header: CapabilityHeader) -> Option<&'static T> {
        if header.layout.is_null() || header.table.is_null() {
            return None;
        }
        // SAFETY: a library whose header was upgraded describes types in the same version of abi_stable as we do,
        // and never goes away.
        let theirs = unsafe { &*header.layout.cast::<TypeLayout>() };
        match check_layout_compatibility(T::LAYOUT, theirs) {
            // SAFETY: the table's type was compared with ours just now; the table is a static of the library.
            Ok(()) => Some(unsafe { &*header.table.cast::<T>() }),
            Err(errors) => {
                let summary = LayoutError::of(errors.to_string()).summary;
                let reason = summary.lines().take(2).collect::<Vec<_>>().join("\n");
                self.dropped.push(Dropped {
                    id: id.to_owned(),
                    reason,
                });
                None
            }
        }
    }

    /// The ids of those that can be used.
    pub fn ids(&self) -> Vec<&'static str> {
        let state = self.state.map(|_| STATE);
        let explain = self.explain.map(|_| EXPLAIN);
        state.into_iter().chain(explain).collect()
    }

    /// Whether this one can be used.
    pub fn has(&self, id: &str) -> bool {
        self.ids().contains(&id)
    }

    /// Those that the library offers and that cannot be used.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Asks for the state of `object`, which must be of the same library.
    pub fn snapshot_state(&self, object: &mut SchedulerBox) -> Result<Text, PluginError> {
        let (table, instance) = usable(STATE, self.state, object)?;
        // SAFETY: `instance` is the live object that the table's library made, and we hold it exclusively.
        unsafe { (table.snapshot_state)(instance) }.into_result()
    }

    /// Gives `object`, which must be of the same library, an earlier state back.
    pub fn restore_state(
        &self,
        object: &mut SchedulerBox,
        state_json: &str,
    ) -> Result<(), PluginError> {
        let (table, instance) = usable(STATE, self.state, object)?;
        // SAFETY: as above.
        unsafe { (table.restore_state)(instance, state_json.into()) }.into_result()
    }

    /// Asks `object`, which must be of the same library, why something waits.
    pub fn explain(
        &self,
        object: &mut SchedulerBox,
        request: &ExplainRequest,
    ) -> Result<Explanation, PluginError> {
        let (table, instance) = usable(EXPLAIN, self.explain, object)?;
        // SAFETY: as above.
        unsafe { (table.explain)(instance, request) }.into_result()
    }
}

fn usable<T>(
    id: &str,
    table: Option<&'static T>,
    object: &mut SchedulerBox,
) -> Result<(&'static T, *mut ()), PluginError> {
    let instance = object.instance();
    match table {
        Some(table) if !instance.is_null() => Ok((table, instance)),
        _ => Err(PluginError::refused(format!(
            "The plugin does not have the capability `{id}`"
        ))),
    }
}
