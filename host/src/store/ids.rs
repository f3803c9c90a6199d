//! Ids of new rows.
//!
//! Rows that are made in bulk have ids before they are written, so that one pass can link jobs, datasets and collections
//! to each other in memory and write each table with one statement. On SQLite there is one server, and it counts. On
//! PostgreSQL every server has blocks of ids of its own, taken from a sequence; the next one is fetched in the background
//! long before it is needed (`docs/decisions/0013-ids-of-several-servers.md`).
//!
//! Rows that people list by age get an id that grows from one server to the other: one call of their table's sequence for
//! each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::db::{Db, Dialect, Durability, Query, StoreError, Tx, commits};
use crate::args;

/// One block of a bulk table: what its sequence grows by.
const BLOCK: i64 = 1 << 32;
/// One block of a bulk table whose rows are listed by age as well. A server's block of these is not used for longer than
/// [`SLICE`], so that the ids of several servers are in the order of time but for about so much.
const SLICED_BLOCK: i64 = 1 << 24;
const SLICE: Duration = Duration::from_secs(1);
const SLICED: [&str; 2] = ["job", "workflow_invocation_step"];

/// The ids of one table.
#[derive(Debug)]
struct Counter {
    table: &'static str,
    block: i64,
    stock: Mutex<Stock>,
}

#[derive(Debug)]
struct Stock {
    next: i64,
    end: i64,
    /// The first id of the block after this one.
    spare: Option<i64>,
    since: Instant,
}

impl Counter {
    fn new(table: &'static str) -> Counter {
        Counter {
            table,
            block: match SLICED.contains(&table) {
                true => SLICED_BLOCK,
                false => BLOCK,
            },
            stock: Mutex::new(Stock {
                next: 1,
                end: i64::MAX,
                spare: None,
                since: Instant::now(),
            }),
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next id, and whether a spare block should be fetched.
    fn take(&self) -> (i64, bool) {
        let mut stock = self.stock();
        if stock.next >= stock.end
            && let Some(first) = stock.spare.take()
        {
            (stock.next, stock.end) = (first, first + self.block);
        }
        let id = stock.next;
        stock.next += 1;
        let is_low = stock.spare.is_none() && stock.end - stock.next < self.block / 2;
        (id, is_low)
    }

    /// Goes on with a fresh block.
    fn replace(&self, first: i64) {
        let mut stock = self.stock();
        (stock.next, stock.end, stock.since) = (first, first + self.block, Instant::now());
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $field:ident => $table:literal),+ $(,)?) => {
        #[derive(Debug)]
        struct Counters { $($field: Counter),+ }

        impl Counters {
            fn new() -> Counters {
                Counters { $($field: Counter::new($table)),+ }
            }

            fn all(&self) -> Vec<&Counter> {
                vec![$(&self.$field),+]
            }
        }

        impl Ids {
            $(
                $(#[$doc])*
                pub fn $field(&self) -> i64 { self.take(|counters| &counters.$field) }
            )+
        }
    };
}

/// Gives out ids. One whose transaction is undone is not used again.
pub struct Ids {
    shared: Arc<Shared>,
}

struct Shared {
    counters: Counters,
    /// Of the tables whose ids are not made in bulk, on SQLite.
    growing: Mutex<Vec<(&'static str, i64)>>,
    /// Set on PostgreSQL.
    db: Option<Db>,
    refilling: AtomicBool,
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.counters.fmt(f)
    }
}

/// The tables whose ids grow from one server to the other.
const GROWING: [&str; 5] = [
    "history",
    "stored_workflow",
    "workflow",
    "workflow_invocation",
    "dynamic_tool",
];

impl Ids {
    /// Reads where each table ends, or takes the first blocks.
    pub async fn load(db: &Db) -> Result<Ids, StoreError> {
        let shared = Shared {
            counters: Counters::new(),
            growing: Mutex::default(),
            db: (db.dialect() == Dialect::Postgres).then(|| db.clone()),
            refilling: AtomicBool::new(false),
        };
        let counters = shared.counters.all();
        match db.dialect() {
            Dialect::Postgres => {
                let firsts = fetch_blocks(db, &counters).await?;
                for (counter, first) in counters.iter().zip(firsts) {
                    counter.replace(first);
                }
            }
            Dialect::Sqlite => {
                for counter in &counters {
                    counter.stock().next = last_id(db, counter.table).await? + 1;
                }
                let mut ends = Vec::new();
                for table in GROWING {
                    ends.push((table, last_id(db, table).await?));
                }
                *shared
                    .growing
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = ends;
            }
        }
        Ok(Ids {
            shared: Arc::new(shared),
        })
    }

    fn take(&self, counter: impl Fn(&Counters) -> &Counter) -> i64 {
        let (id, is_low) = counter(&self.shared.counters).take();
        if is_low {
            self.refill();
        }
        id
    }

    /// Fetches spare blocks in the background.
    fn refill(&self) {
        let Some(db) = self.shared.db.clone() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.shared.refilling.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = self.shared.clone();
        runtime.spawn(async move {
            let low: Vec<&Counter> = shared.counters.all();
            let low: Vec<&Counter> = low
                .into_iter()
                .filter(|counter| {
                    let stock = counter.stock();
                    stock.spare.is_none() && stock.end - stock.next < counter.block / 2
                })
                .collect();
            match fetch_blocks(&db, &low).await {
                Ok(firsts) => {
                    for (counter, first) in low.iter().zip(firsts) {
                        counter.stock().spare = Some(first);
                    }
                }
                // Whoever takes the next id tries again.
                Err(error) => tracing::warn!(%error, "no new block of ids could be fetched"),
            }
            shared.refilling.store(false, Ordering::SeqCst);
        });
    }

    /// To be called before jobs are made: see [`SLICE`]. If the database is away the ids at hand will do.
    pub async fn before_jobs(&self) {
        let Some(db) = &self.shared.db else { return };
        let mut sliced = self.shared.counters.all();
        sliced.retain(|counter| {
            let mut stock = counter.stock();
            let is_old = SLICED.contains(&counter.table) && stock.since.elapsed() >= SLICE;
            if is_old {
                // One of those who come at the same time is enough.
                stock.since = Instant::now();
            }
            is_old
        });
        if let Ok(firsts) = fetch_blocks(db, &sliced).await {
            for (counter, first) in sliced.iter().zip(firsts) {
                counter.replace(first);
            }
        }
    }

    /// `count` ids of a bulk table in a row; the first of them. For whoever writes rows by the million.
    pub async fn range(&self, table: &str, count: i64) -> Result<i64, StoreError> {
        let counters = self.shared.counters.all();
        let counter = counters.into_iter().find(|counter| counter.table == table);
        let counter = counter.expect("a table of those above");
        match &self.shared.db {
            // From a new block, the rest of which is used from now on.
            Some(db) if count <= counter.block / 2 => {
                let first = fetch_blocks(db, &[counter]).await?[0];
                counter.replace(first);
                counter.stock().next += count;
                Ok(first)
            }
            Some(_) => Err(StoreError::Unknown {
                what: "no block of ids that is as large as",
                value: count.to_string(),
            }),
            None => {
                let mut stock = counter.stock();
                stock.next += count;
                Ok(stock.next - count)
            }
        }
    }

    /// The ids of `count` new rows of a table whose ids grow from one server to the other, in order.
    async fn growing(
        &self,
        tx: &mut Tx,
        table: &'static str,
        count: usize,
    ) -> Result<Vec<i64>, StoreError> {
        debug_assert!(GROWING.contains(&table), "{table}");
        if self.shared.db.is_some() {
            let sql = format!("SELECT nextval('{table}_id_seq') FROM generate_series(1, $1)");
            let rows = tx.all(sql, args![count]).await?;
            return rows.iter().map(|row| row.get(0)).collect();
        }
        let mut ends = self
            .shared
            .growing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let end = ends.iter_mut().find(|(name, _)| *name == table);
        let last = &mut end.expect("a table of those above").1;
        *last += count as i64;
        Ok((*last - count as i64 + 1..=*last).collect())
    }

    /// The id of a new history.
    pub async fn history(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        Ok(self.growing(tx, "history", 1).await?[0])
    }

    /// The id of a new stored workflow.
    pub async fn stored_workflow(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        Ok(self.growing(tx, "stored_workflow", 1).await?[0])
    }

    /// The ids of new revisions.
    pub async fn workflows(&self, tx: &mut Tx, count: usize) -> Result<Vec<i64>, StoreError> {
        self.growing(tx, "workflow", count).await
    }

    /// The ids of new invocations.
    pub async fn invocations(&self, tx: &mut Tx, count: usize) -> Result<Vec<i64>, StoreError> {
        self.growing(tx, "workflow_invocation", count).await
    }

    /// The id of a new user-defined tool.
    pub async fn dynamic_tool(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        Ok(self.growing(tx, "dynamic_tool", 1).await?[0])
    }
}

async fn last_id(db: &Db, table: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT COALESCE(MAX(id), 0) FROM {table}");
    let row = db.reader().maybe(sql, args![]).await?;
    Ok(row.map(|row| row.get(0)).transpose()?.unwrap_or(0))
}

/// A fresh block for each of these tables: their first ids. What was given out must not be given out again after the
/// database's machine lost its power, so this is forced to disk.
async fn fetch_blocks(db: &Db, counters: &[&Counter]) -> Result<Vec<i64>, StoreError> {
    let calls: Vec<String> = counters
        .iter()
        .map(|counter| format!("nextval('{}_id_block')", counter.table))
        .collect();
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let row = tx
        .maybe(format!("SELECT {}", calls.join(", ")), args![])
        .await?;
    // Nobody relies on ids that were not used.
    commits::noted(tx.commit(Durability::Acknowledged, "ids"))
        .await
        .0?;
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    (0..counters.len()).map(|n| row.get(n)).collect()
}

/// Moves PostgreSQL's sequences behind the rows that are there, after rows were written with ids from elsewhere.
pub async fn move_sequences(db: &Db) -> Result<(), StoreError> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    // Sequences that belong to a column `id`: those of identities, and those of blocks.
    let owned = tx
        .all(
            "SELECT s.relname AS sequence, t.relname AS owner, q.seqincrement AS step FROM pg_class s
             JOIN pg_sequence q ON q.seqrelid = s.oid
             JOIN pg_depend d ON d.objid = s.oid AND d.classid = CAST('pg_class' AS regclass) AND d.deptype IN ('a', 'i')
             JOIN pg_class t ON t.oid = d.refobjid
             WHERE s.relkind = 'S' AND s.relnamespace = CAST(current_schema() AS regnamespace)",
            args![],
        )
        .await?;
    for row in &owned {
        let (sequence, table): (&str, &str) = (row.get("sequence")?, row.get("owner")?);
        let step: i64 = row.get("step")?;
        // The first of 1, 1 + step, 1 + 2 step … that is behind every row; never back.
        let sql = format!(
            "SELECT setval('{sequence}', GREATEST(
                (SELECT CASE WHEN is_called THEN last_value + $1 ELSE last_value END FROM {sequence}),
                (SELECT (COALESCE(MAX(id), 0) + $1 - 1) / $1 * $1 + 1 FROM {table})), FALSE)"
        );
        tx.run(sql, args![step]).await?;
    }
    tx.commit(Durability::Acknowledged, "ids").await
}

/// What the invoker gives to the rows it plans.
impl crate::invoker::writes::NewIds for Ids {
    fn hda(&self) -> i64 {
        Ids::hda(self)
    }
    fn dataset(&self) -> i64 {
        Ids::dataset(self)
    }
    fn collection(&self) -> i64 {
        Ids::collection(self)
    }
    fn element(&self) -> i64 {
        Ids::element(self)
    }
    fn hdca(&self) -> i64 {
        Ids::hdca(self)
    }
    fn job(&self) -> i64 {
        Ids::job(self)
    }
    fn implicit_collection_jobs(&self) -> i64 {
        Ids::implicit_collection_jobs(self)
    }
    fn invocation_step(&self) -> i64 {
        Ids::invocation_step(self)
    }
}

ids! {
    dataset => "dataset",
    hda => "history_dataset_association",
    collection => "dataset_collection",
    element => "dataset_collection_element",
    hdca => "history_dataset_collection_association",
    job => "job",
    implicit_collection_jobs => "implicit_collection_jobs",
    workflow_step => "workflow_step",
    workflow_step_input => "workflow_step_input",
    workflow_output => "workflow_output",
    invocation_step => "workflow_invocation_step",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_goes_on_in_its_spare_block_and_asks_for_one_in_time() {
        let counter = Counter {
            block: 4,
            ..Counter::new("dataset")
        };
        counter.replace(1);
        assert_eq!(counter.take(), (1, false));
        assert_eq!(counter.take(), (2, false));
        assert_eq!(counter.take(), (3, true));
        counter.stock().spare = Some(101);
        assert_eq!(counter.take(), (4, false));
        assert_eq!(counter.take(), (101, false));
    }
}
