//! Fetching by URL, for whoever asks: the doors check with [`Fetcher::check`] when a request comes, and the bytes are
//! got by [`Fetcher::fetch`], which checks again, every hop and the address that is really connected to.

mod address;
mod hashes;
mod rules;
mod transfer;
mod web;

pub use hashes::{Hash, HashFunction};
pub use rules::{Local, Prefix, Refusal, Rules, Target};
pub use transfer::{Failure, Fetcher, Limits};
