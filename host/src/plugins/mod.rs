//! All dynamic loading: which plugins an operator declares, where their files are, whether they
//! fit, and how they are called.
//!
//! ```text
//! plugins.toml ─► config ─► locate ─► inspect ─► load ─► registry ─► bridge
//! ```

mod bridge;
mod check;
mod config;
mod fault;
mod inspect;
mod load;
mod locate;
mod options;
pub mod record;
mod registry;
mod services;
mod stats;
mod trust;

pub use bridge::{ModuleInstance, PluginCallError, RunnerInstance, SchedulerInstance};
pub use check::check_plan;
pub use config::{Entry, Handlers, PluginsConfig};
pub use fault::Fault;
pub(crate) use fault::did_you_mean;
pub use inspect::{InspectError, inspect_bytes, inspect_file};
pub use load::{LoadError, Loaded, load};
pub use registry::{ListedPlugin, PluginStatus, Plugins, create_unchecked};
pub use services::Wiring;
pub use stats::{BUCKET_BOUNDS_US, MethodStats};
pub use trust::Trust;
