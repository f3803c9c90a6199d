//! Telling people what went wrong: an error and everything behind it, in one line.

use std::error::Error;
use std::io;

/// An error and its causes, joined by `: `. A cause that its predecessor quotes already is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    text
}

/// Whether an error says that the machine lacks something just now, not that the request was wrong.
pub fn is_lack(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_no_lack() {
        let is_lack = |code: i32| super::is_lack(&io::Error::from_raw_os_error(code));
        assert!(is_lack(libc::EMFILE) && is_lack(libc::ENOSPC));
        assert!(!is_lack(libc::ENOENT) && !is_lack(libc::EACCES));
    }

    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("the disk is full")]
        Disk,
        #[error("the file could not be written")]
        Write(#[source] Box<Fault>),
        #[error("the job failed: {0}")]
        Quoting(#[source] Box<Fault>),
    }

    #[test]
    fn causes_follow_their_effects() {
        let error = Fault::Write(Box::new(Fault::Disk));
        assert_eq!(
            chain(&error),
            "the file could not be written: the disk is full"
        );
    }

    #[test]
    fn a_cause_that_is_quoted_is_not_told_twice() {
        let error = Fault::Quoting(Box::new(Fault::Disk));
        assert_eq!(chain(&error), "the job failed: the disk is full");
    }
}
