//! Plugins in processes of their own.
//!
//! The process is the server's own program under a hidden subcommand. It opens the same library by the same steps and
//! answers calls over sockets; what the plugin asks of the host comes back over the same.
//!
//! ```text
//! keeper ─► starts, greets, reads, reaps, starts again      child ─► loads, makes
//!    └─ link ═══ first words, signs of life, services ════════┘
//! who calls ─► writes, waits, reads                         a thread ─► reads, calls, writes
//!    └─ lane ═══ one call at a time, and what it asks ════════┘
//! ```

mod capture;
mod child;
mod crash;
mod frame;
mod greeting;
mod keeper;
mod lane;
mod limits;
mod link;
mod pass;
mod services;
mod watch;

pub use child::main;
pub(super) use keeper::{Process, Spec, StartError};

use super::codec::{Codec, Compact};
use barycenter_plugin_api::{Plan, PlanRequest};

/// The hidden subcommand.
pub const COMMAND: &str = "plugin-process";

/// For measurements: how many bytes a request for a plan and its answer are, on their way into a process and back.
pub fn plan_bytes(request: &PlanRequest, plan: Plan) -> Result<(usize, usize), String> {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    Compact::write_request(request, &mut there)?;
    Compact::write_answer(&plan.into(), &mut back)?;
    Ok((there.len(), back.len()))
}
