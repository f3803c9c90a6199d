//! How a host opens a library's header.

use crate::abi::PluginRootRef;
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, LibraryError};

/// Why a library's header does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutError {
    /// At most three lines.
    pub summary: String,
    /// Everything that the check has to say; may be a thousand lines.
    pub details: String,
}

/// Checks the types behind a library's header and takes its root.
///
/// `plugin_minor` is the minor version of the contract that the library was built with, from its
/// preamble. The older side is the interface of the check, so that either side may have more.
///
/// # Safety
///
/// `header` is the address of the symbol [`HEADER_SYMBOL`](crate::abi::HEADER_SYMBOL) in a library that stays loaded until the
/// process ends, and whose preamble has been found good.
#[expect(unsafe_code, reason = "the address comes from a symbol table")]
pub unsafe fn open_root(
    header: *const (),
    plugin_minor: u16,
) -> Result<PluginRootRef, LayoutError> {
    if header.is_null() {
        return Err(LayoutError::of("its header is missing".to_owned()));
    }
    // SAFETY: AbiHeaderRef is a transparent reference to the static that the symbol names, and the
    // caller vouches for the symbol.
    let header: AbiHeaderRef = unsafe { std::mem::transmute(header) };
    let header = header.upgrade().map_err(LayoutError::of_library)?;
    let Some(theirs) = header.layout() else {
        return Err(LayoutError::of(
            "it carries no description of its types".to_owned(),
        ));
    };
    let ours = <PluginRootRef as StableAbi>::LAYOUT;
    let checked = if plugin_minor < crate::API_VERSION.1 {
        check_layout_compatibility(theirs, ours)
    } else {
        check_layout_compatibility(ours, theirs)
    };
    checked.map_err(|errors| LayoutError::of(errors.to_string()))?;
    // SAFETY: the layouts were compared above.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginRootRef>() }
        .map_err(LayoutError::of_library)
}

impl LayoutError {
    fn of_library(error: LibraryError) -> Self {
        Self::of(error.to_string())
    }

    /// The first cause that the long text names, without the type listings around it.
    pub(crate) fn of(details: String) -> Self {
        let summary = summarise(&details);
        Self { summary, details }
    }
}

/// abi_stable's report lists every type on the way to the fault, on 1,000 lines and more. Keeps the
/// innermost place and what was expected and found there.
fn summarise(details: &str) -> String {
    let lines: Vec<&str> = details.lines().map(str::trim).collect();
    let mut out = Vec::new();
    if let Some(at) = lines.iter().position(|line| line.starts_with("Error:")) {
        // The type in which it was found is listed before the error.
        let listed = lines[..at]
            .iter()
            .rposition(|line| line.starts_with("Layout of expected type:"));
        let inside = listed.and_then(|from| {
            lines[from..at]
                .iter()
                .find_map(|line| line.strip_prefix("type:"))
        });
        match inside {
            Some(inside) => out.push(format!("{} in {inside}", lines[at])),
            None => out.push(lines[at].to_owned()),
        }
        let wanted = |prefix: &str| {
            let rest = &lines[at..];
            let found = rest.iter().position(|line| line.starts_with(prefix))?;
            rest[found + 1..]
                .iter()
                .find(|line| !line.is_empty())
                .copied()
        };
        if let (Some(expected), Some(found)) = (wanted("Expected:"), wanted("Found:")) {
            out.push(format!("expected {expected}; found {found}"));
        }
    }
    if out.is_empty() {
        out = lines
            .iter()
            .filter(|line| !line.is_empty())
            .take(3)
            .map(|line| (*line).to_owned())
            .collect();
    }
    for line in &mut out {
        if let Some((cut, _)) = line.char_indices().nth(160) {
            line.truncate(cut);
            line.push('…');
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobRef, JobSpec};

    #[test]
    fn types_that_differ_are_told_in_a_few_lines() {
        let (ours, theirs) = (
            <JobSpec as StableAbi>::LAYOUT,
            <JobRef as StableAbi>::LAYOUT,
        );
        let errors = check_layout_compatibility(ours, theirs).unwrap_err();
        let error = LayoutError::of(errors.to_string());
        assert!(error.details.lines().count() > 20);
        assert!(error.summary.lines().count() <= 3, "{}", error.summary);
        assert!(error.summary.contains("JobSpec"), "{}", error.summary);
    }

    #[test]
    fn a_missing_header_is_an_error() {
        #[expect(unsafe_code, reason = "calls what is tested")]
        // SAFETY: null is refused before it is read.
        let result = unsafe { open_root(std::ptr::null(), 0) };
        assert!(result.is_err());
    }
}
