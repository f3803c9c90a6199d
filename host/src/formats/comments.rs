//! Remarks on the canvas, in both formats.

use super::error::{ImportError, shown};
use super::fields::{Object, given, number, object, text, text_if_any};
use crate::model::workflow::Comment;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Fields that format2 writes beside `type`, and native inside `data`: type, native, format2.
const FLATTENED: [(&str, &str, &str); 8] = [
    ("text", "text", "text"),
    ("text", "bold", "bold"),
    ("text", "italic", "italic"),
    ("text", "size", "text_size"),
    ("markdown", "text", "text"),
    ("frame", "title", "title"),
    ("freehand", "thickness", "thickness"),
    ("freehand", "line", "line"),
];

/// Comments of a native file. They are numbered as listed; `index_of` finds steps by file id.
/// Children that do not exist are dropped: they matter to no one but an editor.
pub(super) fn from_native(
    written: Option<&Value>,
    index_of: &HashMap<u64, usize>,
) -> Result<Vec<Comment>, ImportError> {
    let list = objects(written)?;
    let mut comment_of = HashMap::new();
    for (index, comment) in list.iter().enumerate() {
        let id = comment.get("id").and_then(number);
        comment_of
            .entry(id.unwrap_or(index as u64))
            .or_insert(index);
    }
    let find = |children: Option<&Value>, places: &HashMap<u64, usize>| {
        let children = children
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let found = children
            .iter()
            .filter_map(|child| places.get(&number(child)?).copied());
        found.collect()
    };
    let read = |(index, written): (usize, &&Object)| {
        Ok(Comment {
            data: given(written, "data").cloned().unwrap_or_else(|| json!({})),
            child_steps: find(written.get("child_steps"), index_of),
            child_comments: find(written.get("child_comments"), &comment_of),
            ..common(index, written)?
        })
    };
    list.iter().enumerate().map(read).collect()
}

pub(super) fn to_native(comment: &Comment) -> Value {
    let mut written = common_fields(comment);
    written.insert("id".into(), json!(comment.id));
    written.insert("data".into(), comment.data.clone());
    if !comment.child_steps.is_empty() {
        written.insert("child_steps".into(), json!(comment.child_steps));
    }
    if !comment.child_comments.is_empty() {
        written.insert("child_comments".into(), json!(comment.child_comments));
    }
    Value::Object(written)
}

/// Comments of a format2 file; `step_of` resolves a label or number.
pub(super) fn from_format2(
    written: Option<&Value>,
    step_of: impl Fn(&Value) -> Option<usize>,
) -> Result<Vec<Comment>, ImportError> {
    let labelled;
    let list = match written {
        // A mapping from label to comment.
        Some(Value::Object(map)) => {
            labelled = map
                .iter()
                .map(|(label, comment)| {
                    let mut comment = object(comment, "comments")?.clone();
                    comment.entry("label").or_insert_with(|| json!(label));
                    Ok(Value::Object(comment))
                })
                .collect::<Result<Vec<_>, ImportError>>()?;
            labelled.iter().filter_map(Value::as_object).collect()
        }
        written => objects(written)?,
    };
    let mut comment_of = HashMap::new();
    for (index, comment) in list.iter().enumerate() {
        if let Some(label) = text_if_any(comment, "label")? {
            comment_of.insert(label, index);
        }
    }
    let find_comment = |child: &Value| {
        let label = child
            .as_str()
            .and_then(|label| comment_of.get(label).copied());
        let index = || {
            usize::try_from(number(child)?)
                .ok()
                .filter(|index| *index < list.len())
        };
        label.or_else(index)
    };
    let mut comments = Vec::with_capacity(list.len());
    for (index, written) in list.iter().enumerate() {
        let mut comment = common(index, written)?;
        let data = data_fields(&comment.comment_type);
        let data = data.filter_map(|(native, format2)| {
            Some((native.to_owned(), written.get(format2)?.clone()))
        });
        comment.data = Value::Object(data.collect());
        comment.child_steps = children(written, "contains_steps", &step_of)?;
        comment.child_comments = children(written, "contains_comments", find_comment)?;
        comments.push(comment);
    }
    Ok(comments)
}

/// `step_name` gives the id by which the file knows a step.
pub(super) fn to_format2<'a>(
    comment: &Comment,
    step_name: impl Fn(usize) -> Option<&'a str>,
) -> Value {
    let mut written = common_fields(comment);
    for (native, format2) in data_fields(&comment.comment_type) {
        if let Some(value) = comment.data.get(native) {
            written.insert(format2.into(), value.clone());
        }
    }
    let steps = comment
        .child_steps
        .iter()
        .filter_map(|step| step_name(*step));
    let steps: Vec<&str> = steps.collect();
    if !steps.is_empty() {
        written.insert("contains_steps".into(), json!(steps));
    }
    if !comment.child_comments.is_empty() {
        written.insert("contains_comments".into(), json!(comment.child_comments));
    }
    Value::Object(written)
}

fn objects(written: Option<&Value>) -> Result<Vec<&Object>, ImportError> {
    match written {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|item| object(item, "a comment")).collect(),
        Some(_) => Err(ImportError::invalid("comments should be a list.")),
    }
}

fn common(index: usize, written: &Object) -> Result<Comment, ImportError> {
    Ok(Comment {
        id: index,
        comment_type: text(written, "type")?.unwrap_or_else(|| "text".into()),
        position: given(written, "position").cloned(),
        size: given(written, "size").cloned(),
        color: text_if_any(written, "color")?,
        ..Default::default()
    })
}

fn common_fields(comment: &Comment) -> Object {
    let fields = [
        ("type", Some(json!(comment.comment_type))),
        ("position", comment.position.clone()),
        ("size", comment.size.clone()),
        ("color", comment.color.as_ref().map(|color| json!(color))),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.collect()
}

fn data_fields(comment_type: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let fields = FLATTENED
        .iter()
        .filter(move |(kind, ..)| *kind == comment_type);
    fields.map(|(_, native, format2)| (*native, *format2))
}

fn children(
    written: &Object,
    field: &str,
    find: impl Fn(&Value) -> Option<usize>,
) -> Result<Vec<usize>, ImportError> {
    let list = match given(written, field) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ImportError::invalid(format!("{field} should be a list."))),
    };
    let found = list.iter().map(|child| {
        let name = child
            .as_str()
            .map_or_else(|| child.to_string(), str::to_owned);
        find(child).ok_or_else(|| {
            let name = shown(&name);
            ImportError::malformed(format!(
                "a comment's {field} names {name}, which is unknown."
            ))
        })
    });
    found.collect()
}
