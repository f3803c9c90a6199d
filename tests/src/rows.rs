//! The database from outside, to see that a refusal left nothing behind.

use std::collections::BTreeMap;
use std::path::Path;

use barycenter::args;
use barycenter::store::{Query as _, Store};

/// How many rows each table has, while the server runs.
pub fn counts(data_dir: &Path) -> BTreeMap<String, i64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::open_sqlite(&data_dir.join("barycenter.sqlite"))
            .await
            .expect("the database opens");
        let mut reader = store.reader();
        let tables = reader
            .all(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                args![],
            )
            .await
            .expect("the tables are listed");
        let mut counts = BTreeMap::new();
        for table in tables {
            let table: String = table.get(0).expect("a name");
            let rows = reader
                .all(format!("SELECT COUNT(*) FROM \"{table}\""), args![])
                .await
                .expect("the rows are counted");
            counts.insert(table, rows[0].get(0).expect("a number"));
        }
        counts
    })
}
