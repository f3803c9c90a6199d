//! Extensions, sniffing, peeks.
use std::{io, path::Path};
/// The extension that the content suggests: `data` if nothing is known.
pub fn sniff(_path: &Path) -> io::Result<String> { todo!() }
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    pub peek: String,
    pub blurb: String,
    /// Known only below a size.
    pub lines: Option<u64>,
    pub data_lines: Option<u64>,
    pub comment_lines: Option<u64>,
    pub columns: Option<u64>,
    pub column_types: Vec<String>,
}
pub fn peek(_path: &Path, _ext: &str) -> io::Result<Peek> { todo!() }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datatype { pub extension: &'static str, pub mime: &'static str, pub is_binary: bool, pub composite: bool }
pub fn datatype(_extension: &str) -> Option<&'static Datatype> { todo!() }
pub fn known() -> &'static [Datatype] { todo!() }
pub fn mime(_extension: &str) -> &'static str { todo!() }
/// Whether `actual` may be used where `wanted` is asked for (subtypes: bed is tabular is txt).
pub fn matches(_actual: &str, _wanted: &str) -> bool { todo!() }
/// `\r` and `\r\n` become `\n` and the last line gets one; blanks may become tabs. Streams.
pub fn normalise_text(_source: &mut dyn io::Read, _sink: &mut dyn io::Write, _to_posix_lines: bool, _space_to_tab: bool) -> io::Result<u64> { todo!() }
