//! What is wrong with plugins.toml or with a plugin it names.

use super::tame::tame;

/// One fault: where, what, and what to do. At most five lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place, e.g. `plugins.toml line 12, [[scheduler]] night`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty when the message says it.
    pub remedy: String,
}

impl Fault {
    pub(crate) fn new(
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}: {}", self.place, self.message);
        // Messages come from plugins, too, and may be of any length.
        let mut lines = text.lines().take(4).map(shortened);
        f.write_str(&lines.next().unwrap_or_default())?;
        for line in lines {
            write!(f, "\n  {line}")?;
        }
        if !self.remedy.is_empty() {
            write!(
                f,
                "\n  {}",
                shortened(self.remedy.lines().next().unwrap_or_default())
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

fn shortened(line: &str) -> String {
    tame(line, 400)
}

/// Nobody means anything by a longer word.
const WORD_MAX: usize = 100;

/// `; did you mean `x`?` when one of `known` is near to `word`, else nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > WORD_MAX {
        return String::new();
    }
    let near = known
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_MAX)
        .map(|candidate| (distance(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4);
    near.map_or_else(String::new, |(_, candidate)| {
        format!("; did you mean `{candidate}`?")
    })
}

/// How many letters to insert, drop or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(
            did_you_mean("libary", ["path", "library"]),
            "; did you mean `library`?"
        );
        assert_eq!(did_you_mean("colour", ["path", "library"]), "");
    }

    #[test]
    fn a_fault_never_takes_more_than_five_lines() {
        let fault = Fault::new("here", "a\n".repeat(1000), "do this\nand that");
        assert_eq!(fault.to_string().lines().count(), 5);
        let long = Fault::new("here", "x".repeat(100_000), "");
        assert!(long.to_string().len() < 500);
    }
}
