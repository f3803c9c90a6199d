//! What tools see of the datasets and collections that a job reads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use serde_json::Value;

use crate::errors::is_lack;
use crate::invoker::known::{Collection, ElementObject, Hda, Hid, Known};
use crate::store::files::DataDir;
use crate::store::scheduling::jobs::Dispatch;
use crate::tools::inputs_json::{
    CollectionView, DataRef, DataSource, DataView, DataViews, DatasetView, ElementView, data_refs,
};

/// Makes views of what was loaded.
pub(super) struct Views<'a> {
    pub data: &'a DataDir,
    pub known: &'a Known,
    pub elements: &'a HashMap<i64, ElementObject>,
    /// Expressions see more than commands do: what is in small files, and which dataset is which.
    pub for_expression: bool,
    /// What the machine lacked, where a small file was not read for that.
    pub lack: RefCell<Option<String>>,
}

impl Views<'_> {
    /// Everything that the parameters of a job name. Blocks: small files are read.
    pub fn of(&self, dispatch: &Dispatch) -> DataViews {
        let mut identifiers: HashMap<i64, &str> = HashMap::new();
        for input in &dispatch.inputs {
            if let Some(identifier) = &input.element_identifier {
                identifiers.insert(input.hda_id, identifier);
            }
        }
        let mut views = DataViews::new();
        for reference in data_refs(&dispatch.params) {
            if let Some(view) = self.view(reference, &identifiers) {
                views.insert(DataRef::new(reference.src, reference.id), view);
            }
        }
        views
    }

    fn view(&self, reference: DataRef, identifiers: &HashMap<i64, &str>) -> Option<DataView> {
        match reference.src {
            DataSource::Hda => {
                let identifier = identifiers.get(&reference.id).map(|i| (*i).to_owned());
                let view = self.dataset(reference.id, identifier)?;
                Some(DataView::Dataset(view))
            }
            DataSource::Hdca => {
                let hdca = self.known.hdcas.get(&reference.id)?;
                let mut view = self.collection(&hdca.collection, &hdca.name);
                if let Hid::Given(hid) = hdca.hid {
                    view.hid = Some(hid);
                }
                Some(DataView::Collection(view))
            }
            DataSource::Dce => match self.elements.get(&reference.id)? {
                ElementObject::Hda(id) => self.dataset(*id, None).map(DataView::Dataset),
                ElementObject::Collection(collection) => {
                    Some(DataView::Collection(self.collection(collection, "")))
                }
            },
            DataSource::Ldda => None,
        }
    }

    fn dataset(&self, hda_id: i64, identifier: Option<String>) -> Option<DatasetView> {
        let hda = self.known.hdas.get(&hda_id)?;
        let path = self.data.dataset(hda.dataset_id);
        Some(DatasetView {
            path: path.to_string_lossy().into_owned(),
            ext: hda.extension.clone(),
            name: hda.name.clone(),
            element_identifier: identifier,
            size: hda.size.and_then(|size| u64::try_from(size).ok()),
            hid: match hda.hid {
                Hid::Given(hid) => Some(hid),
                Hid::New(_) => None,
            },
            content: self.content(hda),
            is_value: self.for_expression && hda.extension == "expression.json",
            hda_id: self.for_expression.then_some(hda_id),
            contents: match self.for_expression {
                true => self.contents(hda),
                false => None,
            },
        })
    }

    /// The value in an `expression.json`.
    fn content(&self, hda: &Hda) -> Option<Value> {
        const CONTENT_MAX: i64 = 1 << 20;
        if hda.extension != "expression.json" || hda.size.unwrap_or(0) > CONTENT_MAX {
            return None;
        }
        let bytes = self.read(std::fs::read(self.data.dataset(hda.dataset_id)))?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What an expression may look at, as CWL's loadContents has it: the text of a small file.
    fn contents(&self, hda: &Hda) -> Option<String> {
        const CONTENTS_MAX: i64 = 64 << 10;
        if hda.size.unwrap_or(0) > CONTENTS_MAX {
            return None;
        }
        self.read(std::fs::read_to_string(self.data.dataset(hda.dataset_id)))
    }

    fn read<T>(&self, read: io::Result<T>) -> Option<T> {
        if let Err(error) = &read
            && is_lack(error)
        {
            self.lack.replace(Some(error.to_string()));
        }
        read.ok()
    }

    fn collection(&self, collection: &Collection, name: &str) -> CollectionView {
        let elements = collection.elements.iter().filter_map(|element| {
            let identifier = &element.identifier;
            let object = match &element.object {
                ElementObject::Hda(id) => {
                    DataView::Dataset(self.dataset(*id, Some(identifier.clone()))?)
                }
                ElementObject::Collection(child) => {
                    DataView::Collection(self.collection(child, identifier))
                }
            };
            Some(ElementView {
                identifier: identifier.clone(),
                object,
            })
        });
        CollectionView {
            name: name.to_owned(),
            collection_type: collection.collection_type.clone(),
            tags: Vec::new(),
            hid: None,
            elements: elements.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_for_want_of_descriptors_is_no_missing_file() {
        let root = tempfile::tempdir().expect("a folder");
        let views = Views {
            data: &DataDir::open(root.path()).expect("a data directory"),
            known: &Known::default(),
            elements: &HashMap::new(),
            for_expression: true,
            lack: RefCell::default(),
        };
        let failed = |code: i32| Err::<(), _>(io::Error::from_raw_os_error(code));
        assert_eq!(views.read(failed(libc::ENOENT)), None);
        assert_eq!(views.lack.take(), None);
        assert_eq!(views.read(failed(libc::EMFILE)), None);
        assert!(views.lack.take().is_some());
    }
}
