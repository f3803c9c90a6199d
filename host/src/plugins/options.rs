//! Reads one table of plugins.toml: takes the known keys, and complains about what is left.

use super::config::{Placed, Table};
use super::fault::{Fault, did_you_mean};
use serde_json::Value;
use toml::de::DeValue;

/// Where lines begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The line, from 1, of a byte.
    pub fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|begin| *begin <= offset)
    }
}

/// One table being read.
pub(super) struct Reader<'a, 'f> {
    file: String,
    name: String,
    table: &'a Table<'a>,
    lines: &'a Lines,
    line: Option<usize>,
    known: Vec<&'static str>,
    faults: &'f mut Vec<Fault>,
}

impl<'a, 'f> Reader<'a, 'f> {
    pub fn new(
        file: String,
        table: &'a Table<'a>,
        lines: &'a Lines,
        faults: &'f mut Vec<Fault>,
    ) -> Self {
        Self {
            file,
            name: String::new(),
            table,
            lines,
            line: None,
            known: Vec::new(),
            faults,
        }
    }

    /// A reader for a table inside this one.
    pub fn inner<'b>(&'b mut self, name: &str, table: &'b Table<'b>) -> Reader<'b, 'b> {
        Reader {
            file: self.file.clone(),
            name: name.to_owned(),
            table,
            lines: self.lines,
            line: self.line,
            known: Vec::new(),
            faults: self.faults,
        }
    }

    pub fn set_line(&mut self, line: usize) {
        self.line = Some(line);
    }

    pub fn place_name(&self) -> String {
        self.name.clone()
    }

    /// The place of the table itself.
    pub fn place(&self) -> String {
        self.place_at(self.line)
    }

    fn place_at(&self, line: Option<usize>) -> String {
        let mut place = self.file.clone();
        if let Some(line) = line {
            place.push_str(&format!(" line {line}"));
        }
        if !self.name.is_empty() {
            place.push_str(&format!(", {}", self.name));
        }
        place
    }

    /// The value under a key, which is known from now on.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Placed<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.text_and_line(key).map(|(text, _)| text)
    }

    pub fn text_and_line(&mut self, key: &'static str) -> Option<(String, usize)> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => {
                Some((text.to_string(), self.lines.at(value.span().start)))
            }
            _ => self.wrong(key, "a text"),
        }
    }

    /// A text that `check` understands; its error says what was expected.
    pub fn checked<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match check(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.fault(
                    key,
                    format!("`{key}` is `{text}`"),
                    format!("Give {expected}."),
                );
                None
            }
        }
    }

    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let texts = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts
            .or_else(|| self.wrong(key, "a list of texts"))
            .unwrap_or_default()
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)?.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong(key, "true or false"),
        }
    }

    pub fn positive(&mut self, key: &'static str) -> Option<u32> {
        let number = to_json(self.take(key)?.get_ref()).as_u64();
        let number = number.and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| *number > 0)
            .or_else(|| self.wrong(key, "a number from 1"))
    }

    pub fn table(&mut self, key: &'static str) -> Option<&'a Table<'a>> {
        match self.take(key)?.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => self.wrong(key, "a table"),
        }
    }

    /// The tables of `[[key]]` with their lines.
    pub fn tables(&mut self, key: &'static str) -> Vec<(usize, &'a Table<'a>)> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let tables = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Table(table) => Some((self.lines.at(item.span().start), table)),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        tables
            .or_else(|| self.wrong(key, "tables: write double brackets, [[…]]"))
            .unwrap_or_default()
    }

    /// A table as JSON, and the lines of its values by JSON pointer. Without the key: empty.
    pub fn json(&mut self, key: &'static str) -> (Value, Vec<(String, usize)>) {
        let mut lines = Vec::new();
        let empty = Value::Object(serde_json::Map::new());
        let Some(value) = self.take(key) else {
            return (empty, lines);
        };
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            self.wrong::<()>(key, "a table");
            return (empty, lines);
        }
        self.note_lines(value, "", &mut lines);
        (to_json(value.get_ref()), lines)
    }

    fn note_lines(&self, value: &Placed<'_>, pointer: &str, lines: &mut Vec<(String, usize)>) {
        lines.push((pointer.to_owned(), self.lines.at(value.span().start)));
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let key = key.get_ref().replace('~', "~0").replace('/', "~1");
                    self.note_lines(value, &format!("{pointer}/{key}"), lines);
                }
            }
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.note_lines(item, &format!("{pointer}/{at}"), lines);
                }
            }
            _ => {}
        }
    }

    fn wrong<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.fault(
            key,
            format!("`{key}` has a value of the wrong sort"),
            format!("Give {expected}."),
        );
        None
    }

    /// A fault at a key.
    pub fn fault(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let line = self
            .table
            .get(key)
            .map(|value| self.lines.at(value.span().start));
        let place = self.place_at(line.or(self.line));
        self.faults.push(Fault::new(place, message, remedy));
    }

    /// A fault of the table as a whole.
    pub fn fault_here(&mut self, message: &str, remedy: &str) {
        let place = self.place();
        self.faults.push(Fault::new(place, message, remedy));
    }

    /// Complains about every key that was not taken.
    pub fn finish(self) {
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let line = self
                .lines
                .at(key.span().start)
                .min(self.lines.at(value.span().start));
            let hint = did_you_mean(name, self.known.iter().copied());
            let place = self.place_at(Some(line));
            self.faults.push(Fault::new(
                place,
                format!("there is no key `{name}` here{hint}"),
                format!("Known here: {}.", self.known.join(", ")),
            ));
        }
    }
}

/// A TOML value as JSON; dates become texts.
fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries = table.iter();
            entries
                .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
                .collect()
        }
    }
}
