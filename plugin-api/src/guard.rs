//! Turns a panic into the error of one call.

use crate::{ErrorCode, PluginError};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static LOCATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `body`; a panic inside becomes an error that says what and where.
///
/// While it runs, the panic is not printed: the host reports it with the plugin's name.
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T, PluginError>) -> Result<T, PluginError> {
    install_hook();
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(body));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    result.unwrap_or_else(|payload| Err(panicked(payload)))
}

fn panicked(payload: Box<dyn Any + Send>) -> PluginError {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked with a value that is no text".to_owned()
    };
    // The payload may be of a type whose own Drop panics: leak it.
    std::mem::forget(payload);
    PluginError {
        location: LOCATION
            .with(|location| std::mem::take(&mut *location.borrow_mut()))
            .into(),
        ..PluginError::new(ErrorCode::PANICKED, message)
    }
}

/// Every library has its own copy of the standard library, so this is the plugin's own hook.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let guarded = GUARDED.try_with(|depth| depth.get() > 0).unwrap_or(false);
            if !guarded {
                return previous(info);
            }
            let location = info
                .location()
                .map(|place| format!("{}:{}", place.file(), place.line()));
            let _ = LOCATION.try_with(|slot| *slot.borrow_mut() = location.unwrap_or_default());
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_text_and_place() {
        let error = guard::<()>(|| panic!("no more {}", "tea")).unwrap_err();
        assert_eq!(error.code, ErrorCode::PANICKED);
        assert_eq!(error.message, "no more tea");
        assert!(error.location.contains("guard.rs:"), "{}", error.location);
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_leaked() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let error = guard::<()>(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(error.code, ErrorCode::PANICKED);
    }

    #[test]
    fn an_answer_passes_through() {
        assert_eq!(guard(|| Ok(7)).unwrap(), 7);
    }
}
