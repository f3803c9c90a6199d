//! The small files that decisions look into, and those that decisions make.

use std::io::Read;

use serde_json::Value;

use super::engine::Services;
use crate::invoker::known::{ElementObject, Known};
use crate::invoker::operations::Files;
use crate::invoker::writes::Writes;
use crate::model::state::DatasetState;
use crate::store::files::DataDir;

/// Files of new names, of tags and the like are small.
const TEXT_MAX: u64 = 16 << 20;

/// The files of datasets, for operations on collections.
pub struct DataFiles<'a>(pub &'a DataDir);

impl Files for DataFiles<'_> {
    fn text(&self, dataset_id: i64) -> Result<String, String> {
        let unreadable = |_| "it cannot be read".to_owned();
        let file = std::fs::File::open(self.0.dataset(dataset_id)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(TEXT_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > TEXT_MAX {
            return Err(format!("it has more than {TEXT_MAX} bytes"));
        }
        String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
    }

    fn is_hollow(&self, dataset_id: i64) -> bool {
        let Ok(mut file) = std::fs::File::open(self.0.dataset(dataset_id)) else {
            return false;
        };
        let mut magic = [0; 2];
        if file.read_exact(&mut magic).is_err() || magic != [0x1f, 0x8b] {
            return false;
        }
        let whole = std::io::Cursor::new(magic).chain(file);
        let mut first = [0; 1];
        matches!(
            flate2::read::MultiGzDecoder::new(whole).read(&mut first),
            Ok(0)
        )
    }
}

/// Writes the datasets that no job makes, before the transaction that tells of them.
pub fn write_contents(services: &Services, writes: &Writes) -> std::io::Result<()> {
    for hda in &writes.hdas {
        if let Some(content) = &hda.content {
            services
                .data
                .write_dataset(hda.dataset_id, content.as_bytes())?;
        }
    }
    Ok(())
}

/// The values that datasets of type `expression.json` hold, where remaining steps may need them.
pub fn read_contents(services: &Services, known: &mut Known) {
    /// A parameter is small; a larger file is not one.
    const CONTENT_MAX: i64 = 1 << 20;
    let mut wanted = Vec::new();
    for hda in known.hdas.values() {
        if hda.extension == "expression.json"
            && hda.state == DatasetState::Ok
            && hda.size.unwrap_or(0) <= CONTENT_MAX
        {
            wanted.push((hda.id, hda.dataset_id, hda.skipped));
        }
    }
    for (id, dataset_id, skipped) in wanted {
        let content = match skipped {
            true => Ok(Value::Null),
            false => std::fs::read(services.data.dataset(dataset_id))
                .map_err(|_| "its file cannot be read".to_owned())
                .and_then(|bytes| {
                    serde_json::from_slice(&bytes).map_err(|e| format!("it is not JSON ({e})"))
                }),
        };
        known.contents.insert(id, content);
    }
    debug_assert!(
        known
            .hdcas
            .values()
            .all(|h| h.collection.elements.iter().all(|e| match e.object {
                ElementObject::Hda(id) => known.hdas.contains_key(&id),
                ElementObject::Collection(_) => true,
            }))
    );
}
