//! Logs: lines on stderr, for eyes or as JSON.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogOptions};

/// Starts logging for the whole process; a second call changes nothing.
///
/// `bars`, if there are any on the terminal, are taken away while a line is written.
pub fn start(options: &LogOptions, bars: Option<MultiProgress>) {
    let filter = EnvFilter::new(directives(&options.level));
    let writer = Lines { bars };
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer);
    // An error means that logging was started before, as in tests.
    let _ = match options.format {
        LogFormat::Text => base.with_target(true).try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
}

/// What is logged. The driver tells of each connection that a database closed or was slow to open, which would be many lines for
/// one thing that we tell ourselves: only whoever names it hears that.
fn directives(level: &str) -> String {
    const TOLD_ANYWAY: &str = "sqlx::postgres::notice=off,sqlx::pool::acquire=off";
    match level.contains("sqlx") {
        true => level.to_owned(),
        false => format!("{level},{TOLD_ANYWAY}"),
    }
}

/// Makes a writer for each line.
struct Lines {
    bars: Option<MultiProgress>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            bars: self.bars.as_ref(),
        }
    }
}

struct Line<'a> {
    bars: Option<&'a MultiProgress>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A terminal or pipe that is gone must not end the server.
        let put = || {
            let _ = io::stderr().write_all(bytes);
        };
        match self.bars {
            Some(bars) => bars.suspend(put),
            None => put(),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_heard_by_whoever_names_it() {
        let driver = "warn,sqlx=debug";
        assert_eq!(directives(driver), driver);
        let usual = directives("info");
        assert!(usual.starts_with("info,sqlx::"), "{usual}");
        assert!(EnvFilter::try_new(&usual).is_ok(), "{usual}");
    }
}
