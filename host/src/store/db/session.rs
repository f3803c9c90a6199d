//! One connection of its own to a database, for its upkeep: whatever tables there are, row by row, in one transaction.
//! Nothing of the server uses it.

use std::fmt;

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Executor as _, Row as _};

use super::Dialect;
use super::error::{StoreError, statement_error};
use super::schema::{self, failure};
use super::url::DatabaseUrl;
use super::{postgres, sqlite};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Bool,
    Real,
    Bytes,
}

impl Kind {
    const ALL: [(Kind, &'static str); 5] = [
        (Kind::Int, "int"),
        (Kind::Text, "text"),
        (Kind::Bool, "bool"),
        (Kind::Real, "real"),
        (Kind::Bytes, "bytes"),
    ];

    /// Its name in backups.
    pub fn name(self) -> &'static str {
        Kind::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    /// From a declaration of either database.
    fn declared(declaration: &str) -> Option<Kind> {
        match declaration.to_ascii_uppercase().as_str() {
            "INTEGER" | "BIGINT" | "SMALLINT" => Some(Kind::Int),
            "TEXT" => Some(Kind::Text),
            "BOOLEAN" => Some(Kind::Bool),
            "REAL" | "DOUBLE PRECISION" => Some(Kind::Real),
            "BLOB" | "BYTEA" => Some(Kind::Bytes),
            _ => None,
        }
    }
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    Null,
    Int(i64),
    Text(String),
    Bool(bool),
    Real(f64),
    Bytes(Vec<u8>),
}

impl Datum {
    /// A whole number, 0 if it is none.
    pub fn int(&self) -> i64 {
        match self {
            Datum::Int(number) => *number,
            _ => 0,
        }
    }

    /// A text, empty if it is none.
    pub fn text(&self) -> &str {
        match self {
            Datum::Text(text) => text,
            _ => "",
        }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Null => f.write_str("null"),
            Datum::Int(v) => write!(f, "{v}"),
            Datum::Text(v) => f.write_str(v),
            Datum::Bool(v) => write!(f, "{v}"),
            Datum::Real(v) => write!(f, "{v}"),
            Datum::Bytes(v) => write!(f, "{} bytes", v.len()),
        }
    }
}

/// A table, as both databases describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// Sorted by name, because the order may differ between the databases.
    pub columns: Vec<(String, Kind)>,
    /// The columns of the primary key, by their place in `columns`.
    pub key: Vec<usize>,
}

/// A migration that was applied, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub version: i64,
    pub name: String,
    pub when: String,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A file must be there.
    Read,
    /// A file is made where it is missing.
    Write,
}

enum Driver {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// See the module.
pub struct Session {
    driver: Driver,
    place: String,
}

/// sqlx's own table.
const MIGRATIONS: &str = "_sqlx_migrations";

impl Session {
    pub async fn open(url: &DatabaseUrl, access: Access) -> Result<Session, StoreError> {
        let place = url.to_string();
        let driver = match url {
            DatabaseUrl::Sqlite(path) => {
                if access == Access::Read && !path.exists() {
                    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                    return Err(failure(&place, "opened")(missing));
                }
                sqlite::make_private(path);
                let connection = sqlite::connect(path).await;
                Driver::Sqlite(connection.map_err(failure(&place, "opened"))?)
            }
            DatabaseUrl::Postgres(url) => {
                let connection = postgres::connect(url).await;
                Driver::Postgres(connection.map_err(failure(&place, "reached"))?)
            }
        };
        Ok(Session { driver, place })
    }

    /// The URL without a password.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn dialect(&self) -> Dialect {
        match self.driver {
            Driver::Sqlite(_) => Dialect::Sqlite,
            Driver::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement without arguments.
    pub async fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        let statement = AssertSqlSafe(sql.to_owned());
        let done = match &mut self.driver {
            Driver::Sqlite(connection) => connection.execute(statement).await.map(drop),
            Driver::Postgres(connection) => connection.execute(statement).await.map(drop),
        };
        done.map_err(|e| statement_error(sql, e))
    }

    /// Rows whose columns are of these kinds.
    pub async fn query(
        &mut self,
        sql: &str,
        args: Vec<Datum>,
        kinds: &[Kind],
    ) -> Result<Vec<Vec<Datum>>, StoreError> {
        let statement = AssertSqlSafe(sql.to_owned());
        let read: Result<Vec<Vec<Datum>>, sqlx::Error> = match &mut self.driver {
            Driver::Sqlite(connection) => {
                let query = sqlx::query_with(statement, bind_sqlite(args));
                match query.fetch_all(connection).await {
                    Ok(rows) => rows.iter().map(|row| of_sqlite(row, kinds)).collect(),
                    Err(e) => Err(e),
                }
            }
            Driver::Postgres(connection) => {
                let query = sqlx::query_with(statement, bind_postgres(args));
                match query.fetch_all(connection).await {
                    Ok(rows) => rows.iter().map(|row| of_postgres(row, kinds)).collect(),
                    Err(e) => Err(e),
                }
            }
        };
        read.map_err(|e| statement_error(sql, e))
    }

    /// From here on everything is read as it is at this moment, whatever others commit.
    pub async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        match self.dialect() {
            Dialect::Sqlite => {
                self.execute("BEGIN").await?;
                // The moment is that of the first look.
                self.query("SELECT COUNT(*) FROM sqlite_schema", vec![], &[Kind::Int])
                    .await
                    .map(drop)
            }
            Dialect::Postgres => {
                self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await
            }
        }
    }

    /// The migrations that were applied, in order.
    pub async fn applied(&mut self) -> Result<Vec<Applied>, StoreError> {
        let there = match self.dialect() {
            Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'",
            Dialect::Postgres => {
                "SELECT CAST(CASE WHEN to_regclass('_sqlx_migrations') IS NULL THEN 0 ELSE 1 END AS BIGINT)"
            }
        };
        let there = self.query(there, vec![], &[Kind::Int]).await?;
        if there[0][0].int() == 0 {
            return Ok(Vec::new());
        }
        let sql = "SELECT version, description, CAST(installed_on AS TEXT) FROM _sqlx_migrations \
                   WHERE success ORDER BY version";
        let rows = self.query(sql, vec![], &[Kind::Int, Kind::Text, Kind::Text]);
        let applied = |row: Vec<Datum>| Applied {
            version: row[0].int(),
            name: row[1].text().to_owned(),
            when: row[2].text().to_owned(),
        };
        Ok(rows.await?.into_iter().map(applied).collect())
    }

    /// Applies the migrations up to a version.
    pub async fn migrate_to(&mut self, version: i64) -> Result<(), StoreError> {
        match &mut self.driver {
            Driver::Sqlite(connection) => schema::sqlite_to(connection, version, &self.place).await,
            Driver::Postgres(connection) => {
                schema::postgres_to(connection, version, &self.place).await
            }
        }
    }

    /// All tables but sqlx's own, by name.
    pub async fn tables(&mut self) -> Result<Vec<Table>, StoreError> {
        let sql = match self.dialect() {
            Dialect::Sqlite => {
                "SELECT m.name, c.name, c.type, c.pk FROM sqlite_schema m, pragma_table_info(m.name) c
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, c.name"
            }
            Dialect::Postgres => {
                "SELECT CAST(t.relname AS TEXT), CAST(a.attname AS TEXT), format_type(a.atttypid, NULL),
                        CAST(COALESCE(array_position(k.conkey, a.attnum), 0) AS BIGINT)
                 FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
                 LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
                 WHERE t.relkind = 'r' AND t.relnamespace = CAST(current_schema() AS regnamespace)
                 ORDER BY t.relname COLLATE \"C\", a.attname COLLATE \"C\""
            }
        };
        let kinds = [Kind::Text, Kind::Text, Kind::Text, Kind::Int];
        let mut tables: Vec<Table> = Vec::new();
        let mut keys: Vec<Vec<(i64, usize)>> = Vec::new();
        for row in self.query(sql, vec![], &kinds).await? {
            let (name, column, declared) = (row[0].text(), row[1].text(), row[2].text());
            if name == MIGRATIONS {
                continue;
            }
            let kind = Kind::declared(declared).ok_or_else(|| StoreError::Unknown {
                what: "a column of the type",
                value: format!("{declared} ({name}.{column})"),
            })?;
            if tables.last().is_none_or(|table| table.name != name) {
                tables.push(Table {
                    name: name.to_owned(),
                    columns: Vec::new(),
                    key: Vec::new(),
                });
                keys.push(Vec::new());
            }
            if let (Some(table), Some(key)) = (tables.last_mut(), keys.last_mut()) {
                if row[3].int() > 0 {
                    key.push((row[3].int(), table.columns.len()));
                }
                table.columns.push((column.to_owned(), kind));
            }
        }
        for (table, mut key) in tables.iter_mut().zip(keys) {
            key.sort_unstable();
            table.key = key.into_iter().map(|(_, place)| place).collect();
        }
        Ok(tables)
    }

    /// The next rows of a table in the order of its key, after this one.
    pub async fn rows_after(
        &mut self,
        table: &Table,
        after: Option<&Vec<Datum>>,
        limit: usize,
    ) -> Result<Vec<Vec<Datum>>, StoreError> {
        let key = names(table.key.iter().map(|place| &table.columns[*place].0));
        let mut sql = format!(
            "SELECT {} FROM \"{}\"",
            names(table.columns.iter().map(|(name, _)| name)),
            table.name
        );
        let mut args = Vec::new();
        if let Some(row) = after {
            args.extend(table.key.iter().map(|place| row[*place].clone()));
            let numbers: Vec<String> = (1..=args.len()).map(|n| format!("${n}")).collect();
            sql.push_str(&format!(" WHERE ({key}) > ({})", numbers.join(", ")));
        }
        sql.push_str(&format!(" ORDER BY {key} LIMIT {limit}"));
        let kinds: Vec<Kind> = table.columns.iter().map(|(_, kind)| *kind).collect();
        self.query(&sql, args, &kinds).await
    }

    /// Adds rows to a table.
    pub async fn load(&mut self, table: &Table, rows: &[Vec<Datum>]) -> Result<(), StoreError> {
        let columns = names(table.columns.iter().map(|(name, _)| name));
        match &mut self.driver {
            Driver::Sqlite(connection) => {
                let in_one = (SQLITE_ARGUMENTS / table.columns.len().max(1)).clamp(1, 100);
                for rows in rows.chunks(in_one) {
                    let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
                    let sql = format!(
                        "INSERT INTO \"{}\" ({columns}) VALUES {}",
                        table.name,
                        vec![row; rows.len()].join(", ")
                    );
                    let args = bind_sqlite(rows.iter().flatten().cloned().collect());
                    let query = sqlx::query_with(AssertSqlSafe(sql.clone()), args);
                    let done = query.execute(&mut *connection).await;
                    done.map_err(|e| statement_error(&sql, e))?;
                }
                Ok(())
            }
            Driver::Postgres(connection) => {
                let sql = format!("COPY \"{}\" ({columns}) FROM STDIN", table.name);
                let mut lines = String::new();
                for row in rows {
                    copy_line(&mut lines, row);
                }
                let copied = async {
                    let mut copy = connection.copy_in_raw(&sql).await?;
                    copy.send(lines.into_bytes()).await?;
                    copy.finish().await
                };
                copied.await.map(drop).map_err(|e| statement_error(&sql, e))
            }
        }
    }

    pub async fn close(self) {
        let _ = match self.driver {
            Driver::Sqlite(connection) => connection.close().await,
            Driver::Postgres(connection) => connection.close().await,
        };
    }
}

/// SQLite takes so many arguments of a statement.
const SQLITE_ARGUMENTS: usize = 32_000;

/// `"a", "b"`.
fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

macro_rules! bind {
    ($bind:ident, $arguments:ty) => {
        fn $bind(args: Vec<Datum>) -> $arguments {
            let mut bound = <$arguments>::default();
            for value in args {
                let added = match value {
                    Datum::Null => bound.add(None::<i64>),
                    Datum::Int(v) => bound.add(v),
                    Datum::Text(v) => bound.add(v),
                    Datum::Bool(v) => bound.add(v),
                    Datum::Real(v) => bound.add(v),
                    Datum::Bytes(v) => bound.add(v),
                };
                added.expect("encoding plain values cannot fail");
            }
            bound
        }
    };
}
bind!(bind_sqlite, SqliteArguments);
bind!(bind_postgres, PgArguments);

macro_rules! of_row {
    ($of:ident, $row:ty) => {
        fn $of(row: &$row, kinds: &[Kind]) -> Result<Vec<Datum>, sqlx::Error> {
            let value = |(n, kind): (usize, &Kind)| {
                let value = match kind {
                    Kind::Int => row.try_get::<Option<i64>, _>(n)?.map(Datum::Int),
                    Kind::Text => row.try_get::<Option<String>, _>(n)?.map(Datum::Text),
                    Kind::Bool => row.try_get::<Option<bool>, _>(n)?.map(Datum::Bool),
                    Kind::Real => row.try_get::<Option<f64>, _>(n)?.map(Datum::Real),
                    Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(n)?.map(Datum::Bytes),
                };
                Ok(value.unwrap_or(Datum::Null))
            };
            kinds.iter().enumerate().map(value).collect()
        }
    };
}
of_row!(of_sqlite, SqliteRow);
// Whole numbers are BIGINT everywhere: a test holds the migrations to it.
of_row!(of_postgres, PgRow);

/// A line as PostgreSQL's COPY reads it.
fn copy_line(line: &mut String, row: &[Datum]) {
    use fmt::Write as _;
    for (n, value) in row.iter().enumerate() {
        if n > 0 {
            line.push('\t');
        }
        match value {
            Datum::Null => line.push_str("\\N"),
            Datum::Text(text) => {
                for c in text.chars() {
                    match c {
                        '\\' => line.push_str("\\\\"),
                        '\n' => line.push_str("\\n"),
                        '\r' => line.push_str("\\r"),
                        '\t' => line.push_str("\\t"),
                        '\0' => line.push(NO_NUL),
                        c => line.push(c),
                    }
                }
            }
            Datum::Bytes(bytes) => {
                let _ = write!(line, "\\\\x{}", hex::encode(bytes));
            }
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line.push('\n');
}

/// PostgreSQL's texts hold every character but NUL.
const NO_NUL: char = '\u{fffd}';

impl Datum {
    /// As this database can hold it.
    pub fn storable(&mut self, dialect: Dialect) {
        if let (Datum::Text(text), Dialect::Postgres) = (self, dialect)
            && text.contains('\0')
        {
            *text = text.replace('\0', &NO_NUL.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_copy_keeps_every_character() {
        let mut line = String::new();
        let row = [
            Datum::Int(-7),
            Datum::Null,
            Datum::Text("a\tb\\N\nc\rd".into()),
            Datum::Bool(true),
            Datum::Bytes(vec![0, 255]),
            Datum::Text(String::new()),
        ];
        copy_line(&mut line, &row);
        assert_eq!(line, "-7\t\\N\ta\\tb\\\\N\\nc\\rd\ttrue\t\\\\x00ff\t\n");
    }

    #[tokio::test]
    async fn every_table_has_a_key_and_columns_that_can_be_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("db"));
        schema::migrate(&url).await.expect("a new database");
        let mut session = Session::open(&url, Access::Read).await.expect("opens");
        let tables = session.tables().await.expect("tables");
        assert!(tables.len() > 30);
        for table in &tables {
            assert!(!table.key.is_empty(), "{} has no key", table.name);
        }
        let job = tables.iter().find(|t| t.name == "job_parameter");
        let job = job.expect("a table");
        let key: Vec<&str> = job.key.iter().map(|n| job.columns[*n].0.as_str()).collect();
        assert_eq!(key, ["job_id", "name"]);
    }
}
