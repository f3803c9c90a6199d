//! What cannot be tested here is said aloud: `cargo xtask test` repeats these lines at its end.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes that something is left out, and how to get it tested.
pub fn note(line: &str) {
    eprintln!("LEFT OUT: {line}");
    let Some(path) = std::env::var_os("BARYCENTER_TEST_LEFT_OUT") else {
        return;
    };
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.expect("the note of what is left out can be written");
}
