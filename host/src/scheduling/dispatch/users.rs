//! The names of users, for schedulers that treat people differently.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::scheduling::engine::Services;
use crate::store::StoreError;
use crate::store::users::{Names, names};

/// After this names are read again: people change them.
const KEPT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Users {
    names: HashMap<i64, Names>,
    since: Option<Instant>,
}

impl Users {
    /// Makes sure that these users' names are known.
    pub async fn load(&mut self, services: &Services, ids: &[i64]) -> Result<(), StoreError> {
        if self.since.is_none_or(|since| since.elapsed() > KEPT) {
            self.names.clear();
            self.since = Some(Instant::now());
        }
        let mut missing: Vec<i64> = ids
            .iter()
            .filter(|id| !self.names.contains_key(id))
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        let found = names(&mut services.store.reader(), &missing).await?;
        self.names.extend(found);
        // Whoever is gone has no name; not to be asked about again and again.
        for id in missing {
            self.names.entry(id).or_default();
        }
        Ok(())
    }

    pub fn get(&self, id: i64) -> Option<&Names> {
        self.names.get(&id)
    }
}
