//! The decision at a pause: by a person, by `--yes`, or by somebody else over HTTP.

use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::galaxy::Galaxy;
use crate::interrupt;
use crate::run_state::Waiting;

/// Who decides at the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reviewer {
    /// `--yes`: nobody looks.
    Always,
    /// The person at this terminal.
    Person,
    /// There is no terminal: somebody may decide over HTTP.
    Elsewhere,
}

impl Reviewer {
    pub fn choose(yes: bool) -> Self {
        match (yes, stdin().is_terminal()) {
            (true, _) => Self::Always,
            (false, true) => Self::Person,
            (false, false) => Self::Elsewhere,
        }
    }
}

/// Asks on the terminal; an empty answer approves. Fails with `Interrupted` on Ctrl-C.
pub fn ask() -> Result<bool> {
    loop {
        print!("approve? [Y/n] ");
        stdout().flush().map_err(Failure::during("ask"))?;
        let answer = read_line()?;
        match decision(&answer) {
            Some(approve) => return Ok(approve),
            None => println!("please answer y or n"),
        }
    }
}

/// How to decide with curl.
pub fn by_curl(galaxy: &Galaxy, invocation: &str, waiting: &Waiting) -> String {
    format!(
        "curl -X PUT -H 'x-api-key: {}' -H 'content-type: application/json' \\\n      -d '{{\"action\": true}}' {}/api/invocations/{invocation}/steps/{}",
        galaxy.key, galaxy.url, waiting.step_id
    )
}

/// What an answer means, if anything. The end of the input refuses: nobody saw the data.
fn decision(answer: &str) -> Option<bool> {
    match answer.trim().to_lowercase().as_str() {
        "" if answer.is_empty() => Some(false),
        "" | "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// A line of standard input, read on a thread of its own so that Ctrl-C is noticed while nobody types.
fn read_line() -> Result<String> {
    let (sender, line) = channel::<io::Result<String>>();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdin().read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    loop {
        interrupt::check()?;
        match line.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => return line.map_err(Failure::during("read the answer")),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::told("could not read the answer"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decision;

    #[test]
    fn only_a_clear_answer_decides() {
        let check = |answer: &str, expected: Option<bool>| {
            assert_eq!(decision(answer), expected, "{answer:?}")
        };
        check("\n", Some(true));
        check("Y\n", Some(true));
        check(" yes \r\n", Some(true));
        check("n\n", Some(false));
        check("NO", Some(false));
        check("maybe\n", None);
        check("", Some(false));
    }
}
