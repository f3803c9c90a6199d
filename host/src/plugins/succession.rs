//! How an instance begins where another one left off.

use super::bridge::SchedulerInstance;
use super::instance::Instance;
use barycenter_plugin_api::capability;

/// Starts what is to take a place. Whether it got the old one's state.
pub(super) fn hand_over(old: Option<&Instance>, new: Option<&Instance>) -> Result<bool, String> {
    match new {
        Some(Instance::Scheduler(one)) => {
            one.startup().map_err(|error| error.to_string())?;
            let Some(Instance::Scheduler(old)) = old else {
                return Ok(false);
            };
            one.follow(old);
            give_state(old, one)
        }
        Some(Instance::Runner(one)) => {
            one.capacity().map_err(|error| error.to_string())?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Starts one that takes its invocations by itself, where the old one has stopped. Whether it got its state.
pub(super) fn take_over_alone(
    old: &SchedulerInstance,
    new: &SchedulerInstance,
    state: Option<&str>,
) -> Result<bool, String> {
    // Until it is in its place it asks in the old one's name: what either takes from now on was taken by this one.
    for one in [old, new] {
        one.supervision().begin_life();
    }
    new.startup().map_err(|error| error.to_string())?;
    new.follow(old);
    take_over(new, state)
}

/// Whether the new one got the old one's state.
pub(super) fn give_state(old: &SchedulerInstance, new: &SchedulerInstance) -> Result<bool, String> {
    // The old one is asked only for what the new one can take.
    let state = keeps_state(new).then(|| state_of(old)).flatten();
    take_over(new, state.as_deref())
}

/// The state of one that keeps any. One that cannot tell it does not hold up what is to replace it.
pub(super) fn state_of(old: &SchedulerInstance) -> Option<String> {
    if !keeps_state(old) {
        return None;
    }
    let state = old.snapshot_state();
    state
        .inspect_err(|error| {
            tracing::warn!(target: "plugin", plugin = old.id(), "a new one begins without its state: {error}");
        })
        .ok()
}

fn keeps_state(one: &SchedulerInstance) -> bool {
    one.capabilities().has(capability::STATE)
}

fn take_over(new: &SchedulerInstance, state: Option<&str>) -> Result<bool, String> {
    let Some(state) = state.filter(|_| keeps_state(new)) else {
        return Ok(false);
    };
    let given = new.restore_state(state);
    given.map_err(|error| format!("it does not take the old one's state over: {error}"))?;
    Ok(true)
}
