//! All dynamic loading: which plugins an operator declares, where their files are, whether they
//! fit, and how they are called.
//!
//! ```text
//! plugins.toml ─► config ─► declared ─► making ─► registry ─► bridge ─► transport ─┬─► inproc
//!                           locate      options_check                              └─► process
//!                           inspect
//!                           load
//! ```
//!
//! `lifecycle` changes what the registry holds while the server runs, `trial` what becomes of the old and the new one then;
//! `status` says how each is.

mod bridge;
mod calling;
mod check;
mod codec;
mod config;
mod declared;
mod failure;
mod fault;
mod inproc;
mod inspect;
mod instance;
mod isolation;
mod lifecycle;
mod limits;
mod load;
mod locate;
mod making;
mod methods;
mod options;
mod options_check;
mod probation;
pub mod process;
mod quarantine;
pub mod record;
mod registry;
mod rehearsal;
mod services;
mod stats;
mod status;
mod succession;
mod supervision;
mod switch;
mod tame;
mod transport;
mod trial;
mod trust;

pub use bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
pub use check::check_plan;
pub use config::{Entry, Handlers, PluginsConfig};
pub use failure::{Loss, PluginCallError};
pub use fault::Fault;
pub(crate) use fault::did_you_mean;
pub use inspect::{InspectError, inspect_bytes, inspect_file, read_library};
pub use isolation::Isolation;
pub use lifecycle::{Lifecycle, Refusal, Reloaded};
pub use limits::Limits;
pub use load::{LoadError, Loaded, load};
pub use making::create_unchecked;
pub use methods::Capabilities;
pub use registry::{ListedPlugin, PluginStatus, Plugins};
pub use rehearsal::Shadow;
pub use services::Wiring;
pub use stats::{BUCKET_BOUNDS_US, FAULTS, MethodStats};
pub use status::{PluginView, Report, STATES, View};
pub use supervision::{Budget, Supervision, SupervisionState, SupervisionStatus};
pub use tame::{WORD_MAX, tame};
pub use trust::Trust;
