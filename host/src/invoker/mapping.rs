//! Mapping a tool over collections (Galaxy's matching.MatchingCollections and Tree structures): linked inputs are
//! matched by shape, the first by name gives structure and identifiers, and each leaf is one slice, one job.

use std::collections::BTreeMap;
use std::ops::Range;

use super::known::{Collection, ElementObject, Hid};

/// An input that is mapped over: the collection, and how many innermost ranks of it one job takes whole.
#[derive(Debug, Clone)]
pub struct MappedInput<'a> {
    pub name: String,
    pub collection: &'a Collection,
    /// The rank that one job gets: 0 for a single dataset, 1 for a `paired` out of a `list:paired`.
    pub sub_rank: usize,
}

/// What one job gets of one mapped input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slice<'a> {
    Hda {
        id: i64,
        identifier: &'a str,
    },
    /// A nested collection, by the element that holds it.
    Element {
        dce_id: i64,
        collection: &'a Collection,
        identifier: &'a str,
    },
}

/// The structure that the outputs of a mapped step take.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// `list`, `list:paired` …: the ranks that are mapped over.
    pub collection_type: String,
    pub children: Vec<Branch>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    pub identifier: String,
    /// None: a slice.
    pub inner: Option<Vec<Branch>>,
}

/// Where the outputs of a slice belong: index and identifier, outermost first.
pub type Path = Vec<(usize, String)>;

/// A matched set of mapped inputs.
#[derive(Debug)]
pub struct Mapping<'a> {
    /// Whose structure and identifiers the outputs take.
    shape: Shape<'a>,
    /// How many slices there are.
    len: usize,
    /// The mapped inputs, in name order.
    names: Vec<String>,
    /// What each of `names` contributes, slice by slice.
    parts: Vec<Vec<Slice<'a>>>,
}

/// Where a structure is taken from.
#[derive(Debug, Clone, Copy)]
enum Shape<'a> {
    /// The outer ranks of a collection.
    Of(&'a Collection, usize),
    Given(&'a Structure),
}

impl Shape<'_> {
    fn structure(self) -> Structure {
        match self {
            Shape::Of(collection, depth) => Structure {
                collection_type: outer_type(&collection.collection_type, depth),
                children: branches(collection, depth),
            },
            Shape::Given(structure) => structure.clone(),
        }
    }

    fn paths(self, slices: Range<usize>) -> Vec<Path> {
        match self {
            Shape::Of(collection, depth) => {
                let mut walk = Walk {
                    paths: Vec::with_capacity(slices.len()),
                    wanted: slices,
                    passed: 0,
                };
                walk.go(collection, depth, &mut Vec::new());
                walk.paths
            }
            Shape::Given(structure) => {
                let paths = structure.paths().into_iter();
                paths.skip(slices.start).take(slices.len()).collect()
            }
        }
    }
}

impl<'a> Mapping<'a> {
    /// How many slices there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to do: what is mapped over has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What one slice gets, input by input in name order.
    pub fn slice(&self, n: usize) -> impl Iterator<Item = (&str, &Slice<'a>)> {
        let names = self.names.iter().map(String::as_str);
        names.zip(self.parts.iter().map(move |parts| &parts[n]))
    }

    /// The type of the outputs' structure: `list`, `list:paired` …
    pub fn collection_type(&self) -> String {
        match self.shape {
            Shape::Of(collection, depth) => outer_type(&collection.collection_type, depth),
            Shape::Given(structure) => structure.collection_type.clone(),
        }
    }

    /// The structure that the outputs take.
    pub fn structure(&self) -> Structure {
        self.shape.structure()
    }

    /// The places of some slices, in order.
    pub fn paths(&self, slices: Range<usize>) -> Vec<Path> {
        self.shape.paths(slices)
    }
}

/// Goes through a structure and notes the paths of the wanted slices; what is not wanted costs next to nothing.
struct Walk {
    wanted: Range<usize>,
    passed: usize,
    paths: Vec<Path>,
}

impl Walk {
    fn go(&mut self, collection: &Collection, depth: usize, outer: &mut Path) {
        if depth == 1 {
            let end = self.passed + collection.elements.len();
            let wanted = self.wanted.start.max(self.passed)..self.wanted.end.min(end);
            for slice in wanted {
                let index = slice - self.passed;
                let mut path = outer.clone();
                path.push((index, collection.elements[index].identifier.clone()));
                self.paths.push(path);
            }
            self.passed = end;
            return;
        }
        for (index, element) in collection.elements.iter().enumerate() {
            if self.passed >= self.wanted.end {
                return;
            }
            outer.push((index, element.identifier.clone()));
            match &element.object {
                ElementObject::Collection(child) => self.go(child, depth - 1, outer),
                ElementObject::Hda(_) => {
                    if self.wanted.contains(&self.passed) {
                        self.paths.push(outer.clone());
                    }
                    self.passed += 1;
                }
            }
            outer.pop();
        }
    }
}

impl Structure {
    /// Where each slice's outputs belong: index and identifier, outermost first.
    fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        walk(&self.children, &mut Vec::new(), &mut paths);
        paths
    }
}

/// What a subworkflow step that is mapped over hands down to the steps inside it.
#[derive(Debug, Clone)]
pub struct Enclosing {
    pub structure: Structure,
    /// The numbers of the collections that it is mapped over.
    pub on: Vec<Hid>,
    /// The slices (by their indexes, outermost first) for which the condition was decided, and how.
    pub verdicts: BTreeMap<Vec<usize>, bool>,
}

impl Enclosing {
    /// A mapping without inputs: what a step inside takes that is not mapped over anything itself.
    pub fn mapping(&self) -> Mapping<'_> {
        Mapping {
            shape: Shape::Given(&self.structure),
            len: self.structure.paths().len(),
            names: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Whether a slice inside runs. It may lie deeper than the slices of the enclosing step, or hold several of them.
    pub fn runs(&self, path: &[(usize, String)]) -> bool {
        let indexes: Vec<usize> = path.iter().map(|(index, _)| *index).collect();
        let around = (1..=indexes.len()).find_map(|depth| self.verdicts.get(&indexes[..depth]));
        if let Some(verdict) = around {
            return *verdict;
        }
        let from = self.verdicts.range(indexes.clone()..);
        let mut held = from
            .take_while(|(slice, _)| slice.starts_with(&indexes))
            .peekable();
        held.peek().is_none() || held.any(|(_, verdict)| *verdict)
    }
}

/// How a declared collection type takes an actual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As it is: no mapping.
    Whole,
    /// One job per sub-collection of this rank.
    Mapped(usize),
    No,
}

/// Ranks of a collection type: `list:paired` has 2.
pub fn rank(collection_type: &str) -> usize {
    collection_type
        .split(':')
        .filter(|part| !part.is_empty())
        .count()
}

/// Whether an input that declares one of `declared` (any, when empty) takes a collection of type `actual`
/// as it is, mapped, or not at all.
pub fn fit(declared: &[String], actual: &str) -> Fit {
    if declared.is_empty() || declared.iter().any(|d| accepts(d, actual)) {
        return Fit::Whole;
    }
    if actual == "record" || actual.starts_with("record:") {
        return Fit::No;
    }
    let inner = declared
        .iter()
        .filter_map(|wanted| mapped_rank(wanted, actual));
    inner.max().map_or(Fit::No, Fit::Mapped)
}

/// The rank of the largest sub-collections of `actual` that `wanted` takes whole. A dataset by itself is an unpaired one.
fn mapped_rank(wanted: &str, actual: &str) -> Option<usize> {
    let inner = actual.match_indices(':').map(|(at, _)| &actual[at + 1..]);
    let found = inner.filter(|inner| accepts(wanted, inner)).map(rank).max();
    found.or((wanted == "paired_or_unpaired" && actual != "paired").then_some(0))
}

fn accepts(declared: &str, actual: &str) -> bool {
    if declared == actual {
        return true;
    }
    if let Some(outer) = declared.strip_suffix("paired_or_unpaired") {
        let outer = outer.trim_end_matches(':');
        let paired = if outer.is_empty() {
            "paired".to_owned()
        } else {
            format!("{outer}:paired")
        };
        if actual == paired || (!outer.is_empty() && actual == outer) {
            return true;
        }
    }
    match actual.strip_prefix("sample_sheet") {
        Some(rest) => declared.strip_prefix("list").is_some_and(|d| d == rest),
        None => false,
    }
}

/// Matches the mapped inputs by shape; none for no inputs. The error is for the workflow's owner.
pub fn match_inputs(mut inputs: Vec<MappedInput<'_>>) -> Result<Option<Mapping<'_>>, String> {
    // Plain string order decides whose identifiers are used, as in Galaxy.
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(first) = inputs.first() else {
        return Ok(None);
    };
    let (first, depth) = (first.collection, depth_of(first));
    let mut parts = Vec::with_capacity(inputs.len());
    for (n, input) in inputs.iter().enumerate() {
        if depth_of(input) != depth {
            return Err(format!(
                "Cannot match collection types: input {} is mapped over {} levels, input {} over {depth}.",
                input.name,
                depth_of(input),
                inputs[0].name
            ));
        }
        let (one, other) = (&first.collection_type, &input.collection.collection_type);
        let (one, other) = (outer_type(one, depth), outer_type(other, depth));
        if !same_ranks(&one, &other) {
            return Err(format!(
                "Cannot match collection types: input {} is mapped over a {other}, input {} over a {one}.",
                input.name, inputs[0].name
            ));
        }
        if n > 0 && !same_shape(first, input.collection, depth) {
            return Err(format!(
                "Cannot match collection types: the collections for inputs {} and {} differ in shape.",
                inputs[0].name, input.name
            ));
        }
        let mut taken = Vec::with_capacity(input.collection.elements.len());
        take(input.collection, depth, &mut taken);
        parts.push(taken);
    }
    Ok(Some(Mapping {
        shape: Shape::Of(first, depth),
        len: parts.first().map_or(0, Vec::len),
        names: inputs.into_iter().map(|input| input.name).collect(),
        parts,
    }))
}

fn walk(children: &[Branch], path: &mut Path, paths: &mut Vec<Path>) {
    for (index, branch) in children.iter().enumerate() {
        path.push((index, branch.identifier.clone()));
        match &branch.inner {
            Some(inner) => walk(inner, path, paths),
            None => paths.push(path.clone()),
        }
        path.pop();
    }
}

/// Where the slices of one input are in it. Of inputs that match, each slice has a place in every one.
pub fn paths_of(input: &MappedInput<'_>, slices: Range<usize>) -> Vec<Path> {
    Shape::Of(input.collection, depth_of(input)).paths(slices)
}

fn depth_of(input: &MappedInput<'_>) -> usize {
    rank(&input.collection.collection_type).saturating_sub(input.sub_rank)
}

fn outer_type(collection_type: &str, depth: usize) -> String {
    let ranks: Vec<&str> = collection_type.split(':').take(depth).collect();
    ranks.join(":")
}

/// Whether collections of these types can be gone through side by side.
fn same_ranks(one: &str, other: &str) -> bool {
    let kind = |rank: &str| match rank {
        "sample_sheet" => "list".to_owned(),
        "paired_or_unpaired" => "paired".to_owned(),
        other => other.to_owned(),
    };
    one.split(':').map(kind).eq(other.split(':').map(kind))
}

fn branches(collection: &Collection, depth: usize) -> Vec<Branch> {
    collection
        .elements
        .iter()
        .map(|element| Branch {
            identifier: element.identifier.clone(),
            inner: match &element.object {
                ElementObject::Collection(child) if depth > 1 => Some(branches(child, depth - 1)),
                _ => None,
            },
        })
        .collect()
}

fn same_shape(one: &Collection, other: &Collection, depth: usize) -> bool {
    let pairs = || one.elements.iter().zip(&other.elements);
    one.elements.len() == other.elements.len()
        && pairs().all(|(a, b)| match (&a.object, &b.object) {
            _ if depth == 1 => true,
            (ElementObject::Collection(a), ElementObject::Collection(b)) => {
                same_shape(a, b, depth - 1)
            }
            (ElementObject::Hda(_), ElementObject::Hda(_)) => true,
            _ => false,
        })
}

fn take<'a>(collection: &'a Collection, depth: usize, taken: &mut Vec<Slice<'a>>) {
    for element in &collection.elements {
        match &element.object {
            ElementObject::Hda(id) => taken.push(Slice::Hda {
                id: *id,
                identifier: &element.identifier,
            }),
            ElementObject::Collection(child) if depth > 1 => take(child, depth - 1, taken),
            ElementObject::Collection(child) => taken.push(Slice::Element {
                dce_id: element.id,
                collection: child,
                identifier: &element.identifier,
            }),
        }
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
