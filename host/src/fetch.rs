//! Fetching by URL, for whoever asks: the doors check with [`Fetcher::check`] when a request comes, and the bytes are
//! got by [`Fetcher::fetch`], which checks again, every hop and the address that is really connected to. [`Sender`] sends a
//! document under rules of its own, and as strictly.

mod address;
mod hashes;
mod rules;
mod send;
mod transfer;
mod web;

pub use hashes::{Hash, HashFunction};
pub use rules::{Local, Prefix, Purpose, Refusal, Rules, Target};
pub use send::Sender;
pub use transfer::{Failure, Fetcher, Limits};
