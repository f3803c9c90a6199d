//! How requests and answers are written between the server and a plugin's process.
//!
//! Both sides are the same program, so the form may change with every build. Most methods go through postcard. A plan,
//! which may have ten thousand jobs, has a form of its own: see [`wire`].

mod made_plan;
mod plan;
#[cfg(test)]
mod tests;
mod wire;

use barycenter_plugin_api::PlanRequest;
pub use made_plan::MadePlan;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use wire::{Reader, Wire, Writer};

/// A way to write the requests and answers of a method.
pub(crate) trait Codec<Q: ?Sized + ToOwned, A> {
    /// Appends a request.
    fn write_request(request: &Q, to: &mut Vec<u8>) -> Result<(), String>;
    /// Reads a request, maybe into the memory of the one before.
    fn read_request<'k>(bytes: &[u8], kept: &'k mut Kept) -> Result<Cow<'k, Q>, String>;
    /// Appends an answer.
    fn write_answer(answer: &A, to: &mut Vec<u8>) -> Result<(), String>;
    /// Reads an answer. Nothing in it is trusted.
    fn read_answer(bytes: &[u8]) -> Result<A, String>;
}

/// What one who answers call after call keeps between them.
#[derive(Default)]
pub(crate) struct Kept {
    plan: PlanRequest,
}

/// What was read from more bytes than this is not kept.
const KEPT_MAX: usize = 4 << 20;

impl Kept {
    /// Forgets a request of so many bytes if that would take much memory for long.
    pub fn shrink(&mut self, bytes: usize) {
        if bytes > KEPT_MAX {
            *self = Self::default();
        }
    }
}

/// For everything that is small or rare.
pub(crate) struct Postcard;

impl<Q, A> Codec<Q, A> for Postcard
where
    Q: ?Sized + Serialize + ToOwned<Owned: DeserializeOwned>,
    A: Serialize + DeserializeOwned,
{
    fn write_request(request: &Q, to: &mut Vec<u8>) -> Result<(), String> {
        append(request, to)
    }

    fn read_request<'k>(bytes: &[u8], _kept: &'k mut Kept) -> Result<Cow<'k, Q>, String> {
        let read = postcard::from_bytes::<Q::Owned>(bytes);
        read.map(Cow::Owned).map_err(|error| error.to_string())
    }

    fn write_answer(answer: &A, to: &mut Vec<u8>) -> Result<(), String> {
        append(answer, to)
    }

    fn read_answer(bytes: &[u8]) -> Result<A, String> {
        postcard::from_bytes(bytes).map_err(|error| error.to_string())
    }
}

fn append<T: Serialize + ?Sized>(value: &T, to: &mut Vec<u8>) -> Result<(), String> {
    // On an error what was there is gone with it: the frame is given up.
    *to = postcard::to_extend(value, std::mem::take(to)).map_err(|error| error.to_string())?;
    Ok(())
}

/// For plans.
pub(crate) struct Compact;

impl Codec<PlanRequest, MadePlan> for Compact {
    fn write_request(request: &PlanRequest, to: &mut Vec<u8>) -> Result<(), String> {
        request.write(&mut Writer::new(to), &mut Default::default());
        Ok(())
    }

    fn read_request<'k>(bytes: &[u8], kept: &'k mut Kept) -> Result<Cow<'k, PlanRequest>, String> {
        read_into(&mut kept.plan, bytes)?;
        Ok(Cow::Borrowed(&kept.plan))
    }

    fn write_answer(plan: &MadePlan, to: &mut Vec<u8>) -> Result<(), String> {
        plan.write(&mut Writer::new(to), &mut Default::default());
        Ok(())
    }

    fn read_answer(bytes: &[u8]) -> Result<MadePlan, String> {
        MadePlan::read(|plan| Ok(read_into(plan, bytes)? <= KEPT_MAX))
    }
}

/// How much memory what was read takes.
fn read_into(value: &mut impl Wire, bytes: &[u8]) -> Result<usize, String> {
    let mut reader = Reader::new(bytes);
    let read = value.read(&mut reader, &mut Default::default());
    let read = read.and_then(|()| reader.end());
    read.map_err(|damage| damage.to_string())
}
