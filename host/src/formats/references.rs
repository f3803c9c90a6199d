//! How format2 names a step's output: `label/output`, or `label` alone for `output`.

use super::error::{ImportError, shown};
use std::collections::HashMap;

/// Longer than any label with any output name; bounds the search for the longest label.
const REFERENCE_BYTES_MAX: usize = 4096;

/// The names by which steps of one workflow are known.
#[derive(Debug, Default)]
pub(super) struct Names {
    index_of: HashMap<String, usize>,
    step_count: usize,
}

impl Names {
    pub(super) fn new(step_count: usize) -> Self {
        let index_of = HashMap::with_capacity(step_count);
        Self {
            index_of,
            step_count,
        }
    }

    /// A name that is there already is taken over, as in Galaxy's converter.
    pub(super) fn add(&mut self, name: impl Into<String>, index: usize) {
        self.index_of.insert(name.into(), index);
    }

    /// A step by its name, else by its number: inputs first, then steps, from 0.
    pub(super) fn step(&self, name: &str) -> Option<usize> {
        let by_number = || name.parse().ok().filter(|number| *number < self.step_count);
        self.index_of.get(name).copied().or_else(by_number)
    }

    /// The step and the name of its output. Labels may contain `/`: the longest one that is
    /// known and followed by `/` or the end wins.
    pub(super) fn resolve(&self, source: &str) -> Result<(usize, String), ImportError> {
        if source.len() > REFERENCE_BYTES_MAX {
            return Err(ImportError::malformed("a source is too long to be one."));
        }
        if let Some(index) = self.index_of.get(source) {
            return Ok((*index, "output".to_owned()));
        }
        for (slash, _) in source.rmatch_indices('/') {
            if let Some(index) = self.index_of.get(&source[..slash]) {
                return Ok((*index, source[slash + 1..].to_owned()));
            }
        }
        let (name, output) = source.split_once('/').unwrap_or((source, "output"));
        match self.step(name) {
            Some(index) => Ok((index, output.to_owned())),
            None => Err(ImportError::malformed(format!(
                "source {} names no step or input.",
                shown(source)
            ))),
        }
    }

    /// Text that resolves to `output` of step `index`, known as `name`. Where labels make the
    /// plain form ambiguous, the step's number stands for its name.
    pub(super) fn reference(&self, index: usize, name: &str, output: &str) -> String {
        let plain = match output {
            "output" => name.to_owned(),
            output => format!("{name}/{output}"),
        };
        let candidates = [format!("{name}/{output}"), format!("{index}/{output}")];
        let meant = (index, output.to_owned());
        let clear = |text: &String| self.resolve(text).is_ok_and(|found| found == meant);
        if clear(&plain) {
            return plain;
        }
        candidates.into_iter().find(clear).unwrap_or(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[&str]) -> Names {
        let mut names = Names::new(labels.len());
        for (index, label) in labels.iter().enumerate() {
            names.add(*label, index);
        }
        names
    }

    #[test]
    fn a_source_is_read_with_the_longest_label_it_can_begin_with() {
        let names = names(&["a", "a/b", "a/b/c", "7"]);
        let check = |source: &str, step: usize, output: &str| {
            assert_eq!(
                names.resolve(source),
                Ok((step, output.to_owned())),
                "{source}"
            );
        };
        check("a", 0, "output");
        check("a/x", 0, "x");
        check("a/x/y", 0, "x/y");
        check("a/b", 1, "output");
        check("a/b/d", 1, "d");
        check("a/b/c", 2, "output");
        check("a/b/c/d", 2, "d");
        check("7/x", 3, "x");
        check("0/x", 0, "x");
        check("2", 2, "output");
        assert!(names.resolve("b/x").is_err());
        assert!(names.resolve("4/x").is_err());
        assert!(names.resolve(&"/".repeat(1 << 20)).is_err());
    }

    #[test]
    fn a_reference_resolves_to_what_was_meant_even_between_like_labels() {
        let names = names(&["a", "a/b", "x"]);
        let check = |index: usize, name: &str, output: &str, expected: &str| {
            let reference = names.reference(index, name, output);
            assert_eq!(reference, expected);
            assert_eq!(names.resolve(&reference), Ok((index, output.to_owned())));
        };
        check(0, "a", "output", "a");
        check(0, "a", "out", "a/out");
        check(0, "a", "b", "0/b");
        check(1, "a/b", "out", "a/b/out");
    }
}
