//! The collection of a mapped step's outputs, filled slice by slice, perhaps over several iterations.

use std::collections::{HashMap, HashSet};

use super::ToolRun;
use super::draft::Draft;
use super::implicit::Frame;
use super::make::Made;
use super::share;
use crate::invoker::known::{Collection, Element, ElementObject, Populated};
use crate::invoker::writes::{NewCollection, NewElement, NewIds, Writes};
use crate::tools::model::{Output, OutputKind};
use crate::tools::outputs::output_collection_type;

/// An implicit collection while its slices are filled in.
pub(super) struct Tree {
    pub(super) root: Collection,
    /// Collections made by this iteration, by id: where they stand in `Writes::collections`.
    pub(super) new: HashMap<i64, usize>,
    /// Collections stored by an earlier one that still lack elements.
    pub(super) old: HashSet<i64>,
}

impl Tree {
    pub(super) fn new(
        ids: &dyn NewIds,
        frame: &Frame,
        output: &Output,
        run: &ToolRun<'_>,
        draft: Option<&Draft>,
        writes: &mut Writes,
    ) -> Tree {
        let inner = match &output.kind {
            OutputKind::Collection(_) => {
                let made = draft.and_then(|d| share::collection_type(d, &output.name));
                let known_type = draft
                    .filter(|_| made.is_none())
                    .and_then(|d| output_collection_type(run.tool, output, &d.params, &d.views));
                format!(":{}", made.or(known_type).as_deref().unwrap_or("list"))
            }
            _ => String::new(),
        };
        let mut tree = Tree {
            root: new_collection(ids, format!("{}{inner}", frame.collection_type)),
            new: HashMap::new(),
            old: HashSet::new(),
        };
        tree.note(tree.root.id, tree.root.collection_type.clone(), writes);
        tree
    }

    pub(super) fn of(root: Collection) -> Tree {
        fn unfinished(collection: &Collection, found: &mut HashSet<i64>) {
            if collection.populated == Populated::New {
                found.insert(collection.id);
            }
            for element in &collection.elements {
                if let ElementObject::Collection(child) = &element.object {
                    unfinished(child, found);
                }
            }
        }
        let mut old = HashSet::new();
        unfinished(&root, &mut old);
        Tree {
            root,
            new: HashMap::new(),
            old,
        }
    }

    pub(super) fn note(&mut self, id: i64, collection_type: String, writes: &mut Writes) {
        self.new.insert(id, writes.collections.len());
        writes.collections.push(NewCollection {
            id,
            collection_type,
            populated: false,
            element_count: None,
        });
    }

    /// Puts a slice's output where it belongs.
    pub(super) fn place(
        &mut self,
        path: &[(usize, String)],
        made: Made,
        ids: &dyn NewIds,
        writes: &mut Writes,
    ) {
        let (last, outer) = path.split_last().expect("a slice has a place");
        let mut created = Vec::new();
        let mut at = &mut self.root;
        for (index, identifier) in outer {
            if at.elements.len() <= *index {
                let inner = at
                    .collection_type
                    .split_once(':')
                    .map_or("list", |(_, t)| t);
                let child = new_collection(ids, inner.to_owned());
                created.push((child.id, child.collection_type.clone()));
                push_element(
                    at,
                    *index,
                    identifier,
                    ElementObject::Collection(child),
                    ids,
                    writes,
                );
            }
            let ElementObject::Collection(child) = &mut at.elements[*index].object else {
                return;
            };
            at = child;
        }
        let object = match made {
            Made::Hda(id) => ElementObject::Hda(id),
            Made::Collection { collection, .. } => ElementObject::Collection(collection),
        };
        push_element(at, last.0, &last.1, object, ids, writes);
        for (id, collection_type) in created {
            self.note(id, collection_type, writes);
        }
    }

    /// Ends the iteration's part; with `complete` every collection of the structure has all its elements.
    pub(super) fn finish(mut self, complete: bool, writes: &mut Writes) -> Collection {
        if complete {
            let (new, old) = (&self.new, &self.old);
            finish_collection(&mut self.root, new, old, writes);
        }
        self.root
    }
}

/// Marks a collection of the structure, and those in it, as populated. A job's own output collection is neither
/// new nor old here: it is populated when its job ends.
pub(super) fn finish_collection(
    collection: &mut Collection,
    new: &HashMap<i64, usize>,
    old: &HashSet<i64>,
    writes: &mut Writes,
) {
    let count = collection.elements.len() as i64;
    if let Some(at) = new.get(&collection.id) {
        writes.collections[*at].populated = true;
        writes.collections[*at].element_count = Some(count);
    } else if old.contains(&collection.id) {
        writes.populated.push((collection.id, count));
    } else {
        return;
    }
    collection.populated = Populated::Ok;
    for element in &mut collection.elements {
        if let ElementObject::Collection(child) = &mut element.object {
            finish_collection(child, new, old, writes);
        }
    }
}

pub(super) fn new_collection(ids: &dyn NewIds, collection_type: String) -> Collection {
    Collection {
        id: ids.collection(),
        collection_type,
        populated: Populated::New,
        elements: Vec::new(),
    }
}

pub(in crate::invoker) fn push_element(
    parent: &mut Collection,
    index: usize,
    identifier: &str,
    object: ElementObject,
    ids: &dyn NewIds,
    writes: &mut Writes,
) {
    let id = ids.element();
    let (hda_id, child) = match &object {
        ElementObject::Hda(id) => (Some(*id), None),
        ElementObject::Collection(c) => (None, Some(c.id)),
    };
    writes.elements.push(NewElement {
        id,
        collection_id: parent.id,
        index: index as i64,
        identifier: identifier.to_owned(),
        hda_id,
        child_collection_id: child,
    });
    parent.elements.push(Element {
        id,
        identifier: identifier.to_owned(),
        object,
    });
}
