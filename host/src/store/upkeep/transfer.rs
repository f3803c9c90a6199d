//! From a source, a database or a backup, into an empty database: in one transaction, compared row by row before it is
//! committed.

use std::collections::BTreeSet;
use std::path::Path;

use super::archive::Archive;
use super::{Progress, UpkeepError};
use crate::store::db::{
    Access, DatabaseUrl, Datum, Dialect, Kind, Session, StoreError, Table, known_versions, migrate,
};

/// Rows that are read and written at a time.
pub(super) const BATCH: usize = 1_000;

/// Where rows come from. Its tables are asked for in their order, each from its beginning to its end.
pub(super) trait Source: Send {
    fn place(&self) -> String;
    /// The migrations that made the tables.
    fn versions(&self) -> &[i64];
    fn tables(&self) -> &[Table];
    /// The next rows of a table, after the last one that was given; none at its end.
    fn batch(
        &mut self,
        table: &Table,
        after: Option<&Vec<Datum>>,
    ) -> impl Future<Output = Result<Vec<Vec<Datum>>, UpkeepError>> + Send;
}

/// What a database held at one moment.
pub(super) struct Snapshot {
    pub session: Session,
    versions: Vec<i64>,
    tables: Vec<Table>,
}

impl Snapshot {
    pub async fn take(url: &DatabaseUrl) -> Result<Snapshot, UpkeepError> {
        let mut session = Session::open(url, Access::Read).await?;
        session.begin_snapshot().await?;
        let applied = session.applied().await?;
        let tables = session.tables().await?;
        if applied.is_empty() {
            return Err(UpkeepError::refused(format!(
                "{} holds nothing of Barycenter's.",
                session.place()
            )));
        }
        if let Some(table) = tables.iter().find(|table| table.key.is_empty()) {
            return Err(UpkeepError::refused(format!(
                "The table {} of {} has no primary key, so it is not one of Barycenter's; remove it or move it elsewhere.",
                table.name,
                session.place()
            )));
        }
        Ok(Snapshot {
            session,
            versions: applied.iter().map(|one| one.version).collect(),
            tables,
        })
    }
}

impl Source for Snapshot {
    fn place(&self) -> String {
        self.session.place().to_owned()
    }

    fn versions(&self) -> &[i64] {
        &self.versions
    }

    fn tables(&self) -> &[Table] {
        &self.tables
    }

    async fn batch(
        &mut self,
        table: &Table,
        after: Option<&Vec<Datum>>,
    ) -> Result<Vec<Vec<Datum>>, UpkeepError> {
        Ok(self.session.rows_after(table, after, BATCH).await?)
    }
}

/// How many rows a table got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub table: String,
    pub rows: u64,
}

/// Copies what `from` holds at this moment into the empty database `to`.
pub async fn copy(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    progress: Progress<'_>,
) -> Result<Vec<Counted>, UpkeepError> {
    let mut source = Snapshot::take(from).await?;
    let mut target = empty_target(to, &source).await?;
    let counted = fill(&mut target, &mut source, progress).await?;
    // The snapshot still stands: the same rows are read once more.
    finish(target, &mut source, to, progress).await?;
    source.session.close().await;
    Ok(counted)
}

/// Fills the empty database `to` from a backup.
pub async fn restore(
    file: &Path,
    to: &DatabaseUrl,
    progress: Progress<'_>,
) -> Result<Vec<Counted>, UpkeepError> {
    // Once to its end, so that a damaged one does not get near a database.
    Archive::open(file)?.read_through()?;
    let mut source = Archive::open(file)?;
    let mut target = empty_target(to, &source).await?;
    let counted = fill(&mut target, &mut source, progress).await?;
    finish(target, &mut Archive::open(file)?, to, progress).await?;
    Ok(counted)
}

/// The target with the source's tables and no rows.
async fn empty_target(to: &DatabaseUrl, source: &impl Source) -> Result<Session, UpkeepError> {
    let known = known_versions();
    let newest = source.versions().iter().copied().max().unwrap_or(0);
    let expected: Vec<i64> = known.iter().copied().filter(|v| *v <= newest).collect();
    if source.versions() != expected {
        return Err(UpkeepError::refused(format!(
            "{} has tables of version {newest}, which this program does not know (it knows {}); use the program that wrote it.",
            source.place(),
            known.last().unwrap_or(&0)
        )));
    }
    let mut target = Session::open(to, Access::Write).await?;
    let mut before = 0;
    for table in target.tables().await? {
        let some = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM \"{}\" LIMIT 1) t",
            table.name
        );
        before += target.query(&some, vec![], &[Kind::Int]).await?[0][0].int();
    }
    let applied = target.applied().await?;
    if before > 0 || applied.iter().any(|one| one.version > newest) {
        return Err(UpkeepError::refused(format!(
            "{} is not empty; give a new file, or a database without tables.",
            target.place()
        )));
    }
    target.migrate_to(newest).await?;
    let tables = target.tables().await?;
    if let Some(what) = difference(source.tables(), &tables) {
        return Err(UpkeepError::refused(format!(
            "{} and {} do not have the same tables: {what}.",
            source.place(),
            target.place()
        )));
    }
    Ok(target)
}

/// In what two lists of tables differ first.
fn difference(source: &[Table], target: &[Table]) -> Option<String> {
    let names = |tables: &[Table]| -> BTreeSet<String> {
        tables.iter().map(|table| table.name.clone()).collect()
    };
    if let Some(name) = names(source).symmetric_difference(&names(target)).next() {
        return Some(format!("{name} is in one of them only"));
    }
    source
        .iter()
        .zip(target)
        .find(|(one, other)| one != other)
        .map(|(one, _)| format!("{} has other columns", one.name))
}

/// What was taken off PostgreSQL's tables, to be put back.
struct Reference {
    table: String,
    name: String,
    definition: String,
}

/// Everything that stands between rows and their tables, taken away within a transaction that ends in [`finish`].
async fn begin(target: &mut Session) -> Result<Vec<Reference>, StoreError> {
    if target.dialect() == Dialect::Sqlite {
        target.execute("PRAGMA foreign_keys = OFF").await?;
        target.execute("BEGIN IMMEDIATE").await?;
        return Ok(Vec::new());
    }
    target.execute("BEGIN").await?;
    let references = references(target).await?;
    for one in &references {
        let sql = format!("ALTER TABLE {} DROP CONSTRAINT \"{}\"", one.table, one.name);
        target.execute(&sql).await?;
    }
    Ok(references)
}

async fn references(target: &mut Session) -> Result<Vec<Reference>, StoreError> {
    let sql = "SELECT CAST(CAST(conrelid AS regclass) AS TEXT), CAST(conname AS TEXT), pg_get_constraintdef(oid)
         FROM pg_constraint
         WHERE contype = 'f' AND connamespace = CAST(current_schema() AS regnamespace) ORDER BY 1, 2";
    let rows = target.query(sql, vec![], &[Kind::Text; 3]).await?;
    let reference = |row: Vec<Datum>| Reference {
        table: row[0].text().to_owned(),
        name: row[1].text().to_owned(),
        definition: row[2].text().to_owned(),
    };
    Ok(rows.into_iter().map(reference).collect())
}

/// Writes every row. The transaction stays open.
async fn fill(
    target: &mut Session,
    source: &mut impl Source,
    progress: Progress<'_>,
) -> Result<Vec<Counted>, UpkeepError> {
    let references = begin(target).await?;
    let mut counted = Vec::new();
    for table in source.tables().to_vec() {
        // What migrations themselves have written comes from the source, too.
        let empty = format!("DELETE FROM \"{}\"", table.name);
        target.execute(&empty).await?;
        let (mut rows, mut last) = (0, None);
        loop {
            let batch = source.batch(&table, last.as_ref()).await?;
            if batch.is_empty() {
                break;
            }
            target.load(&table, &batch).await?;
            rows += batch.len() as u64;
            last = batch.into_iter().next_back();
            progress(&table.name, rows);
        }
        counted.push(Counted {
            table: table.name,
            rows,
        });
    }
    // Putting the references back looks at every one of them.
    for one in references {
        let (table, name, definition) = (one.table, one.name, one.definition);
        let sql = format!("ALTER TABLE {table} ADD CONSTRAINT \"{name}\" {definition}");
        target.execute(&sql).await?;
    }
    match target.dialect() {
        Dialect::Sqlite => {
            let kinds = [Kind::Text, Kind::Int, Kind::Text, Kind::Int];
            let broken = target.query("PRAGMA foreign_key_check", vec![], &kinds);
            if let Some(row) = broken.await?.first() {
                return Err(UpkeepError::Differs {
                    place: target.place().to_owned(),
                    what: format!(
                        "row {} of {} names a row of {} that is not there",
                        row[1], row[0], row[2]
                    ),
                });
            }
        }
        Dialect::Postgres => set_sequences(target).await?,
    }
    Ok(counted)
}

/// The next number of every sequence is behind the last one that is used.
async fn set_sequences(target: &mut Session) -> Result<(), StoreError> {
    let sql = "SELECT CAST(CAST(s.oid AS regclass) AS TEXT), CAST(CAST(d.refobjid AS regclass) AS TEXT), CAST(a.attname AS TEXT)
         FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i')
         JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE s.relkind = 'S' AND s.relnamespace = CAST(current_schema() AS regnamespace)";
    for row in target.query(sql, vec![], &[Kind::Text; 3]).await? {
        let (sequence, table, column) = (row[0].text(), row[1].text(), row[2].text());
        let set = format!(
            "SELECT setval('{sequence}', COALESCE(MAX(\"{column}\"), 0) + 1, false) FROM {table}"
        );
        target.query(&set, vec![], &[Kind::Int]).await?;
    }
    Ok(())
}

/// Compares, commits, and brings the tables up to date.
async fn finish(
    mut target: Session,
    source: &mut impl Source,
    to: &DatabaseUrl,
    progress: Progress<'_>,
) -> Result<(), UpkeepError> {
    if let Err(error) = compare(&mut target, source, progress).await {
        let _ = target.execute("ROLLBACK").await;
        return Err(error);
    }
    target.execute("COMMIT").await?;
    // So that the first plans are good ones.
    target.execute("ANALYZE").await?;
    target.close().await;
    migrate(to).await?;
    Ok(())
}

/// Whether a database holds the source's rows: each of them, and no other.
pub(super) async fn compare(
    target: &mut Session,
    source: &mut impl Source,
    progress: Progress<'_>,
) -> Result<(), UpkeepError> {
    let dialect = target.dialect();
    for table in source.tables().to_vec() {
        let (mut rows, mut last): (u64, Option<Vec<Datum>>) = (0, None);
        loop {
            let mut wanted = source.batch(&table, last.as_ref()).await?;
            for value in wanted.iter_mut().flatten() {
                value.storable(dialect);
            }
            let found = target.rows_after(&table, last.as_ref(), BATCH).await?;
            if let Some(place) = first_difference(&wanted, &found) {
                let row = wanted.get(place).or(found.get(place));
                let key = row.map(|row| key_of(&table, row)).unwrap_or_default();
                return Err(UpkeepError::Differs {
                    place: target.place().to_owned(),
                    what: format!("the row {key} of {} differs", table.name),
                });
            }
            if wanted.is_empty() {
                break;
            }
            rows += wanted.len() as u64;
            progress(&table.name, rows);
            last = wanted.into_iter().next_back();
        }
    }
    Ok(())
}

fn first_difference(one: &[Vec<Datum>], other: &[Vec<Datum>]) -> Option<usize> {
    let longest = one.len().max(other.len());
    (0..longest).find(|place| one.get(*place) != other.get(*place))
}

fn key_of(table: &Table, row: &[Datum]) -> String {
    let values: Vec<String> = table.key.iter().map(|n| row[*n].to_string()).collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_an_additional_and_a_changed_row_are_differences() {
        let row = |n: i64, text: &str| vec![Datum::Int(n), Datum::Text(text.into())];
        let rows = [row(1, "a"), row(2, "b")];
        assert_eq!(first_difference(&rows, &rows), None);
        assert_eq!(first_difference(&rows, &rows[..1]), Some(1));
        assert_eq!(first_difference(&rows[..1], &rows), Some(1));
        assert_eq!(
            first_difference(&rows, &[row(1, "a"), row(2, "c")]),
            Some(1)
        );
        assert_eq!(
            first_difference(&rows, &[row(3, "a"), row(2, "b")]),
            Some(0)
        );
    }

    #[test]
    fn tables_that_differ_are_named() {
        let table = |name: &str, column: &str| Table {
            name: name.into(),
            columns: vec![(column.into(), Kind::Int)],
            key: vec![0],
        };
        let (a, b) = (table("a", "id"), table("b", "id"));
        let both = [a.clone(), b.clone()];
        assert_eq!(difference(&both, &both), None);
        let told = difference(&both, &both[..1]).expect("b is missing");
        assert!(told.contains('b'), "{told}");
        let told = difference(&both, &[a, table("b", "other")]).expect("another column");
        assert!(told.contains("b has other columns"), "{told}");
    }
}
