//! Reads what a plugin library says about itself without running any of it.
//!
//! Opening a damaged library with `dlopen` can kill the process before anyone may object, so all
//! that can be refused is refused here.

use super::tame::tame;
use barycenter_plugin_api::API_VERSION;
use barycenter_plugin_api::preamble::{Preamble, PreambleError, SECTION};
use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_DYN, FileHeader64,
    Machine, PT_LOAD, SHT_NOBITS,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, elf};
use std::io::Read as _;
use std::path::Path;

#[cfg(target_arch = "x86_64")]
const OUR_MACHINE: Machine = EM_X86_64;
#[cfg(target_arch = "aarch64")]
const OUR_MACHINE: Machine = EM_AARCH64;
#[cfg(target_arch = "riscv64")]
const OUR_MACHINE: Machine = EM_RISCV;
#[cfg(target_arch = "powerpc64")]
const OUR_MACHINE: Machine = EM_PPC64;
#[cfg(target_arch = "s390x")]
const OUR_MACHINE: Machine = EM_S390;

/// Why a file is not a plugin for this server. Each text is one sentence with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It cannot be read.
    #[error("the file cannot be read ({0})")]
    Unreadable(String),
    /// It is not a library at all.
    #[error(
        "the file is not a shared library (no ELF file); name the .so that `cargo build` makes of a crate with \
         crate-type = [\"cdylib\"]"
    )]
    NotElf,
    /// It ends too early, or its tables point nowhere.
    #[error("the file is truncated or damaged ({0}); copy or build it again")]
    Damaged(String),
    /// It is for another processor.
    #[error("the library is for {found}, this server runs on {wanted}; build it for this machine")]
    Architecture {
        /// Of the library.
        found: String,
        /// Of the server.
        wanted: String,
    },
    /// A library, but none of ours.
    #[error(
        "the library is not a Barycenter plugin (it has no section {SECTION}); a plugin is exported by a macro of \
         barycenter-plugin-api, such as export_scheduler!"
    )]
    NotAPlugin,
    /// Its preamble cannot be read.
    #[error(
        "the library's preamble is unreadable ({0}); build it again with barycenter-plugin-api"
    )]
    Preamble(String),
    /// It was built with another major version of the contract.
    #[error(
        "the library was built for plugin-api {}.{}, this server has {}.{}; \
         build it with barycenter-plugin-api {}",
        found.0, found.1, API_VERSION.0, API_VERSION.1, API_VERSION.0
    )]
    Api {
        /// What it was built with.
        found: (u16, u16, u16),
    },
    /// A panic in it would end the server: it may only run in a process of its own.
    #[error(
        "the library was built with panic = \"abort\", so one panic would end the server; \
         build it with panic = \"unwind\", or give it isolation = \"process\""
    )]
    PanicAborts,
}

/// The largest library that is read: one with all its debug information has some hundred MiB.
const LIBRARY_MAX: u64 = 1 << 30;

/// The bytes of a library. Whatever is no file, or too large to be one of ours, is not read.
pub fn read_library(path: &Path) -> Result<Vec<u8>, InspectError> {
    let unreadable = |error: std::io::Error| InspectError::Unreadable(error.to_string());
    // Asked before it is opened: opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(InspectError::Unreadable("it is no regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::new();
    if size <= LIBRARY_MAX {
        let read = file.take(LIBRARY_MAX + 1).read_to_end(&mut bytes);
        read.map_err(unreadable)?;
    }
    if size.max(bytes.len() as u64) > LIBRARY_MAX {
        return Err(InspectError::Unreadable(format!(
            "it has {size} bytes, more than any plugin"
        )));
    }
    Ok(bytes)
}

/// Reads a library's preamble and checks that the library could be opened.
pub fn inspect_file(path: &Path) -> Result<Preamble, InspectError> {
    inspect_bytes(&read_library(path)?)
}

/// The same for a library in memory.
pub fn inspect_bytes(bytes: &[u8]) -> Result<Preamble, InspectError> {
    let damaged = |error: object::Error| InspectError::Damaged(error.to_string());
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(InspectError::NotElf);
    }
    if bytes.get(4) != Some(&elf::ELFCLASS64.0) {
        return Err(architecture(None));
    }
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian);
    if machine != OUR_MACHINE || endian != Endianness::default() {
        return Err(architecture(Some(machine)));
    }
    if header.e_type(endian) != ET_DYN {
        return Err(InspectError::NotAPlugin);
    }
    for segment in header.program_headers(endian, bytes).map_err(damaged)? {
        let (offset, size) = segment.file_range(endian);
        if segment.p_type(endian) == PT_LOAD && beyond(bytes, offset, size) {
            return Err(InspectError::Damaged(
                "a segment lies beyond its end".to_owned(),
            ));
        }
    }
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    for section in sections.iter() {
        let outside = beyond(bytes, section.sh_offset(endian), section.sh_size(endian));
        if section.sh_type(endian) != SHT_NOBITS && outside {
            return Err(InspectError::Damaged(
                "a section lies beyond its end".to_owned(),
            ));
        }
    }
    let (_, section) = sections
        .section_by_name(endian, SECTION.as_bytes())
        .ok_or(InspectError::NotAPlugin)?;
    let preamble = section.data(endian, bytes).map_err(damaged)?;
    checked(Preamble::parse(preamble))
}

fn checked(preamble: Result<Preamble, PreambleError>) -> Result<Preamble, InspectError> {
    let preamble = preamble.map_err(|error| {
        InspectError::Preamble(match error {
            PreambleError::Short => "it is too short".to_owned(),
            PreambleError::BadMagic => "it does not begin as it should".to_owned(),
            PreambleError::Epoch(epoch) => format!("it is of generation {epoch}"),
        })
    })?;
    if preamble.api.0 != API_VERSION.0 {
        return Err(InspectError::Api {
            found: preamble.api,
        });
    }
    let tamed = |text: &str| tame(text, TEXT_MAX);
    Ok(Preamble {
        type_id: tamed(&preamble.type_id),
        version: tamed(&preamble.version),
        rustc: tamed(&preamble.rustc),
        target: tamed(&preamble.target),
        ..preamble
    })
}

/// No text of a preamble is longer.
const TEXT_MAX: usize = 100;

fn beyond(bytes: &[u8], offset: u64, size: u64) -> bool {
    offset
        .checked_add(size)
        .is_none_or(|end| end > bytes.len() as u64)
}

fn architecture(machine: Option<Machine>) -> InspectError {
    let found = match machine {
        None => "a 32-bit machine".to_owned(),
        Some(EM_X86_64) => "x86_64".to_owned(),
        Some(EM_AARCH64) => "aarch64".to_owned(),
        Some(EM_386) => "x86".to_owned(),
        Some(EM_ARM) => "arm".to_owned(),
        Some(EM_RISCV) => "riscv".to_owned(),
        Some(EM_PPC64) => "powerpc64".to_owned(),
        Some(EM_S390) => "s390x".to_owned(),
        Some(other) => format!("another machine (ELF machine {})", other.0),
    };
    InspectError::Architecture {
        found,
        wanted: std::env::consts::ARCH.to_owned(),
    }
}
