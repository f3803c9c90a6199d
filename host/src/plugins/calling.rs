//! Which method of a plugin this thread is in, for the lines that the plugin logs.

use std::cell::Cell;

thread_local! {
    static METHOD: Cell<&'static str> = const { Cell::new("") };
}

/// Makes a call.
pub(super) fn during<T>(method: &'static str, call: impl FnOnce() -> T) -> T {
    let before = METHOD.replace(method);
    let outcome = call();
    METHOD.set(before);
    outcome
}

/// The method, or nothing: a plugin's own threads are in none.
pub(super) fn method() -> &'static str {
    METHOD.get()
}
