//! The tools that every server has: Galaxy's text tools by Galaxy's ids, written anew on
//! coreutils, grep, sed and awk.
//!
//! Text that people supply reaches the shell only through `sh(..)` of `stock.js` or in a file,
//! and awk only through its environment.

use std::sync::{Arc, OnceLock};

use super::Tool;
use super::yaml;

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../tools/", $name, ".yml")))),*]
    };
}

/// Name and text of every stock tool, in panel order.
const SOURCES: &[(&str, &str)] = sources![
    "cat1",
    "cat",
    "paste1",
    "cut1",
    "remove_beginning",
    "show_beginning",
    "show_tail",
    "random_lines",
    "convert_characters",
    "add_value",
    "trimmer",
    "sort1",
    "grep1",
    "count1",
    "join1",
    "comp1",
    "grouping",
    "wc_gnu",
    "secure_hash",
    "tp_cat",
    "tp_head",
    "tp_tail",
    "tp_cut",
    "tp_sort_header",
    "tp_sorted_uniq",
    "tp_grep",
    "tp_sed",
    "tp_awk",
    "tp_replace_in_line",
];

/// JavaScript that every stock tool's expressions may use.
const LIBRARY: &str = include_str!("../../tools/stock.js");

/// Every stock tool. They are parsed once; a test makes sure that each one parses.
pub fn tools() -> Vec<Arc<Tool>> {
    static TOOLS: OnceLock<Vec<Arc<Tool>>> = OnceLock::new();
    TOOLS
        .get_or_init(|| {
            let parsed = SOURCES.iter().map(|(name, text)| yaml::parse(text, name));
            parsed
                .filter_map(Result::ok)
                .map(|mut tool| {
                    tool.requirements
                        .expression_lib
                        .insert(0, LIBRARY.to_owned());
                    Arc::new(tool)
                })
                .collect()
        })
        .clone()
}

#[cfg(test)]
#[path = "stock/tests.rs"]
mod tests;
