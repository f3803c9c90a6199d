//! A loop whose database is away: how long it pauses, and when it says so.

use std::time::Duration;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Trouble of one loop. It is logged once for each change of the error, and once when it is over.
pub struct Trouble {
    what: &'static str,
    pause: Duration,
    said: Option<String>,
}

impl Trouble {
    /// `what` fails, in words for the log.
    pub fn new(what: &'static str) -> Trouble {
        Trouble {
            what,
            pause: FIRST,
            said: None,
        }
    }

    /// It failed (again): how long to wait before the next attempt.
    pub fn note(&mut self, error: &StoreError) -> Duration {
        self.note_text(crate::errors::chain(error))
    }

    /// The same in words.
    pub fn note_text(&mut self, text: String) -> Duration {
        if self.said.as_ref() != Some(&text) {
            tracing::error!("{}: {text}", self.what);
            self.said = Some(text);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        pause
    }

    /// It worked.
    pub fn is_over(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("{}: this is over", self.what);
            self.pause = FIRST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_some_seconds_and_begin_anew_when_it_worked() {
        let error = StoreError::Undone;
        let mut trouble = Trouble::new("nothing works");
        let pauses: Vec<u64> = (0..8)
            .map(|_| trouble.note(&error).as_millis() as u64)
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        trouble.is_over();
        assert_eq!(trouble.note(&error), FIRST);
    }
}
