//! A YAML document as a tree that remembers its lines, and a reader that refuses unknown keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::YamlToolError;

#[derive(Debug, Clone)]
pub struct Node {
    /// From 1; 0 when the tool did not come from a text.
    pub line: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Node {
            line: spanned.referenced.line(),
            kind: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text, a number, true or false, a list or a map")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Scalar(
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }
}

impl Node {
    /// Reads one YAML document of bounded size, depth and alias use.
    pub fn from_yaml(text: &str) -> Result<Node, YamlToolError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_reader_input_bytes: Some(1 << 20),
                max_events: 100_000,
                max_aliases: 1_000,
                max_anchors: 1_000,
                max_depth: 48,
                max_documents: 1,
                max_nodes: 50_000,
                max_total_scalar_bytes: 4 << 20,
                max_merge_keys: 100,
            },
            with_snippet: false,
            // `value: N` and `value: no` of a select are the texts that they look like.
            strict_booleans: true,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let message = error.without_snippet().to_string();
            let first = message.lines().next().unwrap_or_default();
            YamlToolError::at(line, format!("this is not usable YAML: {first}"))
        })
    }

    pub fn from_json(value: &Value) -> Node {
        let kind = match value {
            Value::Array(items) => Kind::List(items.iter().map(Node::from_json).collect()),
            Value::Object(object) => Kind::Map(
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), Node::from_json(value)))
                    .collect(),
            ),
            scalar => Kind::Scalar(scalar.clone()),
        };
        Node { line: 0, kind }
    }

    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }
}

/// A node and where it stands, such as `inputs[0].options`.
#[derive(Debug)]
pub struct Place {
    pub node: Node,
    pub path: String,
}

impl Place {
    pub fn fault(&self, message: impl fmt::Display) -> YamlToolError {
        if self.path.is_empty() {
            return YamlToolError::at(self.node.line, message.to_string());
        }
        YamlToolError::at(self.node.line, format!("{}: {message}", self.path))
    }

    pub fn text(self) -> Result<String, YamlToolError> {
        match self.node.kind {
            Kind::Scalar(Value::String(text)) => Ok(text),
            Kind::Scalar(Value::Number(_) | Value::Bool(_)) => {
                Err(self.fault("this must be text: put it in quotes"))
            }
            _ => Err(self.fault("this must be text")),
        }
    }

    /// Text, or a number or boolean as it would be written.
    pub fn scalar_text(self) -> Result<String, YamlToolError> {
        match self.node.kind {
            Kind::Scalar(Value::String(text)) => Ok(text),
            Kind::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => Err(self.fault("this must be text")),
        }
    }

    pub fn boolean(self) -> Result<bool, YamlToolError> {
        match &self.node.kind {
            Kind::Scalar(Value::Bool(value)) => Ok(*value),
            Kind::Scalar(Value::String(word)) if matches!(word.as_str(), "yes" | "on") => Ok(true),
            Kind::Scalar(Value::String(word)) if matches!(word.as_str(), "no" | "off") => Ok(false),
            _ => Err(self.fault("this must be true or false")),
        }
    }

    pub fn integer(self) -> Result<i64, YamlToolError> {
        match &self.node.kind {
            Kind::Scalar(Value::Number(number)) if number.as_i64().is_some() => {
                Ok(number.as_i64().unwrap_or_default())
            }
            _ => Err(self.fault("this must be a whole number")),
        }
    }

    pub fn count(self) -> Result<usize, YamlToolError> {
        let fault = self.fault("this must be a whole number that is not negative");
        usize::try_from(self.integer()?).map_err(|_| fault)
    }

    pub fn number(self) -> Result<f64, YamlToolError> {
        match &self.node.kind {
            Kind::Scalar(Value::Number(number)) => Ok(number.as_f64().unwrap_or_default()),
            _ => Err(self.fault("this must be a number")),
        }
    }

    pub fn list(self) -> Result<Vec<Place>, YamlToolError> {
        match self.node.kind {
            Kind::List(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, node)| Place {
                    node,
                    path: format!("{}[{index}]", self.path),
                })
                .collect()),
            _ => Err(self.fault("this must be a list")),
        }
    }

    /// A list, or a single item in place of one.
    pub fn list_or_one(self) -> Result<Vec<Place>, YamlToolError> {
        match self.node.kind {
            Kind::List(_) => self.list(),
            _ => Ok(vec![self]),
        }
    }

    /// A list of maps with a `name` each, or a map from name to the rest.
    pub fn named(self) -> Result<Vec<(Option<String>, Place)>, YamlToolError> {
        match self.node.kind {
            Kind::Map(entries) => Ok(entries
                .into_iter()
                .map(|(name, node)| {
                    let path = format!("{}.{name}", self.path);
                    (Some(name), Place { node, path })
                })
                .collect()),
            Kind::List(_) => Ok(self.list()?.into_iter().map(|item| (None, item)).collect()),
            Kind::Scalar(Value::Null) => Ok(Vec::new()),
            _ => Err(self.fault("this must be a list or a map")),
        }
    }

    pub fn map(self) -> Result<Reader, YamlToolError> {
        match self.node.kind {
            Kind::Map(entries) => Ok(Reader {
                line: self.node.line,
                path: self.path,
                entries,
            }),
            _ => Err(self.fault("this must be a map")),
        }
    }
}

/// A map from which keys are taken until none may be left.
#[derive(Debug)]
pub struct Reader {
    pub line: u64,
    pub path: String,
    entries: Vec<(String, Node)>,
}

impl Reader {
    /// The value of `key`; absent and null are the same.
    pub fn take(&mut self, key: &str) -> Option<Place> {
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, node) = self.entries.remove(at);
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{key}", self.path);
        (!node.is_null()).then_some(Place { node, path })
    }

    /// The first of several spellings.
    pub fn take_any(&mut self, keys: &[&str]) -> Option<Place> {
        keys.iter().find_map(|key| self.take(key))
    }

    pub fn require(&mut self, key: &str) -> Result<Place, YamlToolError> {
        self.take(key)
            .ok_or_else(|| self.fault(format!("the key '{key}' is missing")))
    }

    pub fn text(&mut self, key: &str) -> Result<Option<String>, YamlToolError> {
        self.take(key).map(Place::text).transpose()
    }

    pub fn flag(&mut self, key: &str) -> Result<bool, YamlToolError> {
        Ok(self
            .take(key)
            .map(Place::boolean)
            .transpose()?
            .unwrap_or(false))
    }

    pub fn texts(&mut self, key: &str) -> Result<Vec<String>, YamlToolError> {
        match self.take(key) {
            Some(place) => place.list_or_one()?.into_iter().map(Place::text).collect(),
            None => Ok(Vec::new()),
        }
    }

    pub fn fault(&self, message: impl fmt::Display) -> YamlToolError {
        if self.path.is_empty() {
            return YamlToolError::at(self.line, message.to_string());
        }
        YamlToolError::at(self.line, format!("{}: {message}", self.path))
    }

    /// Refuses what nobody took.
    pub fn finish(self) -> Result<(), YamlToolError> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, node)) => {
                let place = if self.path.is_empty() {
                    "a tool".to_owned()
                } else {
                    self.path.clone()
                };
                let line = if node.line == 0 { self.line } else { node.line };
                Err(YamlToolError::at(
                    line,
                    format!("{place} has no key '{key}'"),
                ))
            }
        }
    }
}
