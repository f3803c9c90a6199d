//! A history out of an archive, one of this server's or of Galaxy's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::{clip, show_by_id};
use crate::http::app::{App, blocking};
use crate::http::collection_rules;
use crate::http::error::ApiError;
use crate::http::payload::{TempPath, UploadedFile};
use crate::store::collections::{self, NewCollection, NewElement, NewHdca, NewObject};
use crate::store::datasets::{self, NewDataset};
use crate::store::{Durability, histories};
use crate::tools::datatypes;

/// Files of an archive.
const FILES_MAX: usize = 100_000;
/// Bytes of one of its files about the others.
const ABOUT_MAX: u64 = 256 << 20;

/// What an archive holds. The datasets' files lie in the data directory's `tmp/`.
struct Unpacked {
    about: HashMap<String, Value>,
    files: HashMap<String, TempPath>,
}

/// Makes a history of the user's from an archive that was sent.
pub async fn import(app: &App, user_id: i64, archive: &UploadedFile) -> Result<Value, ApiError> {
    let path = archive.path.as_path().to_owned();
    let budget = app.settings.upload_max_bytes;
    let tmp = app.data.tmp();
    let unpacked = blocking(move || Ok(unpack(path, budget, tmp)));
    let mut unpacked = unpacked
        .await?
        .map_err(|error| ApiError::malformed(format!("The archive cannot be read: {error}")))?;
    let Some(history) = unpacked
        .about
        .remove("history_attrs.txt")
        .filter(Value::is_object)
    else {
        return Err(ApiError::malformed(
            "The archive holds no history_attrs.txt.",
        ));
    };
    let datasets_about = list(unpacked.about.remove("datasets_attrs.txt"));
    let collections_about = list(unpacked.about.remove("collections_attrs.txt"));
    let now_ms = app.now_ms();
    let mut new = Vec::new();
    let mut made: HashMap<String, i64> = HashMap::new();
    let mut deleted = Vec::new();
    let mut moves = Vec::new();
    let mut last_hid = 0;
    for about in &datasets_about {
        let dataset_id = app.store.ids.dataset();
        let hda_id = app.store.ids.hda();
        let file = text(about, "file_name").and_then(|name| unpacked.files.remove(name));
        let is_ok = matches!(text(about, "state"), Some("ok" | "empty")) && file.is_some();
        let extension = text(about, "extension").filter(|ext| datatypes::datatype(ext).is_some());
        let hid = number(about, "hid");
        last_hid = last_hid.max(hid);
        let size = match file {
            Some(file) => {
                let path = file.as_path().to_owned();
                let size = blocking(move || Ok(path.metadata()?.len())).await?;
                moves.push((file, dataset_id));
                i64::try_from(size).unwrap_or(i64::MAX)
            }
            None => 0,
        };
        if let Some(id) = text(about, "encoded_id") {
            made.insert(id.to_owned(), hda_id);
        }
        if flag(about, "deleted", false) {
            deleted.push(hda_id);
        }
        new.push(NewDataset {
            dataset_id,
            hda_id,
            // Given with its history's, below.
            history_id: 0,
            hid,
            name: clip(text(about, "name").unwrap_or("Unnamed dataset")),
            extension: extension.unwrap_or("data").to_owned(),
            state: match is_ok {
                true => "ok",
                false => "discarded",
            },
            info: text(about, "info").map(str::to_owned),
            blurb: text(about, "blurb").map(str::to_owned),
            peek: text(about, "peek").map(str::to_owned),
            metadata: about
                .get("metadata")
                .filter(|m| m.is_object())
                .cloned()
                .unwrap_or_else(|| json!({})),
            visible: flag(about, "visible", true),
            tags: tags(about),
            file_size: size,
            created_from_basename: None,
        });
    }
    let mut trees = Vec::new();
    for about in &collections_about {
        let Some(mut tree) = about.get("collection").and_then(|c| tree(c, &made)) else {
            continue;
        };
        // What is not as its type says would be of no use to any tool.
        if collection_rules::settle(&mut tree).is_err() {
            continue;
        }
        let hid = number(about, "hid");
        last_hid = last_hid.max(hid);
        let name = text(about, "display_name").or(text(about, "name"));
        trees.push((
            tree,
            hid,
            clip(name.unwrap_or("Unnamed collection")),
            tags(about),
        ));
    }
    // The files are in their places before anything says that they are there.
    let data = app.data.clone();
    blocking(move || {
        for (file, dataset_id) in &moves {
            File::open(file.as_path())?.sync_all()?;
            data.place(file.as_path(), *dataset_id)?;
        }
        Ok(())
    })
    .await?;
    let name = text(&history, "name").unwrap_or("Unnamed history");
    let mut tx = app.store.begin().await?;
    let history_id = app.store.ids.history(&mut tx).await?;
    for dataset in &mut new {
        dataset.history_id = history_id;
    }
    histories::create(
        &mut tx,
        history_id,
        user_id,
        &clip(&format!("imported from archive: {name}")),
        now_ms,
    )
    .await?;
    datasets::insert(&mut tx, &new, now_ms).await?;
    if !deleted.is_empty() {
        datasets::delete(&mut tx, &deleted, now_ms).await?;
    }
    for (tree, hid, name, tags) in trees {
        let collection_id = collections::insert(&mut tx, &app.store.ids, &tree, now_ms).await?;
        let hdca = NewHdca {
            collection_id,
            history_id,
            hid,
            name,
            tags,
            copied_from: None,
        };
        collections::insert_hdca(&mut tx, &app.store.ids, &hdca, now_ms).await?;
    }
    let taken = usize::try_from(last_hid).unwrap_or(0);
    if taken > 0 {
        histories::allocate_hids(&mut tx, history_id, taken, now_ms).await?;
    }
    if let Some(mut row) = histories::by_id(&mut tx, history_id).await? {
        row.annotation = text(&history, "annotation").map(str::to_owned);
        row.tags = tags(&history);
        histories::save(&mut tx, &row, now_ms).await?;
    }
    tx.commit(Durability::Acknowledged, "history.import")
        .await?;
    let mut shape = show_by_id(app, history_id).await?.0;
    shape["message"] = json!("The history was imported.");
    Ok(shape)
}

/// The collection with those of its elements whose datasets are there; none if it is of no form that could be kept.
fn tree(about: &Value, made: &HashMap<String, i64>) -> Option<NewCollection> {
    let elements = about.get("elements")?.as_array()?;
    let elements = elements.iter().filter_map(|element| {
        let object = match element.get("child_collection").filter(|c| c.is_object()) {
            Some(child) => NewObject::Collection(tree(child, made)?),
            None => NewObject::Hda(*made.get(text(element.get("hda")?, "encoded_id")?)?),
        };
        Some(NewElement {
            identifier: text(element, "element_identifier")?.to_owned(),
            object,
            columns: None,
        })
    });
    let collection_type = text(about, "type")?.to_owned();
    let elements: Vec<NewElement> = elements.collect();
    let is_record = collection_type.split(':').next() == Some("record");
    let field = |element: &NewElement| json!({"name": element.identifier, "type": "File"});
    Some(NewCollection {
        fields: is_record.then(|| elements.iter().map(field).collect()),
        collection_type,
        elements,
        column_definitions: None,
    })
}

fn unpack(path: PathBuf, budget: u64, tmp: PathBuf) -> io::Result<Unpacked> {
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mut file = BufReader::new(File::open(path)?);
    let mut magic = [0; 2];
    let is_gzip = io::BufRead::fill_buf(&mut file)?
        .get(..2)
        .is_some_and(|head| {
            magic.copy_from_slice(head);
            magic == [0x1f, 0x8b]
        });
    let reader: Box<dyn Read> = match is_gzip {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    // Counts what comes out, whatever the archive says of itself.
    let mut tar = tar::Archive::new(reader.take(budget.saturating_add(1)));
    let mut unpacked = Unpacked {
        about: HashMap::new(),
        files: HashMap::new(),
    };
    let mut bytes = 0;
    for (count, entry) in tar.entries()?.enumerate() {
        if count >= FILES_MAX {
            return Err(wrong("it has too many files"));
        }
        let mut entry = entry?;
        bytes += entry.size();
        if bytes > budget {
            return Err(wrong("it holds more bytes than this server takes"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        if name.starts_with("datasets/") {
            let place = TempPath::existing(tmp.join(format!("upload-{}", uuid::Uuid::new_v4())));
            let mut target = private(&place)?;
            io::copy(&mut entry, &mut target)?;
            unpacked.files.insert(name, place);
        } else if name.ends_with("_attrs.txt") && !name.contains('/') {
            if entry.size() > ABOUT_MAX {
                return Err(wrong("a file about the others is too long"));
            }
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            let value = serde_json::from_slice(&text)
                .map_err(|error| wrong(&format!("{name} is no JSON: {error}")))?;
            unpacked.about.insert(name, value);
        }
    }
    Ok(unpacked)
}

fn private(place: &TempPath) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(place.as_path())
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn text<'a>(about: &'a Value, name: &str) -> Option<&'a str> {
    about.get(name)?.as_str()
}

fn flag(about: &Value, name: &str, default: bool) -> bool {
    about.get(name).and_then(Value::as_bool).unwrap_or(default)
}

/// Numbers that people see start at 1 and stay small.
fn number(about: &Value, name: &str) -> i64 {
    about
        .get(name)
        .and_then(Value::as_i64)
        .unwrap_or(1)
        .clamp(1, 1_000_000)
}

fn tags(about: &Value) -> Value {
    let tags = about
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    tags.filter(|tag| tag.is_string()).cloned().collect()
}
