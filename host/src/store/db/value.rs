//! The arguments of statements, and the lists of their numbers.

use std::borrow::Cow;

/// One argument of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Int(Option<i64>),
    Text(Option<Cow<'static, str>>),
    Bool(Option<bool>),
}

macro_rules! val_from {
    ($($t:ty => |$v:ident| $e:expr),+ $(,)?) => { $(impl From<$t> for Val { fn from($v: $t) -> Val { $e } })+ };
}
val_from! {
    i64 => |v| Val::Int(Some(v)),
    i32 => |v| Val::Int(Some(v.into())),
    u32 => |v| Val::Int(Some(v.into())),
    usize => |v| Val::Int(Some(v as i64)),
    Option<i64> => |v| Val::Int(v),
    bool => |v| Val::Bool(Some(v)),
    Option<bool> => |v| Val::Bool(v),
    String => |v| Val::Text(Some(v.into())),
    &String => |v| Val::Text(Some(v.clone().into())),
    &str => |v| Val::Text(Some(v.to_owned().into())),
    Option<String> => |v| Val::Text(v.map(Into::into)),
    &Option<String> => |v| Val::Text(v.clone().map(Into::into)),
    Option<&str> => |v| Val::Text(v.map(|s| s.to_owned().into())),
    uuid::Uuid => |v| Val::Text(Some(v.to_string().into())),
    &serde_json::Value => |v| Val::Text(Some(v.to_string().into())),
}

/// The arguments of a statement: `args![id, name]`.
#[macro_export]
macro_rules! args {
    ($($v:expr),* $(,)?) => { vec![$($crate::store::db::Val::from($v)),*] };
}

/// `$from, $from+1, …`: the inside of an `IN (…)` for `count` arguments, the first numbered `from`.
///
/// The list is padded to a power of two by repeating the last number, so that few distinct statements are prepared.
pub fn placeholders(from: usize, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count.next_power_of_two().max(1) {
        if n > 0 {
            text.push_str(", ");
        }
        text.push('$');
        text.push_str(&(from + n.min(count.saturating_sub(1))).to_string());
    }
    text
}

/// The condition that a column is like the pattern in an argument (`mark`, such as `$3`), whatever the case of its ASCII
/// letters. The argument is made by [`containing`] or [`pattern`].
pub fn like(column: &str, mark: &str) -> String {
    format!("lower({column}) LIKE {mark} ESCAPE '\\'")
}

/// The pattern of whatever contains a text.
pub fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

/// A pattern that somebody wrote, with `%` and `_`.
pub fn pattern(text: &str) -> String {
    text.replace('\\', "\\\\").to_ascii_lowercase()
}

/// Splits ids into blocks that fit into one `IN (…)`.
pub fn blocks(ids: &[i64]) -> impl Iterator<Item = &[i64]> {
    ids.chunks(512)
}
