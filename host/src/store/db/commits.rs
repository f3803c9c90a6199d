//! Whether something was stored for good meanwhile: who wants to do a thing once more has to know.

use std::cell::Cell;

use super::Durability;

tokio::task_local! {
    static ACKNOWLEDGED: Cell<bool>;
}

/// Runs `work` within its task, and answers whether it committed something that somebody may rely on.
pub async fn noted<F: Future>(work: F) -> (F::Output, bool) {
    let noted = async {
        let output = work.await;
        (output, ACKNOWLEDGED.with(Cell::get))
    };
    ACKNOWLEDGED.scope(Cell::new(false), noted).await
}

pub(super) fn note(durability: Durability) {
    if durability == Durability::Acknowledged {
        // Nobody asks outside of `noted`.
        let _ = ACKNOWLEDGED.try_with(|acknowledged| acknowledged.set(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn only_what_was_promised_counts_and_only_within() {
        let commit = async |durability| note(durability);
        let counts = |work| noted(work).now_or_never().expect("nothing to wait for").1;
        assert!(!counts(commit(Durability::Progress)));
        assert!(counts(commit(Durability::Acknowledged)));
        let inner = async { noted(commit(Durability::Acknowledged)).await };
        assert!(!noted(inner).now_or_never().expect("nothing to wait for").1);
        note(Durability::Acknowledged);
    }
}
