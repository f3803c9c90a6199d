//! Uploaded text made uniform.

use std::io::{self, Read, Write};

/// Copies text, and returns how many bytes were written.
///
/// With `to_posix_lines`, `\r\n` and lone `\r` become `\n` and the last line gets its end. With
/// `space_to_tab`, each run of blanks becomes one tab. Memory use does not depend on the size.
pub fn normalise_text(
    source: &mut dyn Read,
    sink: &mut dyn Write,
    to_posix_lines: bool,
    space_to_tab: bool,
) -> io::Result<u64> {
    let mut input = vec![0; 64 << 10];
    let mut output = Vec::with_capacity(input.len() + 1);
    let mut written = 0;
    let mut after_return = false;
    let mut in_blanks = false;
    let mut last = None;
    loop {
        let length = match source.read(&mut input) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if length == 0 {
            break;
        }
        for &byte in &input[..length] {
            let second_of_pair = after_return && byte == b'\n';
            after_return = to_posix_lines && byte == b'\r';
            if second_of_pair {
                continue;
            }
            let byte = if after_return { b'\n' } else { byte };
            let blank = space_to_tab && byte == b' ';
            if blank && in_blanks {
                continue;
            }
            in_blanks = blank;
            output.push(if blank { b'\t' } else { byte });
        }
        last = output.last().copied().or(last);
        sink.write_all(&output)?;
        written += output.len() as u64;
        output.clear();
    }
    if to_posix_lines && last.is_some_and(|byte| byte != b'\n') {
        sink.write_all(b"\n")?;
        written += 1;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &[u8], posix: bool, tabs: bool) -> Vec<u8> {
        let mut sink = Vec::new();
        let written = normalise_text(&mut &text[..], &mut sink, posix, tabs).unwrap();
        assert_eq!(written, sink.len() as u64);
        sink
    }

    #[test]
    fn every_line_ends_alike() {
        assert_eq!(of(b"a\rb\r\nc\n\r\rd", true, false), b"a\nb\nc\n\n\nd\n");
        assert_eq!(of(b"", true, false), b"");
        assert_eq!(of(b"a\r\n", false, false), b"a\r\n");
    }

    #[test]
    fn runs_of_blanks_become_one_tab() {
        assert_eq!(of(b"a  b c\n  d", true, true), b"a\tb\tc\n\td\n");
        assert_eq!(of(b"a b", false, true), b"a\tb");
    }

    /// A source that hands out one byte at a time, so that every pair is cut.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn the_size_of_the_pieces_does_not_matter(text in "[ab\r\n ]{0,40}", posix: bool, tabs: bool) {
            let mut sink = Vec::new();
            normalise_text(&mut Drip(text.as_bytes()), &mut sink, posix, tabs).unwrap();
            prop_assert_eq!(of(text.as_bytes(), posix, tabs), sink);
        }
    }
}
