//! How a database stands.

use super::UpkeepError;
use super::transfer::Counted;
use crate::store::db::{
    self, Access, Applied, DatabaseUrl, Dialect, Kind, SchemaStatus, Session, schema_status,
};

/// What is told of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The URL without a password.
    pub place: String,
    /// Of the database program, such as `PostgreSQL 15.13`.
    pub program: String,
    pub schema: SchemaStatus,
    pub applied: Vec<Applied>,
    pub bytes: u64,
    /// The tables that tell most; none if there are no tables yet.
    pub rows: Vec<Counted>,
}

/// The tables that are counted.
const COUNTED: [&str; 9] = [
    "galaxy_user",
    "history",
    "dataset",
    "stored_workflow",
    "workflow_invocation",
    "workflow_invocation_step",
    "job",
    "history_dataset_association",
    "history_dataset_collection_association",
];

/// Looks without changing anything.
pub async fn status(url: &DatabaseUrl) -> Result<Status, UpkeepError> {
    let schema = schema_status(url).await?;
    let mut session = Session::open(url, Access::Read).await?;
    let (program, size) = match session.dialect() {
        Dialect::Sqlite => (
            "SELECT 'SQLite ' || sqlite_version()",
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        ),
        Dialect::Postgres => (
            "SELECT 'PostgreSQL ' || current_setting('server_version')",
            "SELECT pg_database_size(current_database())",
        ),
    };
    let program = session.query(program, vec![], &[Kind::Text]).await?;
    let size = session.query(size, vec![], &[Kind::Int]).await?;
    let there = session.tables().await?;
    let mut rows = Vec::new();
    for name in COUNTED {
        if there.iter().any(|table| table.name == name) {
            let count = format!("SELECT COUNT(*) FROM {name}");
            let count = session.query(&count, vec![], &[Kind::Int]).await?;
            rows.push(Counted {
                table: name.to_owned(),
                rows: count[0][0].int().unsigned_abs(),
            });
        }
    }
    let status = Status {
        place: session.place().to_owned(),
        program: program[0][0].text().to_owned(),
        schema,
        applied: session.applied().await?,
        bytes: size[0][0].int().unsigned_abs(),
        rows,
    };
    session.close().await;
    Ok(status)
}

/// Brings the tables up to date; what was done: number and name.
pub async fn migrate(url: &DatabaseUrl) -> Result<Vec<(i64, String)>, UpkeepError> {
    let before = schema_status(url).await?;
    db::migrate(url).await?;
    Ok(before.pending)
}
