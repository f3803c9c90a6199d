//! Printing. A reader that went away (`barycenter plugin list | head`) is no reason to panic.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// A line on stdout.
pub fn line(text: impl Display) {
    bytes(format!("{text}\n").as_bytes());
}

/// Each on a line of stdout.
pub fn lines(texts: impl IntoIterator<Item: Display>) {
    for text in texts {
        line(text);
    }
}

/// Bytes on stdout, at once.
pub fn bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}

/// A line on stderr.
pub fn note(text: impl Display) {
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

/// Why a command did not do what it was asked to.
pub fn failure(text: impl Display) -> ExitCode {
    note(format_args!("barycenter: {text}"));
    ExitCode::FAILURE
}

/// The exit code of wrong usage.
pub const USAGE: u8 = 2;

/// Rows below a heading, in columns as wide as they need to be.
pub fn table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heading[column].chars().count())
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let put = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(padded.join("  ").trim_end());
    };
    put(&mut heading.iter().copied());
    for row in rows {
        put(&mut row.iter().map(String::as_str));
    }
}
