//! What a stranger's file or code said, before people read it: nothing in it steers a terminal, turns the reading direction
//! round, or fills a log.

/// What is kept of a sentence of a plugin's.
pub const WORD_MAX: usize = 1_000;

/// The text without control characters and marks of direction, and not longer than `most` characters. Line breaks stay.
pub fn tame(text: &str, most: usize) -> String {
    let mut tamed: String = text.chars().take(most).map(harmless).collect();
    // Not counted to its end: it may be very long.
    if text.chars().nth(most).is_some() {
        tamed.push_str(&format!("… ({} bytes in all)", text.len()));
    }
    tamed
}

fn harmless(letter: char) -> char {
    let steers = letter.is_control() && letter != '\n' && letter != '\t';
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if steers || turns { '\u{fffd}' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_and_nothing_is_endless() {
        assert_eq!(
            tame("a\u{1b}[2Jb\0c\u{202e}d\ne", 100),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\ne"
        );
        assert_eq!(tame("äöü", 3), "äöü");
        assert_eq!(tame("äöü!", 3), "äöü… (7 bytes in all)");
    }
}
