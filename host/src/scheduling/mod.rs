//! What moves invocations and jobs forward: the loops, and the decisions they carry out.

pub mod signals;
