//! Files and collections that a request gives in place of an id: by URL, as a File or a Collection object, and where the
//! door takes such things, as an attachment or a text.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::local::{From, Local, LocalElement, LocalFile};
use super::urls::{self, Url};
use crate::fetch::{Hash, HashFunction};
use crate::http::error::ApiError;

/// An attachment: where it is, and what it is called.
pub type Attached = (PathBuf, String);

/// Reads what is given.
pub struct Reader<'a> {
    /// The attachment of a name.
    pub attached: &'a dyn Fn(&str) -> Option<Attached>,
    /// Refuses a URL that may not be fetched.
    pub check: &'a dyn Fn(&str) -> Result<(), ApiError>,
    /// Bare texts name files, lists are collections, and data may be pasted.
    pub is_lenient: bool,
}

/// Collections are nested no deeper than this, and hold no more than this.
const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 10_000;

impl Reader<'_> {
    /// None: it is of another form, to be taken as Galaxy's API takes it. `name` is what a collection is called that
    /// does not say so itself.
    pub fn read(
        &self,
        value: &Value,
        is_collection: bool,
        name: &str,
    ) -> Result<Option<Local>, ApiError> {
        let mut count = 0;
        match value {
            Value::Array(items) if is_collection && self.is_lenient => {
                let mut elements = Vec::with_capacity(items.len());
                for item in items {
                    elements.push(self.element(item, &mut count)?);
                }
                Ok(Some(Local::Collection {
                    name: name.to_owned(),
                    collection_type: "list".to_owned(),
                    elements,
                }))
            }
            Value::Object(map) if class(map) == "Collection" => {
                let collection_type = text(map, &["collection_type"]).unwrap_or("list");
                Ok(Some(Local::Collection {
                    name: text(map, &["name"]).unwrap_or(name).to_owned(),
                    collection_type: collection_type.to_owned(),
                    elements: self.elements(map, 0, &mut count)?,
                }))
            }
            _ => Ok(self.file(value)?.map(Local::Dataset)),
        }
    }

    fn elements(
        &self,
        map: &Map<String, Value>,
        depth: usize,
        count: &mut usize,
    ) -> Result<Vec<(String, LocalElement)>, ApiError> {
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
                    let elements = self.elements(inner, depth + 1, count)?;
                    (name.to_owned(), LocalElement::Inner(elements))
                }
                None => self.element(item, count)?,
            });
        }
        Ok(elements)
    }

    fn element(&self, item: &Value, count: &mut usize) -> Result<(String, LocalElement), ApiError> {
        *count += 1;
        if *count > ELEMENTS_MAX {
            return Err(ApiError::invalid(format!(
                "A collection of more than {ELEMENTS_MAX} elements."
            )));
        }
        let file = self.file(item)?.ok_or_else(|| refused(item))?;
        Ok((identifier(item, &file), LocalElement::File(file)))
    }

    /// A file: an object of class File or with src `url`; leniently also a text that names one, or pasted text. None
    /// for anything else.
    fn file(&self, value: &Value) -> Result<Option<LocalFile>, ApiError> {
        let empty = Map::new();
        let (map, content) = match value {
            Value::String(name) if self.is_lenient => (&empty, self.named(name)?),
            Value::Object(map) => match (class(map), text(map, &["src"]).unwrap_or("")) {
                (_, "pasted") if self.is_lenient => {
                    let pasted = map.get("paste_content").and_then(Value::as_str);
                    let pasted = pasted
                        .ok_or_else(|| ApiError::missing("A pasted value needs paste_content."))?;
                    (map, (From::Content(pasted.as_bytes().to_vec()), None))
                }
                ("File", _) | (_, "url") => (map, self.located(map)?),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let (from, own_name) = content;
        let own = |names: &[&str]| text(map, names).map(str::to_owned);
        Ok(Some(LocalFile {
            from,
            name: own(&["name", "basename"]).or(own_name),
            extension: own(&["ext", "filetype"]).filter(|ext| ext != "auto"),
            dbkey: own(&["dbkey"]),
            hashes: hashes(map)?,
        }))
    }

    fn located(&self, map: &Map<String, Value>) -> Result<(From, Option<String>), ApiError> {
        if let Some(url) = text(map, &["location", "path", "url"]) {
            return self.named(url);
        }
        match map.get("contents").and_then(Value::as_str) {
            Some(contents) => Ok((From::Content(contents.as_bytes().to_vec()), None)),
            None => Err(ApiError::missing("A file needs a location or contents.")),
        }
    }

    fn named(&self, url: &str) -> Result<(From, Option<String>), ApiError> {
        if let Some((path, name)) = (self.attached)(url) {
            let name = name.rsplit('/').next().unwrap_or(&name).to_owned();
            return Ok((From::Path(path), Some(name)));
        }
        match urls::read(url)? {
            Url::Content(bytes) => Ok((From::Content(bytes), None)),
            Url::Fetch(url) => {
                (self.check)(&url)?;
                Ok((From::Url(url), None))
            }
            Url::No => Err(ApiError::invalid(match self.is_lenient {
                true => format!("{:?} is neither attached nor a URL.", urls::shown(url)),
                false => format!("{:?} is not a URL.", urls::shown(url)),
            })),
        }
    }
}

/// The digests a file names: `hashes`, as Galaxy has them, or one under the name of its function.
pub fn hashes(map: &Map<String, Value>) -> Result<Vec<Hash>, ApiError> {
    let wrong = || {
        ApiError::invalid(
            "hashes is a list of objects with hash_function (MD5, SHA-1, SHA-256, SHA-512) and hash_value.",
        )
    };
    let mut found = match map.get("hashes") {
        None | Some(Value::Null) => Vec::new(),
        Some(listed) => Hash::from_json(listed).ok_or_else(wrong)?,
    };
    for function in HashFunction::ALL {
        if let Some(value) = text(map, &[function.code()]) {
            found.push(Hash::new(function, value).ok_or_else(wrong)?);
        }
    }
    Ok(found)
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

/// What an element is called: as it says, else as its file.
fn identifier(value: &Value, file: &LocalFile) -> String {
    let said = value
        .as_object()
        .and_then(|map| text(map, &["identifier", "name"]));
    let of_url = match &file.from {
        From::Url(url) => urls::file_name(url),
        _ => None,
    };
    let name = said.map(str::to_owned).or(file.name.clone()).or(of_url);
    let name = name.unwrap_or_else(|| "element".to_owned());
    name.rsplit('/').next().unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_with(value: Value, is_collection: bool, is_lenient: bool) -> Result<String, ApiError> {
        let attached = |name: &str| (name == "a/b.txt").then(|| ("/tmp/1".into(), name.to_owned()));
        let check = |url: &str| match url.contains("//good/") {
            true => Ok(()),
            false => Err(ApiError::invalid("no")),
        };
        let reader = Reader {
            attached: &attached,
            check: &check,
            is_lenient,
        };
        Ok(match reader.read(&value, is_collection, "x")? {
            None => "other".to_owned(),
            Some(Local::Dataset(file)) => match file.from {
                From::Content(bytes) => format!("file {}", String::from_utf8_lossy(&bytes)),
                From::Path(_) => format!("attached {}", file.name.unwrap_or_default()),
                From::Url(url) => format!("at {url}"),
            },
            Some(Local::Collection {
                collection_type,
                elements,
                ..
            }) => {
                let names: Vec<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
                format!("{collection_type} {}", names.join(" "))
            }
        })
    }

    #[test]
    fn data_may_be_named_sent_pasted_or_elsewhere() {
        let data = |value| read_with(value, false, true).expect("understood");
        assert_eq!(data(json!({"src": "hda", "id": "abc"})), "other");
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
        assert_eq!(data(json!("a/b.txt")), "attached b.txt");
        assert_eq!(
            data(json!({"class": "File", "url": "http://good/x"})),
            "at http://good/x"
        );
    }

    #[test]
    fn collections_are_lists_or_say_what_they_are() {
        let data = |value| read_with(value, true, true).expect("understood");
        assert_eq!(
            data(json!(["data:,a", "a/b.txt", "https://good/c%20d"])),
            "list element b.txt c d"
        );
        let pair = json!({"class": "Collection", "collection_type": "list:paired", "elements": [
            {"identifier": "s", "elements": [{"class": "File", "identifier": "forward", "contents": ""}]}]});
        assert_eq!(data(pair), "list:paired s");
    }

    #[test]
    fn galaxys_door_takes_objects_only() {
        let data = |value| read_with(value, true, false);
        assert_eq!(data(json!("http://good/x")).unwrap(), "other");
        assert_eq!(data(json!(["http://good/x"])).unwrap(), "other");
        assert_eq!(
            data(json!({"src": "pasted", "paste_content": "x"})).unwrap(),
            "other"
        );
        assert_eq!(
            data(json!({"src": "url", "url": "http://good/x", "ext": "txt"})).unwrap(),
            "at http://good/x"
        );
    }

    #[test]
    fn what_may_not_be_fetched_or_is_missing_is_refused() {
        for value in [
            json!("http://localhost/"),
            json!("missing.txt"),
            json!({"class": "File", "location": "file:///etc/passwd"}),
            json!({"src": "url", "url": "https://example.org/"}),
            json!({"class": "File"}),
            json!({"class": "File", "contents": "", "hashes": "MD5"}),
            json!({"class": "Collection"}),
            json!({"class": "Collection", "elements": [1]}),
        ] {
            let error = read_with(value.clone(), false, true).expect_err("refused");
            assert_eq!(error.status(), 400, "{value}");
        }
        let mut deep = json!({"class": "Collection", "elements": []});
        for _ in 0..9 {
            deep = json!({"class": "Collection", "identifier": "x", "elements": [deep]});
        }
        assert!(read_with(deep, true, true).is_err());
    }
}
