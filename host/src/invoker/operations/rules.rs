//! `__APPLY_RULES__`: a collection as a table with a row for each dataset, rules that change the table, and columns
//! that say where each dataset stands in the new collection (Galaxy's rule language).

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use super::{Given, Node, Output, Refusal, Results, Share, Tree, because};
use crate::invoker::known::{Collection, ElementObject};
use crate::invoker::post_job_actions::tag_list;

/// Tables with more cells than this are refused.
const CELLS_MAX: usize = 10_000_000;
/// Bytes of a cell: far more than an identifier may have.
const CELL_MAX: usize = 64 << 10;
/// Bytes of a table.
const BYTES_MAX: usize = 128 << 20;
/// Bytes that one rule may add to a table.
const ADDED_MAX: usize = 64 << 20;
/// Rules, and columns that one of them names.
const RULES_MAX: usize = 1_000;
/// Ranks of the collection that comes out.
const RANKS_MAX: usize = 8;

/// A dataset with its place in the old collection, and its row.
#[derive(Clone)]
struct Row {
    hda_id: i64,
    identifiers: Vec<String>,
    tags: Vec<String>,
    cells: Vec<String>,
}

pub(super) fn apply(given: &Given<'_>) -> Result<Results, Refusal> {
    let decoded;
    let rules = match given.value("rules") {
        Value::String(text) => {
            decoded = serde_json::from_str(text).unwrap_or(Value::Null);
            &decoded
        }
        value => value,
    };
    let mut rows = Vec::new();
    table(given, given.collection("input")?, &[], &mut rows);
    let list = rules["rules"].as_array().map_or(&[][..], Vec::as_slice);
    if list.len() > RULES_MAX {
        return because(format!("more than {RULES_MAX} rules"));
    }
    for rule in list {
        let kind = rule["type"].as_str().unwrap_or_default();
        rows = match step(kind, rule, rows) {
            Ok(rows) => rows,
            Err(fault) => return because(format!("the rule {kind}: {fault}")),
        };
        let cells: usize = rows.iter().map(|row| row.cells.len().max(1)).sum();
        let all = rows.iter().flat_map(|row| &row.cells);
        let bytes: usize = all.map(String::len).sum();
        if cells > CELLS_MAX || bytes > BYTES_MAX {
            return because("the rules make too large a table");
        }
    }
    let tree = build(rules, rows)?;
    Ok(vec![("output", Output::Collection(tree))])
}

fn table(given: &Given<'_>, collection: &Collection, path: &[String], rows: &mut Vec<Row>) {
    for element in &collection.elements {
        let mut identifiers = path.to_vec();
        identifiers.push(element.identifier.clone());
        match &element.object {
            ElementObject::Collection(child) => table(given, child, &identifiers, rows),
            ElementObject::Hda(id) => {
                let mut tags = given.tags(*id).to_vec();
                tags.sort();
                rows.push(Row {
                    hda_id: *id,
                    identifiers,
                    tags,
                    cells: Vec::new(),
                });
            }
        }
    }
}

fn number(rule: &Value, key: &str) -> Result<usize, String> {
    let number = rule[key].as_u64().and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| format!("{key} must be a whole number from 0"))
}

fn text<'r>(rule: &'r Value, key: &str) -> Result<&'r str, String> {
    rule[key]
        .as_str()
        .ok_or_else(|| format!("{key} must be a text"))
}

fn flag(rule: &Value, key: &str) -> Result<bool, String> {
    rule[key]
        .as_bool()
        .ok_or_else(|| format!("{key} must be true or false"))
}

fn columns(rule: &Value, key: &str) -> Result<Vec<usize>, String> {
    let list = rule[key].as_array();
    let list = list.ok_or_else(|| format!("{key} must be a list of columns"))?;
    if list.len() > RULES_MAX {
        return Err(format!("{key} names more than {RULES_MAX} columns"));
    }
    list.iter()
        .map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{key} must be a list of columns"))
}

impl Row {
    fn cell(&self, column: usize) -> Result<&str, String> {
        let found = self.cells.get(column).map(String::as_str);
        found.ok_or_else(|| format!("there is no column {column}"))
    }
}

/// Adds a cell to each row.
fn add(
    mut rows: Vec<Row>,
    value: impl Fn(usize, &Row) -> Result<String, String>,
) -> Result<Vec<Row>, String> {
    let mut added = Added::default();
    for (n, row) in rows.iter_mut().enumerate() {
        let cell = value(n, row)?;
        added.count(&cell)?;
        row.cells.push(cell);
    }
    Ok(rows)
}

/// What one rule has added so far.
#[derive(Default)]
struct Added(usize);

impl Added {
    fn count(&mut self, cell: &str) -> Result<(), String> {
        self.0 += cell.len();
        if cell.len() > CELL_MAX || self.0 > ADDED_MAX {
            return Err("it would add more text than this server takes".to_owned());
        }
        Ok(())
    }
}

/// Keeps the rows for which `wanted` says true; with `invert`, the others.
fn keep(
    rows: Vec<Row>,
    invert: bool,
    wanted: impl Fn(usize, &Row) -> Result<bool, String>,
) -> Result<Vec<Row>, String> {
    let mut kept = Vec::new();
    for (n, row) in rows.into_iter().enumerate() {
        if wanted(n, &row)? != invert {
            kept.push(row);
        }
    }
    Ok(kept)
}

fn step(kind: &str, rule: &Value, rows: Vec<Row>) -> Result<Vec<Row>, String> {
    match kind {
        "add_column_metadata" => {
            let wanted = text(rule, "value")?;
            let level: Option<usize> = match wanted.strip_prefix("identifier") {
                Some(level) => Some(level.parse().map_err(|_| format!("there is no {wanted}"))?),
                None if wanted == "tags" => None,
                None => return Err(format!("there is no {wanted}")),
            };
            add(rows, |_, row| match level {
                None => Ok(row.tags.join(",")),
                Some(level) => row
                    .identifiers
                    .get(level)
                    .cloned()
                    .ok_or_else(|| format!("the collection has no {wanted}")),
            })
        }
        "add_column_group_tag_value" => {
            let prefix = format!("group:{}:", text(rule, "value")?);
            let usual = rule["default_value"].as_str().unwrap_or_default();
            add(rows, |_, row| {
                let value = row.tags.iter().find_map(|tag| tag.strip_prefix(&prefix));
                Ok(value.unwrap_or(usual).to_owned())
            })
        }
        "add_column_concatenate" => {
            let (a, b) = (
                number(rule, "target_column_0")?,
                number(rule, "target_column_1")?,
            );
            add(rows, |_, row| {
                Ok(format!("{}{}", row.cell(a)?, row.cell(b)?))
            })
        }
        "add_column_basename" => {
            let column = number(rule, "target_column")?;
            add(rows, |_, row| {
                let cell = row.cell(column)?;
                Ok(cell.rsplit('/').next().unwrap_or(cell).to_owned())
            })
        }
        "add_column_regex" => add_regex(rule, rows),
        "add_column_rownum" => {
            let start = rule["start"]
                .as_i64()
                .ok_or("start must be a whole number")?;
            add(rows, |n, _| Ok(start.saturating_add(n as i64).to_string()))
        }
        "add_column_value" => {
            let value = text(rule, "value")?;
            add(rows, |_, _| Ok(value.to_owned()))
        }
        "add_column_substr" => {
            let (column, length) = (number(rule, "target_column")?, number(rule, "length")?);
            let part = text(rule, "substr_type")?;
            if !["keep_prefix", "drop_prefix", "keep_suffix", "drop_suffix"].contains(&part) {
                return Err(format!("there is no substr_type {part}"));
            }
            add(rows, |_, row| {
                let cell: Vec<char> = row.cell(column)?.chars().collect();
                let at = match part {
                    "keep_prefix" | "drop_prefix" => length.min(cell.len()),
                    _ => cell.len().saturating_sub(length),
                };
                let taken = match part {
                    "keep_prefix" | "drop_suffix" => &cell[..at],
                    _ => &cell[at..],
                };
                Ok(taken.iter().collect())
            })
        }
        "remove_columns" => {
            let gone = columns(rule, "target_columns")?;
            Ok(rows
                .into_iter()
                .map(|mut row| {
                    let mut n = 0;
                    row.cells.retain(|_| {
                        n += 1;
                        !gone.contains(&(n - 1))
                    });
                    row
                })
                .collect())
        }
        "add_filter_regex" => {
            let (column, pattern) = (
                number(rule, "target_column")?,
                regex(text(rule, "expression")?)?,
            );
            keep(rows, flag(rule, "invert")?, |_, row| {
                Ok(pattern.is_match(row.cell(column)?))
            })
        }
        "add_filter_count" => {
            let (count, all) = (number(rule, "count")?, rows.len());
            let first = match text(rule, "which")? {
                "first" => true,
                "last" => false,
                other => return Err(format!("which is first or last, not {other}")),
            };
            keep(rows, flag(rule, "invert")?, |n, _| {
                Ok(match first {
                    true => n >= count,
                    false => n < all.saturating_sub(count),
                })
            })
        }
        "add_filter_empty" => {
            let column = number(rule, "target_column")?;
            keep(rows, flag(rule, "invert")?, |_, row| {
                Ok(!row.cell(column)?.is_empty())
            })
        }
        "add_filter_matches" => {
            let (column, value) = (number(rule, "target_column")?, text(rule, "value")?);
            keep(rows, flag(rule, "invert")?, |_, row| {
                Ok(row.cell(column)? == value)
            })
        }
        "add_filter_compare" => {
            let column = number(rule, "target_column")?;
            let value = rule["value"].as_f64().ok_or("value must be a number")?;
            let compare = text(rule, "compare_type")?;
            keep(rows, false, |_, row| {
                let found = float(row.cell(column)?)?;
                match compare {
                    "less_than" => Ok(found < value),
                    "less_than_equal" => Ok(found <= value),
                    "greater_than" => Ok(found > value),
                    "greater_than_equal" => Ok(found >= value),
                    other => Err(format!("there is no compare_type {other}")),
                }
            })
        }
        "sort" => {
            let column = number(rule, "target_column")?;
            let mut keyed = Vec::with_capacity(rows.len());
            let numeric = flag(rule, "numeric")?;
            for row in rows {
                let cell = row.cell(column)?.to_owned();
                let value = if numeric { float(&cell)? } else { 0.0 };
                keyed.push((value, if numeric { String::new() } else { cell }, row));
            }
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            Ok(keyed.into_iter().map(|(_, _, row)| row).collect())
        }
        "swap_columns" => {
            let (a, b) = (
                number(rule, "target_column_0")?,
                number(rule, "target_column_1")?,
            );
            let mut rows = rows;
            for row in &mut rows {
                row.cell(a)?;
                row.cell(b)?;
                row.cells.swap(a, b);
            }
            Ok(rows)
        }
        "split_columns" => {
            let (left, right) = (
                columns(rule, "target_columns_0")?,
                columns(rule, "target_columns_1")?,
            );
            let part = |row: &Row, gone: &[usize], own: &[usize]| {
                let cells = row.cells.iter().enumerate();
                // A column of neither, or of both, stays in both, or goes to the first.
                let kept = cells.filter(|(n, _)| own.contains(n) || !gone.contains(n));
                Row {
                    cells: kept.map(|(_, cell)| cell.clone()).collect(),
                    ..row.clone()
                }
            };
            let right_only: Vec<usize> = right
                .iter()
                .copied()
                .filter(|n| !left.contains(n))
                .collect();
            Ok(rows
                .iter()
                .flat_map(|row| [part(row, &right_only, &left), part(row, &left, &right_only)])
                .collect())
        }
        other => Err(format!("there is no rule {other:?}")),
    }
}

fn float(cell: &str) -> Result<f64, String> {
    let found = cell.trim().parse::<f64>();
    found.map_err(|_| format!("{cell:?} is not a number"))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| format!("the regular expression {pattern:?} is not one this server can use"))
}

fn add_regex(rule: &Value, rows: Vec<Row>) -> Result<Vec<Row>, String> {
    let column = number(rule, "target_column")?;
    let expression = text(rule, "expression")?;
    let pattern = regex(expression)?;
    let groups = rule["group_count"].as_u64().filter(|count| *count > 0);
    let replacement = rule["replacement"].as_str();
    let mut rows = rows;
    let mut added = Added::default();
    for row in &mut rows {
        let cell = row.cell(column)?.to_owned();
        let Some(found) = pattern.captures(&cell) else {
            return Err(format!("{expression:?} does not match {cell:?}"));
        };
        let group = |n: usize| found.get(n).map_or("", |m| m.as_str()).to_owned();
        match (replacement, groups) {
            (Some(template), _) => {
                let cell = expand(template, &found);
                added.count(&cell)?;
                row.cells.push(cell);
            }
            (None, Some(count)) => {
                if count as usize != found.len() - 1 {
                    return Err(format!("{expression:?} does not have {count} groups"));
                }
                for n in 1..found.len() {
                    let cell = group(n);
                    added.count(&cell)?;
                    row.cells.push(cell);
                }
            }
            (None, None) => row.cells.push(group(0)),
        }
    }
    Ok(rows)
}

/// Python's template: `\1`, `\g<1>`, `\g<name>`. What gets too long is cut, to be refused.
fn expand(template: &str, found: &regex::Captures<'_>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('\\').filter(|_| out.len() <= CELL_MAX) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some((name, after)) = rest
            .strip_prefix("g<")
            .and_then(|inside| inside.split_once('>'))
        {
            let group = match name.parse::<usize>() {
                Ok(n) => found.get(n),
                Err(_) => found.name(name),
            };
            out.push_str(group.map_or("", |m| m.as_str()));
            rest = after;
            continue;
        }
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        match rest[..digits].parse::<usize>() {
            Ok(n) => {
                out.push_str(found.get(n).map_or("", |m| m.as_str()));
                rest = &rest[digits..];
            }
            Err(_) => {
                let next = rest.chars().next();
                out.push(match next {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(other) => other,
                    None => '\\',
                });
                rest = &rest[next.map_or(0, char::len_utf8)..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The collection type that the mapping of `rules` gives.
fn collection_type(lists: usize, is_paired: bool) -> String {
    let mut ranks = vec!["list"; lists];
    if is_paired {
        ranks.push("paired");
    }
    ranks.join(":")
}

fn build(rules: &Value, rows: Vec<Row>) -> Result<Tree, Refusal> {
    let mapping = |kind: &str| -> Result<Option<Vec<usize>>, Refusal> {
        let list = rules["mapping"].as_array().into_iter().flatten();
        let found = list.rev().find(|mapping| mapping["type"] == kind);
        let read = found.map(|mapping| columns(mapping, "columns")).transpose();
        read.map_err(|fault| Refusal::Because(format!("the mapping {kind}: {fault}")))
    };
    let mut path = mapping("list_identifiers")?.unwrap_or_default();
    let lists = path.len();
    let paired = mapping("paired_identifier")?.and_then(|columns| columns.first().copied());
    path.extend(paired);
    if path.is_empty() {
        return because("the rules do not say which columns are identifiers");
    }
    if path.len() > RANKS_MAX {
        return because(format!("a collection has at most {RANKS_MAX} ranks"));
    }
    let tags = mapping("tags")?.unwrap_or_default();
    let groups = mapping("group_tags")?.unwrap_or_default();
    let mut root = Tree {
        collection_type: collection_type(lists, paired.is_some()),
        elements: Vec::new(),
    };
    let mut places = Places::default();
    for row in &rows {
        let cell = |column: usize| {
            let found = row.cell(column).map(str::to_owned);
            found.map_err(|fault| Refusal::Because(format!("the mapping: {fault}")))
        };
        let mut identifiers = Vec::with_capacity(path.len());
        for column in &path {
            identifiers.push(cell(*column)?);
        }
        if paired.is_some()
            && let Some(last) = identifiers.last_mut()
        {
            *last = pair_end(last)?;
        }
        let mut named = row.tags.clone();
        for column in &tags {
            named.extend(tag_list(&cell(*column)?));
        }
        for column in &groups {
            named.push(format!("group:{}", cell(*column)?));
        }
        named.sort();
        named.dedup();
        let share = Share {
            hda_id: row.hda_id,
            name: None,
            tags: (named != row.tags).then_some(named),
        };
        put(&mut root, &mut places, &identifiers, share)?;
    }
    Ok(root)
}

fn pair_end(text: &str) -> Result<String, Refusal> {
    match text.to_lowercase().as_str() {
        "f" | "1" | "r1" | "forward" => Ok("forward".to_owned()),
        "r" | "2" | "r2" | "reverse" => Ok("reverse".to_owned()),
        _ => because(format!(
            "{text:?} does not name an end of a pair; f, 1, r1, forward, r, 2, r2 and reverse do"
        )),
    }
}

/// Where the elements of a tree are, by identifier.
#[derive(Default)]
struct Places(HashMap<String, (usize, Places)>);

fn put(
    tree: &mut Tree,
    places: &mut Places,
    identifiers: &[String],
    share: Share,
) -> Result<(), Refusal> {
    let Some((first, rest)) = identifiers.split_first() else {
        return Ok(());
    };
    let at = places.0.get(first).map(|(at, _)| *at);
    let next = (tree.elements.len(), Places::default());
    let (_, inside) = places.0.entry(first.clone()).or_insert(next);
    match (at, rest.is_empty()) {
        (Some(_), true) => because(format!(
            "the element identifier {first:?} appears twice in the result"
        )),
        (None, true) => {
            tree.elements.push((first.clone(), Node::Share(share)));
            Ok(())
        }
        (at, false) => {
            let at = at.unwrap_or_else(|| {
                let inner = tree.collection_type.split_once(':');
                let child = Tree {
                    collection_type: inner.map_or("list", |(_, inner)| inner).to_owned(),
                    elements: Vec::new(),
                };
                tree.elements.push((first.clone(), Node::Tree(child)));
                tree.elements.len() - 1
            });
            match &mut tree.elements[at].1 {
                Node::Tree(child) => put(child, inside, rest, share),
                Node::Share(_) => Ok(()),
            }
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
