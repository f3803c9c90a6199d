//! The database from outside, to see that a refusal left nothing behind.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use crate::database::{Database, on_runtime};

/// How many rows each table has, while the server runs.
pub fn counts(database: &Database) -> BTreeMap<String, i64> {
    on_runtime(async {
        match database.url.starts_with("sqlite:") {
            true => sqlite(&database.url).await,
            false => postgres(&database.url).await,
        }
    })
    .expect("the rows are counted")
}

macro_rules! count {
    ($connection:ty, $url:expr, $tables:literal) => {{
        let mut connection = <$connection>::connect($url).await?;
        let mut counts = BTreeMap::new();
        for table in sqlx::query($tables).fetch_all(&mut connection).await? {
            let table: String = table.try_get(0)?;
            let count = format!("SELECT COUNT(*) FROM \"{table}\"");
            let row = sqlx::query(AssertSqlSafe(count))
                .fetch_one(&mut connection)
                .await?;
            counts.insert(table, row.try_get(0)?);
        }
        connection.close().await?;
        Ok(counts)
    }};
}

async fn sqlite(url: &str) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    count!(
        SqliteConnection,
        url,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
}

async fn postgres(url: &str) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    count!(
        PgConnection,
        url,
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
    )
}

/// What a statement finds, each value as text: cast what is none.
pub fn read(database: &Database, sql: &str) -> Vec<Vec<String>> {
    macro_rules! rows {
        ($connection:ty) => {
            async {
                let mut connection = <$connection>::connect(&database.url).await?;
                let mut found = Vec::new();
                for row in sqlx::query(AssertSqlSafe(sql.to_owned()))
                    .fetch_all(&mut connection)
                    .await?
                {
                    let values = (0..row.len()).map(|at| row.try_get::<String, _>(at));
                    found.push(values.collect::<Result<Vec<_>, sqlx::Error>>()?);
                }
                connection.close().await?;
                Ok::<_, sqlx::Error>(found)
            }
        };
    }
    on_runtime(async {
        match database.url.starts_with("sqlite:") {
            true => rows!(SqliteConnection).await,
            false => rows!(PgConnection).await,
        }
    })
    .expect("the rows are read")
}
