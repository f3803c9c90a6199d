//! `workflow_params`: values by the labels of the workflow's inputs, with data by id, by attachment, by URL or pasted.

use serde_json::{Map, Value};

use super::attachments::{Attachment, Attachments};
use super::source;
use crate::http::error::ApiError;
use crate::model::workflow::{StepDescription, WorkflowDescription};

/// What is given to one input.
#[derive(Debug)]
pub enum Given<'a> {
    /// As Galaxy's API takes it.
    Plain(Value),
    /// To be added to the history first.
    File(File<'a>),
    Collection {
        collection_type: String,
        elements: Vec<(String, Element<'a>)>,
    },
}

/// A file of a submission.
#[derive(Debug)]
pub struct File<'a> {
    pub content: Content<'a>,
    pub name: Option<String>,
    pub extension: Option<String>,
    pub dbkey: Option<String>,
}

/// Where its bytes are.
#[derive(Debug)]
pub enum Content<'a> {
    Attached(&'a Attachment),
    Sent(Vec<u8>),
}

/// An element of a collection.
#[derive(Debug)]
pub enum Element<'a> {
    File(File<'a>),
    Inner(Vec<(String, Element<'a>)>),
}

/// Collections are nested no deeper than this.
const DEPTH_MAX: usize = 8;

/// Reads every parameter. Names that the workflow does not have are passed on, as Galaxy does.
pub fn read<'a>(
    params: &Map<String, Value>,
    workflow: &WorkflowDescription,
    attachments: &'a Attachments,
) -> Result<Vec<(String, Given<'a>)>, ApiError> {
    let reader = Reader { attachments };
    let mut read = Vec::with_capacity(params.len());
    for (name, value) in params {
        let step = workflow
            .steps
            .iter()
            .find(|step| step.is_input_step() && step.effective_label() == Some(name));
        let takes_data = step.is_some_and(|step| step.parameter_type().is_none());
        let given = match takes_data {
            true => reader.given(value, step)?,
            false => None,
        };
        read.push((
            name.clone(),
            given.unwrap_or_else(|| Given::Plain(value.clone())),
        ));
    }
    Ok(read)
}

struct Reader<'a> {
    attachments: &'a Attachments,
}

impl<'a> Reader<'a> {
    /// None: as Galaxy's API takes it.
    fn given(
        &self,
        value: &Value,
        step: Option<&StepDescription>,
    ) -> Result<Option<Given<'a>>, ApiError> {
        let is_collection = step.is_some_and(|step| step.step_type == "data_collection_input");
        match value {
            Value::Array(items) if is_collection => {
                let mut elements = Vec::with_capacity(items.len());
                for item in items {
                    let file = self.file(item)?.ok_or_else(|| refused(item))?;
                    elements.push((identifier(item, &file), Element::File(file)));
                }
                Ok(Some(Given::Collection {
                    collection_type: "list".to_owned(),
                    elements,
                }))
            }
            Value::Object(map) if class(map) == "Collection" => {
                let collection_type = text(map, &["collection_type"]).unwrap_or("list");
                Ok(Some(Given::Collection {
                    collection_type: collection_type.to_owned(),
                    elements: self.elements(map, 0)?,
                }))
            }
            _ => Ok(self.file(value)?.map(Given::File)),
        }
    }

    fn elements(
        &self,
        map: &Map<String, Value>,
        depth: usize,
    ) -> Result<Vec<(String, Element<'a>)>, ApiError> {
        if depth >= DEPTH_MAX {
            return Err(ApiError::invalid(format!(
                "Collections are nested deeper than {DEPTH_MAX} levels."
            )));
        }
        let items = map
            .get("elements")
            .and_then(Value::as_array)
            .ok_or_else(|| ApiError::invalid("A collection needs a list of elements."))?;
        let mut elements = Vec::with_capacity(items.len());
        for item in items {
            let inner = item
                .as_object()
                .filter(|inner| inner.contains_key("elements"));
            elements.push(match inner {
                Some(inner) => {
                    let name = text(inner, &["identifier", "name"]).ok_or_else(|| {
                        ApiError::missing("An element of a collection needs an identifier.")
                    })?;
                    let elements = self.elements(inner, depth + 1)?;
                    (name.to_owned(), Element::Inner(elements))
                }
                None => {
                    let file = self.file(item)?.ok_or_else(|| refused(item))?;
                    (identifier(item, &file), Element::File(file))
                }
            });
        }
        Ok(elements)
    }

    /// A file: a text that names it, an object of class File, or an object with src `url` or `pasted`. None for
    /// anything else.
    fn file(&self, value: &Value) -> Result<Option<File<'a>>, ApiError> {
        let map = match value {
            Value::String(name) => {
                let content = self.named(name)?;
                return Ok(Some(File {
                    content,
                    name: None,
                    extension: None,
                    dbkey: None,
                }));
            }
            Value::Object(map) => map,
            _ => return Ok(None),
        };
        let src = text(map, &["src"]).unwrap_or("");
        let content = match (class(map), src) {
            (_, "pasted") => {
                let pasted = map.get("paste_content").and_then(Value::as_str);
                let pasted = pasted
                    .ok_or_else(|| ApiError::missing("A pasted value needs paste_content."))?;
                Content::Sent(pasted.as_bytes().to_vec())
            }
            ("File", _) | (_, "url") => match text(map, &["location", "path", "url"]) {
                Some(url) => self.named(url)?,
                None => match map.get("contents").and_then(Value::as_str) {
                    Some(contents) => Content::Sent(contents.as_bytes().to_vec()),
                    None => return Err(ApiError::missing("A file needs a location or contents.")),
                },
            },
            _ => return Ok(None),
        };
        let own = |names: &[&str]| text(map, names).map(str::to_owned);
        Ok(Some(File {
            content,
            name: own(&["name", "basename"]),
            extension: own(&["ext", "filetype"]),
            dbkey: own(&["dbkey"]),
        }))
    }

    fn named(&self, url: &str) -> Result<Content<'a>, ApiError> {
        if let Some(attached) = self.attachments.get(url) {
            return Ok(Content::Attached(attached));
        }
        match source::content(url)? {
            Some(bytes) => Ok(Content::Sent(bytes)),
            None => {
                let shown: String = url.chars().take(100).collect();
                Err(ApiError::invalid(format!(
                    "workflow_params names {shown:?}, which is not attached."
                )))
            }
        }
    }
}

fn class(map: &Map<String, Value>) -> &str {
    text(map, &["class"]).unwrap_or("")
}

fn text<'v>(map: &'v Map<String, Value>, names: &[&str]) -> Option<&'v str> {
    names
        .iter()
        .filter_map(|name| map.get(*name)?.as_str())
        .find(|text| !text.is_empty())
}

fn refused(value: &Value) -> ApiError {
    let shown: String = value.to_string().chars().take(100).collect();
    ApiError::invalid(format!("An element of a collection cannot be {shown}."))
}

/// What an element is called: as it says, else as its file, without the folders.
fn identifier(value: &Value, file: &File<'_>) -> String {
    let said = value
        .as_object()
        .and_then(|map| text(map, &["identifier", "name"]));
    let attached = match &file.content {
        Content::Attached(attachment) => Some(attachment.name.as_str()),
        Content::Sent(_) => None,
    };
    let name = said.or(attached).unwrap_or("element");
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_one(step_type: &str, state: Value, value: Value) -> Result<String, ApiError> {
        let workflow = WorkflowDescription {
            steps: vec![StepDescription {
                step_type: step_type.to_owned(),
                tool_inputs: state,
                label: Some("x".to_owned()),
                ..StepDescription::default()
            }],
            ..WorkflowDescription::default()
        };
        let params = json!({ "x": value });
        let attachments = Attachments::default();
        let read = read(
            params.as_object().expect("an object"),
            &workflow,
            &attachments,
        )?;
        Ok(match &read[0].1 {
            Given::Plain(value) => format!("plain {value}"),
            Given::File(file) => match &file.content {
                Content::Sent(bytes) => format!("file {}", String::from_utf8_lossy(bytes)),
                Content::Attached(a) => format!("attached {}", a.name),
            },
            Given::Collection {
                collection_type,
                elements,
            } => {
                let names: Vec<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
                format!("{collection_type} {}", names.join(" "))
            }
        })
    }

    #[test]
    fn data_may_be_named_sent_or_pasted() {
        let data = |value| read_one("data_input", json!({}), value).expect("understood");
        assert_eq!(
            data(json!({"src": "hda", "id": "abc"})),
            r#"plain {"src":"hda","id":"abc"}"#
        );
        assert_eq!(data(json!("data:,hello")), "file hello");
        assert_eq!(
            data(json!({"class": "File", "location": "base64://aGk="})),
            "file hi"
        );
        assert_eq!(data(json!({"class": "File", "contents": "c"})), "file c");
        assert_eq!(
            data(json!({"src": "pasted", "paste_content": "p"})),
            "file p"
        );
        assert_eq!(data(json!({"src": "url", "url": "data:,u"})), "file u");
    }

    #[test]
    fn collections_are_lists_or_say_what_they_are() {
        let data = |value| read_one("data_collection_input", json!({}), value).expect("understood");
        assert_eq!(data(json!(["data:,a"])), "list element");
        let pair = json!({"class": "Collection", "collection_type": "list:paired", "elements": [
            {"identifier": "s", "elements": [{"class": "File", "identifier": "forward", "contents": ""}]}]});
        assert_eq!(data(pair), "list:paired s");
    }

    #[test]
    fn a_parameter_that_looks_like_a_file_stays_a_text() {
        let text = read_one(
            "parameter_input",
            json!({"parameter_type": "text"}),
            json!("http://x/"),
        );
        assert_eq!(text.expect("understood"), r#"plain "http://x/""#);
    }

    #[test]
    fn what_would_have_to_be_fetched_or_is_missing_is_refused() {
        for value in [
            json!("http://localhost/"),
            json!("missing.txt"),
            json!({"class": "File", "location": "file:///etc/passwd"}),
            json!({"src": "url", "url": "https://example.org/"}),
            json!({"class": "File"}),
        ] {
            let error = read_one("data_input", json!({}), value.clone()).expect_err("refused");
            assert_eq!(error.status(), 400, "{value}");
        }
    }
}
