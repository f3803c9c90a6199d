//! The first calls of a plugin that took another's place. One that breaks down in them is put out again.

use super::failure::PluginCallError;
use std::sync::{Mutex, PoisonError};

/// So many pieces of work done well, and it stays.
const CALLS: u32 = 3;

/// Over from the start, or until its end: a trial.
pub(super) struct Probation<T>(Mutex<Option<Trial<T>>>);

struct Trial<T> {
    left: u32,
    /// The one before, ready to be asked instead.
    old: Option<T>,
    /// Puts the one before back, and is told why.
    give_back: Box<dyn FnOnce(&str) + Send>,
}

impl<T> Default for Probation<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Probation<T> {
    /// Begins. `old` is asked instead when a call breaks down; `give_back` puts it back.
    pub fn begin(&self, old: Option<T>, give_back: impl FnOnce(&str) + Send + 'static) {
        *self.lock() = Some(Trial {
            left: CALLS,
            old,
            give_back: Box::new(give_back),
        });
    }

    /// It stays, whatever it does from now on.
    pub fn end(&self) {
        let ended = self.lock().take();
        drop(ended);
    }

    pub fn is_over(&self) -> bool {
        self.lock().is_none()
    }

    /// Looks at how a call went. When the plugin broke down: who is to be asked instead, if anybody can be. A good answer
    /// to something that `is_work` counts for it.
    pub fn judge<A>(&self, is_work: bool, outcome: &Result<A, PluginCallError>) -> Option<T> {
        let (trial, why) = {
            let mut held = self.lock();
            let trial = held.as_mut()?;
            match outcome {
                Err(error) if error.is_breakage() => (held.take()?, error.to_string()),
                Ok(_) if is_work => {
                    trial.left -= 1;
                    let ended = if trial.left == 0 { held.take() } else { None };
                    drop(held);
                    drop(ended);
                    return None;
                }
                _ => return None,
            }
        };
        (trial.give_back)(&why);
        trial.old
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Trial<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn broken() -> Result<(), PluginCallError> {
        Err(PluginCallError::Invalid {
            plugin: "night".into(),
            method: "plan",
            faults: vec!["no".into()],
        })
    }

    fn on_trial() -> (Probation<u8>, Arc<AtomicU32>) {
        let (probation, given_back) = (Probation::default(), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&given_back);
        probation.begin(Some(1), move |why| {
            assert!(why.contains("no"), "{why}");
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (probation, given_back)
    }

    #[test]
    fn one_that_breaks_down_is_put_out_once() {
        let (probation, given_back) = on_trial();
        assert_eq!(probation.judge(true, &Ok(())), None);
        assert_eq!(probation.judge(true, &broken()), Some(1));
        assert_eq!(probation.judge(true, &broken()), None);
        assert_eq!(given_back.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn one_that_did_well_stays() {
        let (probation, given_back) = on_trial();
        for _ in 0..CALLS {
            assert_eq!(probation.judge(false, &Ok(())), None);
            assert!(!probation.is_over());
            assert_eq!(probation.judge(true, &Ok(())), None);
        }
        assert!(probation.is_over());
        assert_eq!(probation.judge(true, &broken()), None);
        assert_eq!(given_back.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn who_refuses_is_not_broken() {
        let (probation, _) = on_trial();
        let refused: Result<(), _> = Err(PluginCallError::Refused {
            plugin: "night".into(),
            method: "plan",
            message: "no".into(),
            bad_input: false,
        });
        assert_eq!(probation.judge(true, &refused), None);
        assert!(!probation.is_over());
    }
}
