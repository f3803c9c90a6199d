//! Scripts that users wrote: conditions of steps, expressions in tools. They are evaluated in processes of their own, because
//! the engine keeps its time limit between instructions only: one built-in function over a made-up length
//! (`Array.prototype.reverse.call({length: 2 ** 53 - 1})`) is a single instruction, and can only be ended with its process.
//!
//! ```text
//! workers ─► starts, asks, waits, gives up      child ─► reads, evaluates, answers; ends itself when it is overdue
//!    └──────────────── one socket, a request and its answer at a time ───────────────┘
//! ```

mod child;
mod engine;
mod frame;
#[cfg(test)]
pub mod testing;
#[cfg_attr(
    test,
    expect(dead_code, reason = "the library's own tests have no program to start")
)]
mod workers;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use child::main;

/// The hidden subcommand.
pub const COMMAND: &str = "javascript-process";

/// What one script may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time.
    pub time: Duration,
    pub memory_bytes: usize,
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            // QuickJS recurses in C: half of what a small thread has.
            stack_bytes: 512 << 10,
        }
    }
}

/// A script whose value is a text of JSON, with the values that it finds as globals, in JSON as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    pub source: String,
    pub globals: Vec<(String, String)>,
    pub limits: Limits,
}

/// Why a script has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It took longer than its limit.
    TooSlow,
    /// It needed more memory than its limit.
    TooLarge,
    /// It threw, or its value is not one: a sentence for its author.
    Failed(String),
    /// There is no engine at the moment; nothing is known about the script.
    Unavailable(String),
}

/// The value of a script; null where it has none. Blocks, no longer than a second more than the script's limit of time, and
/// what it takes to start a process.
pub fn evaluate(script: &Script) -> Result<Value, Failure> {
    #[cfg(test)]
    let text = testing::evaluate(script)?;
    #[cfg(not(test))]
    let text = workers::evaluate(script)?;
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::Failed(format!("its value is not usable: {error}")))
}
