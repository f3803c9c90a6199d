//! Plugins in processes of their own.
//!
//! The process is the server's own program under a hidden subcommand. It opens the same library by the same steps and
//! answers calls over a socket; what the plugin asks of the host comes back over the same socket.
//!
//! ```text
//! keeper ─► starts, greets, reads, reaps, starts again      child ─► loads, makes, answers
//!    │                                                        │
//!    └─ link ═══════════════ frames, one socket ═════════════─┘
//! ```

mod capture;
mod child;
mod crash;
mod frame;
mod greeting;
mod keeper;
mod limits;
mod link;
mod services;

pub use child::main;
pub(super) use keeper::{Process, Spec, StartError};

/// The hidden subcommand.
pub const COMMAND: &str = "plugin-process";
