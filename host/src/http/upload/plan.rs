//! What a fetch request asks for, as plain values. Nothing in it is ever used as a path.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::given::hashes;
use super::urls;
use crate::fetch::Hash;
use crate::http::collection_rules;
use crate::http::error::ApiError;
use crate::ingest::How;

/// One new dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: Option<String>,
    pub source: Source,
    pub how: How,
    pub tags: Value,
    pub info: Option<String>,
    /// What its digests are to be.
    pub hashes: Vec<Hash>,
}

/// Where its bytes come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Pasted(String),
    /// The `n`th file that came with the request.
    File(usize),
    /// Whatever a URL stands for.
    Url(String),
    Content(Vec<u8>),
}

/// Where the datasets go.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Datasets(Vec<Item>),
    Collection {
        name: String,
        collection_type: String,
        elements: Vec<Node>,
        tags: Value,
    },
}

/// An element of a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Item {
        identifier: String,
        item: Box<Item>,
    },
    Inner {
        identifier: String,
        elements: Vec<Node>,
    },
}

/// More datasets than this in one request are refused.
const ITEMS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 8;

/// Reads `targets`.
pub fn parse_targets(targets: &Value) -> Result<Vec<Target>, ApiError> {
    let targets = targets
        .as_array()
        .ok_or_else(|| ApiError::invalid("targets must be a list."))?;
    let mut reader = Reader::default();
    targets.iter().map(|t| reader.target(t)).collect()
}

#[derive(Default)]
struct Reader {
    files: usize,
    items: usize,
}

impl Reader {
    fn target(&mut self, target: &Value) -> Result<Target, ApiError> {
        let target = object(target, "A target")?;
        let destination = target
            .get("destination")
            .ok_or_else(|| ApiError::missing("A target needs a destination."))?;
        let destination = object(destination, "A destination")?;
        let elements =
            elements_of(target)?.ok_or_else(|| ApiError::missing("A target needs elements."))?;
        match text(destination, "type").unwrap_or("") {
            "hdas" => self.flat(elements, 0).map(Target::Datasets),
            "hdca" => {
                let collection_type = text(target, "collection_type").unwrap_or("list").to_owned();
                collection_rules::check_type(&collection_type)?;
                Ok(Target::Collection {
                    name: text(target, "name").unwrap_or("Collection").to_owned(),
                    collection_type,
                    elements: self.nodes(elements, 0)?,
                    tags: tags(target),
                })
            }
            "" => Err(ApiError::missing("A destination needs a type.")),
            "library" | "library_folder" => Err(ApiError::not_implemented(
                "This server has no data libraries.",
            )),
            _ => Err(ApiError::invalid("A destination is of type hdas or hdca.")),
        }
    }

    fn flat(&mut self, elements: &[Value], depth: usize) -> Result<Vec<Item>, ApiError> {
        check_depth(depth)?;
        let mut items = Vec::new();
        for element in elements {
            let map = object(element, "An element")?;
            match elements_of(map)? {
                Some(inner) => items.extend(self.flat(inner, depth + 1)?),
                None => items.push(self.item(map)?),
            }
        }
        Ok(items)
    }

    fn nodes(&mut self, elements: &[Value], depth: usize) -> Result<Vec<Node>, ApiError> {
        check_depth(depth)?;
        let mut seen = HashSet::new();
        let mut nodes = Vec::new();
        for element in elements {
            let map = object(element, "An element")?;
            let identifier = text(map, "name")
                .ok_or_else(|| ApiError::missing("An element of a collection needs a name."))?
                .to_owned();
            if !seen.insert(identifier.clone()) {
                return Err(ApiError::duplicate_identifier(format!(
                    "Found duplicated element identifier: {identifier}"
                )));
            }
            nodes.push(match elements_of(map)? {
                Some(inner) => Node::Inner {
                    identifier,
                    elements: self.nodes(inner, depth + 1)?,
                },
                None => Node::Item {
                    identifier,
                    item: Box::new(self.item(map)?),
                },
            });
        }
        Ok(nodes)
    }

    fn item(&mut self, map: &Map<String, Value>) -> Result<Item, ApiError> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(ApiError::invalid(format!(
                "More than {ITEMS_MAX} datasets in one request."
            )));
        }
        let source = match text(map, "src").unwrap_or("") {
            "pasted" => Source::Pasted(
                map.get("paste_content")
                    .and_then(Value::as_str)
                    .ok_or_else(|| ApiError::missing("A pasted element needs paste_content."))?
                    .to_owned(),
            ),
            "files" => {
                self.files += 1;
                Source::File(self.files - 1)
            }
            "" => return Err(ApiError::missing("An element needs a src.")),
            "url" => Source::Url(
                text(map, "url")
                    .ok_or_else(|| ApiError::missing("An element with src url needs a url."))?
                    .to_owned(),
            ),
            "path" | "server_dir" | "ftp_import" => {
                return Err(ApiError::disabled(
                    "This server does not read files from places of its own; send the file or its text.",
                ));
            }
            "composite" => {
                return Err(ApiError::not_implemented(
                    "Composite file types are not supported.",
                ));
            }
            _ => return Err(ApiError::invalid("src is one of pasted, files and url.")),
        };
        Ok(Item {
            name: text(map, "name").map(str::to_owned),
            source,
            how: How {
                extension: extension(text(map, "ext"))?,
                dbkey: text(map, "dbkey").unwrap_or("?").to_owned(),
                to_posix_lines: flag(map, "to_posix_lines"),
                space_to_tab: flag(map, "space_to_tab"),
            },
            tags: tags(map),
            info: text(map, "info").map(str::to_owned),
            hashes: hashes(map)?,
        })
    }
}

/// Reads the inputs of Galaxy's old upload tool: `files_0|url_paste`, `files_0|file_data`, `file_type`, `dbkey` …
/// (flat keys or nested), looked up in `inputs` first and at the top level then, where BioBlend puts the text.
pub fn parse_upload1(
    inputs: &Map<String, Value>,
    top: &Map<String, Value>,
    files: usize,
) -> Result<Vec<Item>, ApiError> {
    let nested = |n: usize, key: &str| -> Option<&Value> { inputs.get("files")?.get(n)?.get(key) };
    let find = |n: usize, key: &str| -> Option<&Value> {
        let flat = format!("files_{n}|{key}");
        inputs
            .get(&flat)
            .or_else(|| top.get(&flat))
            .or_else(|| nested(n, key))
            .filter(|v| !v.is_null())
    };
    let text_of = |n: usize, key: &str| {
        find(n, key)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    };
    let mut items = Vec::new();
    let mut taken = 0;
    for n in 0..ITEMS_MAX {
        let source = match text_of(n, "url_paste") {
            Some(text) => Source::Pasted(text.to_owned()),
            None if taken < files => {
                taken += 1;
                Source::File(taken - 1)
            }
            None => break,
        };
        let is_on = |key: &str| find(n, key).map(truthy);
        let how = How {
            extension: extension(
                text_of(n, "ext")
                    .or_else(|| text(inputs, "file_type"))
                    .or_else(|| text(top, "file_type")),
            )?,
            dbkey: text(inputs, "dbkey")
                .or_else(|| text(top, "dbkey"))
                .unwrap_or("?")
                .to_owned(),
            // The upload tool makes lines end in \n unless told otherwise.
            to_posix_lines: is_on("to_posix_lines").unwrap_or(true),
            space_to_tab: is_on("space_to_tab").unwrap_or(false),
        };
        let sources = match &source {
            // A dataset for each address, as Galaxy's upload tool does it.
            Source::Pasted(text) => urls::listed(text).map(|list| list.map(Source::Url).collect()),
            _ => None,
        };
        for source in sources.unwrap_or_else(|| vec![source]) {
            items.push(Item {
                name: text_of(n, "NAME").map(str::to_owned),
                source,
                how: how.clone(),
                tags: json!([]),
                info: None,
                hashes: Vec::new(),
            });
        }
        if items.len() > ITEMS_MAX {
            return Err(ApiError::invalid(format!(
                "More than {ITEMS_MAX} datasets in one request."
            )));
        }
    }
    if items.is_empty() {
        return Err(ApiError::missing(
            "There is nothing to upload: neither files_0|url_paste nor files_0|file_data.",
        ));
    }
    Ok(items)
}

fn check_depth(depth: usize) -> Result<(), ApiError> {
    match depth {
        DEPTH_MAX.. => Err(ApiError::invalid(format!(
            "Elements are nested deeper than {DEPTH_MAX} levels."
        ))),
        _ => Ok(()),
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, ApiError> {
    value
        .as_object()
        .ok_or_else(|| ApiError::invalid(format!("{what} must be an object.")))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)
        .and_then(Value::as_str)
        .filter(|t| !t.is_empty())
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::String(text) => crate::http::extract::parse_flag(text).unwrap_or(false),
        Value::Number(n) => n.as_f64() != Some(0.0),
        _ => false,
    }
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(truthy)
}

fn tags(map: &Map<String, Value>) -> Value {
    match map.get("tags") {
        Some(Value::Array(tags)) => tags.iter().filter(|t| t.is_string()).cloned().collect(),
        _ => json!([]),
    }
}

fn elements_of(map: &Map<String, Value>) -> Result<Option<&[Value]>, ApiError> {
    if map.get("elements_from").is_some_and(|v| !v.is_null()) {
        return Err(ApiError::not_implemented(
            "Archives are not taken apart; name the elements.",
        ));
    }
    match map.get("elements").or_else(|| map.get("items")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(elements)) => Ok(Some(elements)),
        Some(_) => Err(ApiError::invalid("elements must be a list.")),
    }
}

fn extension(named: Option<&str>) -> Result<Option<String>, ApiError> {
    match named.unwrap_or("auto") {
        "auto" | "_sniff_" => Ok(None),
        ext if ext.len() <= 64
            && ext
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) =>
        {
            Ok(Some(ext.to_ascii_lowercase()))
        }
        _ => Err(ApiError::invalid("ext is not a file type.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(targets: Value) -> u32 {
        parse_targets(&targets).expect_err("refused").code()
    }

    #[test]
    fn what_planemo_sends_is_understood() {
        let targets = json!([{"destination": {"type": "hdas"}, "auto_decompress": false, "elements": [
            {"ext": "auto", "dbkey": "?", "to_posix_lines": true, "src": "files", "name": "../../etc/passwd"}]}]);
        let parsed = parse_targets(&targets).expect("understood");
        let [Target::Datasets(items)] = parsed.as_slice() else {
            panic!("{parsed:?}");
        };
        assert_eq!(items[0].source, Source::File(0));
        assert_eq!(items[0].how.extension, None);
        assert!(items[0].how.to_posix_lines && !items[0].how.space_to_tab);
        assert_eq!(items[0].name.as_deref(), Some("../../etc/passwd"));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let with =
            |element: Value| json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
        assert_eq!(refused(json!({})), 400_008);
        assert_eq!(refused(json!([{}])), 400_007);
        assert_eq!(refused(json!([{"destination": {"type": "hdas"}}])), 400_007);
        assert_eq!(
            refused(json!([{"destination": {"type": "moon"}, "elements": []}])),
            400_008
        );
        assert_eq!(refused(with(json!({}))), 400_007);
        assert_eq!(refused(with(json!({"src": "pasted"}))), 400_007);
        assert_eq!(refused(with(json!({"src": "url"}))), 400_007);
        assert_eq!(
            refused(with(
                json!({"src": "url", "url": "http://x/", "hashes": [{"hash_function": "CRC"}]})
            )),
            400_008
        );
        assert_eq!(refused(with(json!({"src": "server_dir"}))), 403_004);
        assert_eq!(
            refused(with(json!({"src": "files", "ext": "../x"}))),
            400_008
        );
        assert_eq!(
            refused(json!([{"destination": {"type": "hdca"}, "elements": [
                {"name": "a", "src": "files"}, {"name": "a", "src": "files"}]}])),
            400_011
        );
    }

    #[test]
    fn bioblends_paste_is_found_beside_the_inputs() {
        let inputs = json!({"file_type": "auto", "dbkey": "?", "files_0|type": "upload_dataset", "files_0|space_to_tab": "Yes"});
        let top = json!({"files_0|url_paste": "a b"});
        let items = parse_upload1(
            inputs.as_object().expect("an object"),
            top.as_object().expect("an object"),
            0,
        )
        .expect("understood");
        assert_eq!(items[0].source, Source::Pasted("a b".to_owned()));
        assert!(items[0].how.to_posix_lines && items[0].how.space_to_tab);
        let urls = json!({"files_0|url_paste": " http://a/b\n\nhttps://c/d \n"});
        let items = parse_upload1(&Map::new(), urls.as_object().expect("an object"), 0);
        let sources: Vec<Source> = items
            .expect("understood")
            .into_iter()
            .map(|i| i.source)
            .collect();
        let url = |text: &str| Source::Url(text.to_owned());
        assert_eq!(sources, [url("http://a/b"), url("https://c/d")]);
        assert_eq!(
            parse_upload1(&Map::new(), &Map::new(), 0)
                .expect_err("nothing")
                .code(),
            400_007
        );
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic(text in "[\\[\\]{}\":,a-z0-9 ]{0,80}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = parse_targets(&value);
            }
        }
    }
}
