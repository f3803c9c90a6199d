//! Backups: one compressed file of lines of JSON, which either database can be filled from.
//!
//! ```text
//! {"barycenter_backup":1,"program":"0.1.0","time":1700000000000,"versions":[1,2],
//!  "tables":[{"name":"job","columns":[["id","int"],["state","text"]],"key":[0]}]}
//! {"table":"job"}
//! [1,"ok"]
//! {"end":"job","rows":1}
//! {"end":null}
//! ```
//!
//! Rows are in the order of their keys. `zcat FILE` shows it all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::transfer::{BATCH, Counted, Snapshot, Source, compare};
use super::{Progress, UpkeepError};
use crate::store::db::{DatabaseUrl, Datum, Kind, Table};

/// Of this format.
const FORMAT: i64 = 1;

/// Writes what the database holds at this moment to a new file, and reads that file again. The server may go on.
pub async fn backup(
    from: &DatabaseUrl,
    file: &Path,
    now_ms: i64,
    progress: Progress<'_>,
) -> Result<Vec<Counted>, UpkeepError> {
    let unusable = |action: &'static str| {
        move |source: io::Error| UpkeepError::File {
            path: file.to_owned(),
            action,
            source,
        }
    };
    if file.exists() {
        return Err(UpkeepError::refused(format!(
            "{} exists already; give the name of a new file.",
            file.display()
        )));
    }
    let mut source = Snapshot::take(from).await?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Under another name until it is whole, and for its owner alone: it holds what the database holds.
    let part = tempfile::Builder::new()
        .prefix(".barycenter-backup-")
        .tempfile_in(folder)
        .map_err(unusable("made"))?;
    let mut writer = GzEncoder::new(BufWriter::new(part.as_file()), Compression::fast());
    let counted = write(&mut writer, &mut source, now_ms, progress, file).await?;
    let finished = writer
        .finish()
        .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
    finished.map_err(unusable("written"))?;
    part.as_file()
        .sync_all()
        .map_err(unusable("forced to disk"))?;
    // The snapshot still stands: every row is compared with what can be read back.
    let mut written = Archive::open(part.path())?;
    compare(&mut source.session, &mut written, progress).await?;
    written.end()?;
    source.session.close().await;
    part.persist_noclobber(file)
        .map_err(|error| unusable("given its name")(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(unusable("forced to disk"))?;
    Ok(counted)
}

async fn write(
    writer: &mut (impl Write + Send),
    source: &mut Snapshot,
    now_ms: i64,
    progress: Progress<'_>,
    file: &Path,
) -> Result<Vec<Counted>, UpkeepError> {
    let unwritten = |source: io::Error| UpkeepError::File {
        path: file.to_owned(),
        action: "written",
        source,
    };
    let tables = source.tables().to_vec();
    let mut line = |value: Value| writeln!(writer, "{value}").map_err(unwritten);
    line(json!({
        "barycenter_backup": FORMAT,
        "program": env!("CARGO_PKG_VERSION"),
        "time": now_ms,
        "versions": source.versions(),
        "tables": tables.iter().map(described).collect::<Vec<_>>(),
    }))?;
    let mut counted = Vec::new();
    for table in &tables {
        line(json!({"table": table.name}))?;
        let (mut rows, mut last) = (0, None);
        loop {
            let batch = source.batch(table, last.as_ref()).await?;
            if batch.is_empty() {
                break;
            }
            for row in &batch {
                line(row.iter().map(written).collect())?;
            }
            rows += batch.len() as u64;
            last = batch.into_iter().next_back();
            progress(&table.name, rows);
        }
        line(json!({"end": table.name, "rows": rows}))?;
        counted.push(Counted {
            table: table.name.clone(),
            rows,
        });
    }
    line(json!({"end": null}))?;
    Ok(counted)
}

fn described(table: &Table) -> Value {
    let columns = table.columns.iter();
    let columns: Vec<Value> = columns
        .map(|(name, kind)| json!([name, kind.name()]))
        .collect();
    json!({"name": table.name, "columns": columns, "key": table.key})
}

fn table_of(value: &Value) -> Option<Table> {
    let columns = value["columns"].as_array()?.iter();
    let column = |column: &Value| {
        let kind = Kind::named(column[1].as_str()?)?;
        Some((column[0].as_str()?.to_owned(), kind))
    };
    let columns: Vec<(String, Kind)> = columns.map(column).collect::<Option<_>>()?;
    let key = value["key"].as_array()?.iter();
    let place = |place: &Value| {
        let place = usize::try_from(place.as_u64()?).ok()?;
        (place < columns.len()).then_some(place)
    };
    Some(Table {
        name: value["name"].as_str()?.to_owned(),
        key: key.map(place).collect::<Option<_>>()?,
        columns,
    })
}

fn written(value: &Datum) -> Value {
    match value {
        Datum::Null => Value::Null,
        Datum::Int(v) => json!(v),
        Datum::Text(v) => json!(v),
        Datum::Bool(v) => json!(v),
        // As bits: JSON has no infinity, and decimals may round.
        Datum::Real(v) => json!(v.to_bits()),
        Datum::Bytes(v) => json!(BASE64.encode(v)),
    }
}

fn read(kind: Kind, value: Value) -> Option<Datum> {
    Some(match (kind, value) {
        (_, Value::Null) => Datum::Null,
        (Kind::Int, Value::Number(v)) => Datum::Int(v.as_i64()?),
        (Kind::Text, Value::String(v)) => Datum::Text(v),
        (Kind::Bool, Value::Bool(v)) => Datum::Bool(v),
        (Kind::Real, Value::Number(v)) => Datum::Real(f64::from_bits(v.as_u64()?)),
        (Kind::Bytes, Value::String(v)) => Datum::Bytes(BASE64.decode(v).ok()?),
        _ => return None,
    })
}

/// A backup, while it is read.
pub struct Archive {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: u64,
    versions: Vec<i64>,
    tables: Vec<Table>,
    /// How many of the tables have been read to their end.
    done: usize,
    /// Of the table that is being read: how many of its rows were, and whether its end was.
    within: Option<(u64, bool)>,
}

impl Archive {
    /// Opens one and reads which tables there are.
    pub fn open(path: &Path) -> Result<Archive, UpkeepError> {
        let mut archive = Archive::raw(path)?;
        let head = archive.next()?;
        let format = head["barycenter_backup"].as_i64();
        if format != Some(FORMAT) {
            return Err(match format {
                Some(newer) => UpkeepError::refused(format!(
                    "{} is a backup of form {newer}, and this program knows form {FORMAT} only; use a newer program.",
                    path.display()
                )),
                None => archive.damaged("it does not begin as backups do"),
            });
        }
        let versions = head["versions"].as_array().into_iter().flatten();
        archive.versions = versions.filter_map(Value::as_i64).collect();
        let tables = head["tables"].as_array().into_iter().flatten();
        let tables: Option<Vec<Table>> = tables.map(table_of).collect();
        archive.tables = tables.ok_or_else(|| archive.damaged("it describes no tables"))?;
        Ok(archive)
    }

    fn raw(path: &Path) -> Result<Archive, UpkeepError> {
        let file = File::open(path).map_err(|source| UpkeepError::File {
            path: path.to_owned(),
            action: "opened",
            source,
        })?;
        Ok(Archive {
            path: path.to_owned(),
            lines: Box::new(BufReader::new(GzDecoder::new(BufReader::new(file)))),
            line: 0,
            versions: Vec::new(),
            tables: Vec::new(),
            done: 0,
            within: None,
        })
    }

    /// Reads everything, so that damage is found.
    pub fn read_through(mut self) -> Result<(), UpkeepError> {
        while self.done < self.tables.len() {
            let table = self.tables[self.done].clone();
            while !self.rows(&table)?.is_empty() {}
        }
        self.end()
    }

    /// Nothing follows the last table.
    pub(super) fn end(&mut self) -> Result<(), UpkeepError> {
        let last = self.next()?;
        if last != json!({"end": null}) {
            return Err(self.damaged("its end is missing"));
        }
        // The checksum of it all is behind the last line.
        let mut rest = String::new();
        match self.lines.read_line(&mut rest) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(error) => Err(self.damaged(&error.to_string())),
        }
    }

    fn text(&mut self) -> Result<String, UpkeepError> {
        let mut text = String::new();
        self.line += 1;
        match self.lines.read_line(&mut text) {
            Ok(0) => Err(self.damaged("it ends too early")),
            Ok(_) => Ok(text),
            Err(error) => Err(self.damaged(&error.to_string())),
        }
    }

    fn next(&mut self) -> Result<Value, UpkeepError> {
        let text = self.text()?;
        serde_json::from_str(&text).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, what: &str) -> UpkeepError {
        UpkeepError::Damaged {
            path: self.path.clone(),
            line: self.line,
            what: what.to_owned(),
        }
    }

    /// The next rows of the table; none at its end.
    fn rows(&mut self, table: &Table) -> Result<Vec<Vec<Datum>>, UpkeepError> {
        let so_far = match self.within {
            Some((_, true)) => {
                self.within = None;
                self.done += 1;
                return Ok(Vec::new());
            }
            Some((rows, false)) => rows,
            None => {
                let head = self.next()?;
                if head["table"].as_str() != Some(&table.name) {
                    return Err(self.damaged(&format!("the table {} is missing", table.name)));
                }
                0
            }
        };
        let mut rows = Vec::new();
        let mut at_end = false;
        while rows.len() < BATCH && !at_end {
            match self.next()? {
                Value::Array(values) if values.len() == table.columns.len() => {
                    let kinds = table.columns.iter().map(|(_, kind)| *kind);
                    let row = kinds.zip(values).map(|(kind, value)| read(kind, value));
                    let row: Option<Vec<Datum>> = row.collect();
                    rows.push(row.ok_or_else(|| self.damaged("a value is of another kind"))?);
                }
                end if end["end"].as_str() == Some(&table.name) => {
                    if end["rows"].as_u64() != Some(so_far + rows.len() as u64) {
                        return Err(self.damaged("rows are missing"));
                    }
                    at_end = true;
                }
                _ => return Err(self.damaged("a row does not fit its table")),
            }
        }
        self.within = Some((so_far + rows.len() as u64, at_end));
        if rows.is_empty() {
            return self.rows(table);
        }
        Ok(rows)
    }
}

impl Source for Archive {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn versions(&self) -> &[i64] {
        &self.versions
    }

    fn tables(&self) -> &[Table] {
        &self.tables
    }

    async fn batch(
        &mut self,
        table: &Table,
        _: Option<&Vec<Datum>>,
    ) -> Result<Vec<Vec<Datum>>, UpkeepError> {
        self.rows(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was() {
        for (kind, value) in [
            (Kind::Int, Datum::Int(i64::MIN)),
            (Kind::Int, Datum::Int(i64::MAX)),
            (Kind::Text, Datum::Text("a\u{0}\n\"\u{1f600}".into())),
            (Kind::Bool, Datum::Bool(false)),
            (Kind::Real, Datum::Real(0.1)),
            (Kind::Real, Datum::Real(f64::INFINITY)),
            (Kind::Bytes, Datum::Bytes(vec![0, 1, 255])),
            (Kind::Text, Datum::Null),
        ] {
            let line = written(&value).to_string();
            let back = read(kind, serde_json::from_str(&line).expect("JSON"));
            assert_eq!(back, Some(value), "{line}");
        }
        assert_eq!(read(Kind::Int, json!("1")), None);
        assert_eq!(read(Kind::Text, json!(1)), None);
    }

    fn file(lines: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut writer = GzEncoder::new(file.as_file(), Compression::fast());
        for line in lines {
            writeln!(writer, "{line}").expect("written");
        }
        writer.finish().expect("written");
        file
    }

    const HEAD: &str = r#"{"barycenter_backup":1,"versions":[1],"tables":[{"name":"t","columns":[["id","int"]],"key":[0]}]}"#;
    const WHOLE: [&str; 5] = [
        HEAD,
        r#"{"table":"t"}"#,
        "[1]",
        r#"{"end":"t","rows":1}"#,
        r#"{"end":null}"#,
    ];

    #[test]
    fn damage_is_found_wherever_it_is() {
        let read = |lines: &[&str]| {
            let file = file(lines);
            Archive::open(file.path()).and_then(Archive::read_through)
        };
        assert!(read(&WHOLE).is_ok());
        for cut in 0..WHOLE.len() {
            assert!(read(&WHOLE[..cut]).is_err(), "cut before line {cut}");
            let mut without = WHOLE.to_vec();
            without.remove(cut);
            assert!(read(&without).is_err(), "without line {cut}");
        }
        let mut more = WHOLE.to_vec();
        more.push("[2]");
        assert!(read(&more).is_err());
        let mut other = WHOLE;
        other[2] = "[\"x\"]";
        assert!(read(&other).is_err());
        other[2] = "[1,2]";
        assert!(read(&other).is_err());
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        let whole = std::fs::read(file(&WHOLE).path()).expect("read");
        let read = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), bytes).expect("written");
            Archive::open(file.path()).and_then(Archive::read_through)
        };
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let last = whole.len() - 6;
        let mut changed = whole.clone();
        changed[last] ^= 1;
        assert!(read(&changed).is_err(), "the checksum is looked at");
        assert!(read(b"no backup").is_err());
    }
}
