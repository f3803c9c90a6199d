//! The host's side of a plugin, by kind: what may be asked of it, and which rules its answers keep.

mod module;
mod runner;
mod scheduler;

pub use module::ModuleInstance;
pub use runner::RunnerInstance;
pub use scheduler::SchedulerInstance;

/// What shows whether a plugin is fit; the rest says little.
const WORK: [&str; 5] = ["plan", "execute", "recover_mapping", "submit", "recover"];

/// The accessors that all three kinds of instances share.
macro_rules! identity_accessors {
    () => {
        /// The instance's name in plugins.toml.
        pub fn id(&self) -> &str {
            &self.0.caller.id
        }

        /// The plugin type.
        pub fn type_id(&self) -> &str {
            &self.0.caller.type_id
        }

        /// The plugin's own version.
        pub fn version(&self) -> &str {
            &self.0.caller.version
        }

        /// A reading of the counters, one entry per method.
        pub fn stats(&self) -> Vec<MethodStats> {
            self.0.caller.stats()
        }

        /// How it is doing.
        pub fn supervision(&self) -> &Arc<Supervision> {
            self.0.caller.supervision()
        }

        /// Whether it gets new work: an administrator has not disabled it.
        pub fn is_enabled(&self) -> bool {
            !self.0.caller.is_off()
        }

        /// Whether this is the very same instance and not another of its name.
        pub fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }

        pub(in crate::plugins) fn caller(&self) -> &Caller {
            &self.0.caller
        }

        pub(in crate::plugins) fn probation(&self) -> &Probation<Self> {
            &self.0.probation
        }

        /// Nobody else has it any more.
        pub(in crate::plugins) fn is_left(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }

        /// Makes a call; while this one is on trial, the one before it is asked when it breaks down.
        fn tried<A>(
            &self,
            method: &str,
            call: impl Fn(&Self) -> Result<A, PluginCallError>,
        ) -> Result<A, PluginCallError> {
            let outcome = call(self);
            match self.0.probation.judge(WORK.contains(&method), &outcome) {
                Some(old) => call(&old),
                None => outcome,
            }
        }
    };
}
use identity_accessors;
