//! The small files that decisions look into, and those that decisions make.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::engine::Services;
use crate::errors::is_lack;
use crate::invoker::known::{ElementObject, Known};
use crate::invoker::operations::Files;
use crate::invoker::writes::Writes;
use crate::model::state::DatasetState;
use crate::store::files::DataDir;

/// Files of new names, of tags and the like are small.
const TEXT_MAX: u64 = 16 << 20;

/// The files of datasets, for operations on collections.
pub struct DataFiles<'a> {
    data: &'a DataDir,
    lack: Mutex<Option<io::Error>>,
}

impl<'a> DataFiles<'a> {
    pub fn of(data: &'a DataDir) -> DataFiles<'a> {
        DataFiles {
            data,
            lack: Mutex::default(),
        }
    }

    /// That a file was not read since the machine lacks something: whatever was decided since this was last asked is not to be
    /// believed.
    pub fn take_lack(&self) -> Option<io::Error> {
        let mut lack = self.lack.lock().unwrap_or_else(PoisonError::into_inner);
        lack.take()
    }

    fn note(&self, error: io::Error) {
        if is_lack(&error) {
            let mut lack = self.lack.lock().unwrap_or_else(PoisonError::into_inner);
            *lack = Some(error);
        }
    }
}

impl Files for DataFiles<'_> {
    fn text(&self, dataset_id: i64) -> Result<String, String> {
        let unreadable = |error| {
            self.note(error);
            "it cannot be read".to_owned()
        };
        let file = std::fs::File::open(self.data.dataset(dataset_id)).map_err(unreadable)?;
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
        let mut file = match std::fs::File::open(self.data.dataset(dataset_id)) {
            Ok(file) => file,
            Err(error) => {
                self.note(error);
                return false;
            }
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

/// The values that datasets of type `expression.json` hold, where remaining steps may need them. An `Err` where the machine lacks
/// something: nothing is to be decided without them.
pub fn read_contents(services: &Services, known: &mut Known) -> io::Result<()> {
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
            false => match std::fs::read(services.data.dataset(dataset_id)) {
                Ok(bytes) => {
                    serde_json::from_slice(&bytes).map_err(|e| format!("it is not JSON ({e})"))
                }
                Err(error) if is_lack(&error) => return Err(error),
                Err(_) => Err("its file cannot be read".to_owned()),
            },
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_the_machine_lacks_something_is_asked_for_once() {
        let root = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(root.path()).expect("a data directory");
        let files = DataFiles::of(&data);
        assert_eq!(files.text(7), Err("it cannot be read".to_owned()));
        assert!(files.take_lack().is_none(), "it is not there");
        files.note(io::Error::from_raw_os_error(libc::EMFILE));
        assert!(files.take_lack().is_some());
        assert!(files.take_lack().is_none());
    }
}
