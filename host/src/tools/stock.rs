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
    "collections/apply_rules",
    "collections/build_list",
    "collections/cross_product_flat",
    "collections/cross_product_nested",
    "collections/duplicate_file",
    "collections/extract",
    "collections/filter_empty",
    "collections/filter_failed",
    "collections/filter_from_file",
    "collections/filter_null",
    "collections/flatten",
    "collections/harmonize",
    "collections/keep_success",
    "collections/merge",
    "collections/relabel_from_file",
    "collections/sort",
    "collections/tag_from_file",
    "collections/unzip",
    "collections/zip",
    "expressions/compose_text_param",
    "expressions/map_param_value",
    "expressions/param_value_from_file",
    "expressions/pick_value",
];

/// Versions that workflows ask for and that the tool of the same id serves as well: each had fewer parameters.
const OLDER: &[(&str, &[&str])] = &[
    ("__APPLY_RULES__", &["1.0.0"]),
    ("__BUILD_LIST__", &["1.0.0", "1.1.0"]),
    ("__EXTRACT_DATASET__", &["1.0.0", "1.0.1"]),
    ("__FILTER_EMPTY_DATASETS__", &["1.0.0"]),
    ("__FILTER_FAILED_DATASETS__", &["1.0.0"]),
    ("__FILTER_FROM_FILE__", &["1.0.0"]),
    ("__FILTER_NULL__", &["1.0.0"]),
    ("__KEEP_SUCCESS_DATASETS__", &["1.0.0"]),
    ("__RELABEL_FROM_FILE__", &["1.0.0"]),
    ("compose_text_param", &["0.1.0"]),
    ("map_param_value", &["0.1.0"]),
    ("pick_value", &["0.1.0"]),
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
                .flat_map(|mut tool| {
                    tool.requirements
                        .expression_lib
                        .insert(0, LIBRARY.to_owned());
                    let older = OLDER.iter().find(|(id, _)| *id == tool.id);
                    let older = older.map_or(&[][..], |(_, versions)| versions);
                    let mut all: Vec<Arc<Tool>> = older
                        .iter()
                        .map(|version| {
                            let version = (*version).to_owned();
                            Arc::new(Tool {
                                version,
                                ..tool.clone()
                            })
                        })
                        .collect();
                    all.push(Arc::new(tool));
                    all
                })
                .collect()
        })
        .clone()
}

#[cfg(test)]
#[path = "stock/tests.rs"]
mod tests;
