//! A block at a fixed place in a plugin library that a host reads without running the library.
//!
//! It is the whole content of the ELF section [`SECTION`]. Its layout never changes; a later
//! version may append to it and then says so in `size`.

use crate::API_VERSION;

/// The ELF section that holds the block.
pub const SECTION: &str = ".barycenter.plugin";

/// The first bytes of the block.
pub const MAGIC: [u8; 16] = *b"BARYCENTERPLUGIN";

/// The generation of the block itself; another one is not readable.
pub const EPOCH: u32 = 1;

/// Flag: panics unwind, so they can be turned into errors.
pub const FLAG_UNWIND: u32 = 1;
/// Flag: built with debug assertions.
pub const FLAG_DEBUG: u32 = 2;

/// The block as it lies in the file. Texts are padded with zeros.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawPreamble {
    magic: [u8; 16],
    size: u32,
    epoch: u32,
    api: [u16; 3],
    kinds: u16,
    flags: u32,
    type_id: [u8; 64],
    version: [u8; 32],
    rustc: [u8; 96],
    target: [u8; 64],
}

/// What a library can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PluginKind {
    /// A [`crate::Scheduler`].
    Scheduler,
    /// A [`crate::WorkflowModule`].
    WorkflowModule,
    /// A [`crate::JobRunner`].
    JobRunner,
}

impl PluginKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Scheduler, Self::WorkflowModule, Self::JobRunner];

    /// As `plugins.toml` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::WorkflowModule => "workflow_module",
            Self::JobRunner => "job_runner",
        }
    }

    /// Its bit in the preamble.
    pub const fn bit(self) -> u16 {
        match self {
            Self::Scheduler => 1,
            Self::WorkflowModule => 2,
            Self::JobRunner => 4,
        }
    }
}

impl std::fmt::Display for PluginKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl RawPreamble {
    /// The block for a plugin that is being compiled. Fails to compile when the type is empty, too
    /// long, or has characters other than lower-case letters, digits, `-` and `_`.
    pub const fn new(
        kind: PluginKind,
        type_id: &str,
        version: &str,
        unwind: bool,
        debug: bool,
    ) -> Self {
        check_type_id(type_id.as_bytes());
        let (major, minor, patch) = API_VERSION;
        Self {
            magic: MAGIC,
            size: size_of::<Self>() as u32,
            epoch: EPOCH,
            api: [major, minor, patch],
            kinds: kind.bit(),
            flags: if unwind { FLAG_UNWIND } else { 0 } | if debug { FLAG_DEBUG } else { 0 },
            type_id: padded(type_id),
            version: padded(version),
            rustc: padded(env!("BARYCENTER_PLUGIN_RUSTC")),
            target: padded(env!("BARYCENTER_PLUGIN_TARGET")),
        }
    }
}

const fn check_type_id(id: &[u8]) {
    assert!(
        !id.is_empty() && id.len() <= 64,
        "a plugin type has 1 to 64 characters"
    );
    let mut at = 0;
    while at < id.len() {
        assert!(
            matches!(id[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'),
            "a plugin type consists of lower-case letters, digits, `-` and `_`"
        );
        at += 1;
    }
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut at = 0;
    while at < bytes.len() && at < N {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// The block, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The version of the contract that the library was built with.
    pub api: (u16, u16, u16),
    /// A bit for each [`PluginKind`].
    pub kinds: u16,
    /// A panic can be turned into an error.
    pub unwind: bool,
    /// Built with debug assertions.
    pub debug: bool,
    /// The plugin type.
    pub type_id: String,
    /// The plugin's own version.
    pub version: String,
    /// The compiler's name and version.
    pub rustc: String,
    /// The target triple.
    pub target: String,
}

/// Why a block cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreambleError {
    /// It ends too early.
    Short,
    /// It does not begin as it should.
    BadMagic,
    /// It is of another generation.
    Epoch(u32),
}

impl Preamble {
    /// Whether the library makes this kind of object.
    pub fn has(&self, kind: PluginKind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// The kinds of objects that it makes.
    pub fn kinds(&self) -> impl Iterator<Item = PluginKind> + '_ {
        PluginKind::ALL.into_iter().filter(|kind| self.has(*kind))
    }

    /// Reads the section's bytes, written by a machine of the reader's own byte order.
    pub fn parse(bytes: &[u8]) -> Result<Self, PreambleError> {
        let mut reader = Reader(bytes);
        if reader.take::<16>()? != MAGIC {
            return Err(PreambleError::BadMagic);
        }
        let size = reader.u32()? as usize;
        let epoch = reader.u32()?;
        if epoch != EPOCH {
            return Err(PreambleError::Epoch(epoch));
        }
        if size < size_of::<RawPreamble>() || bytes.len() < size_of::<RawPreamble>() {
            return Err(PreambleError::Short);
        }
        let api = (reader.u16()?, reader.u16()?, reader.u16()?);
        let kinds = reader.u16()?;
        let flags = reader.u32()?;
        Ok(Self {
            api,
            kinds,
            unwind: flags & FLAG_UNWIND != 0,
            debug: flags & FLAG_DEBUG != 0,
            type_id: reader.text::<64>()?,
            version: reader.text::<32>()?,
            rustc: reader.text::<96>()?,
            target: reader.text::<64>()?,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PreambleError> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(PreambleError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, PreambleError> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, PreambleError> {
        self.take().map(u32::from_ne_bytes)
    }

    fn text<const N: usize>(&mut self) -> Result<String, PreambleError> {
        let bytes = self.take::<N>()?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let raw = RawPreamble::new(PluginKind::Scheduler, "fair-share", "1.2.3", true, false);
        let mut out = Vec::new();
        out.extend(raw.magic);
        out.extend(raw.size.to_ne_bytes());
        out.extend(raw.epoch.to_ne_bytes());
        out.extend(raw.api.iter().flat_map(|part| part.to_ne_bytes()));
        out.extend(raw.kinds.to_ne_bytes());
        out.extend(raw.flags.to_ne_bytes());
        out.extend(raw.type_id);
        out.extend(raw.version);
        out.extend(raw.rustc);
        out.extend(raw.target);
        out
    }

    #[test]
    fn the_block_has_no_gaps() {
        assert_eq!(bytes().len(), size_of::<RawPreamble>());
    }

    #[test]
    fn a_block_is_read_back() {
        let read = Preamble::parse(&bytes()).unwrap();
        assert_eq!(read.type_id, "fair-share");
        assert_eq!(read.version, "1.2.3");
        assert_eq!(read.api, API_VERSION);
        assert!(read.unwind && !read.debug);
        assert_eq!(read.kinds().collect::<Vec<_>>(), [PluginKind::Scheduler]);
        assert!(read.rustc.starts_with("rustc "), "{}", read.rustc);
    }

    #[test]
    fn every_shorter_block_is_refused() {
        let whole = bytes();
        for length in 0..whole.len() {
            assert_eq!(
                Preamble::parse(&whole[..length]),
                Err(PreambleError::Short),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_longer_block_of_a_later_version_is_read() {
        let mut longer = bytes();
        longer[16..20].copy_from_slice(&400_u32.to_ne_bytes());
        longer.resize(400, 7);
        assert_eq!(Preamble::parse(&longer).unwrap().type_id, "fair-share");
    }

    #[test]
    fn another_magic_and_another_generation_are_told_apart() {
        let mut other = bytes();
        other[0] = b'X';
        assert_eq!(Preamble::parse(&other), Err(PreambleError::BadMagic));
        let mut other = bytes();
        other[20] = 9;
        assert_eq!(Preamble::parse(&other), Err(PreambleError::Epoch(9)));
    }
}
