//! Rows of answers, whichever driver they come from.

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use super::error::StoreError;

/// One row of an answer.
pub struct Row(pub(super) Driven);

/// A row of one of the drivers.
pub(super) enum Driven {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, by name or position.
    pub fn get<'r, T: Cell<'r>>(&'r self, column: impl Column) -> Result<T, StoreError> {
        let key = column.key();
        let found = match &self.0 {
            Driven::Sqlite(row) => T::of_sqlite(row, &key),
            Driven::Postgres(row) => T::of_postgres(row, &key),
        };
        found.map_err(|source| StoreError::Column {
            column: key.to_string(),
            source: Arc::new(source),
        })
    }

    /// A column of JSON text; null where the column is null or not JSON.
    pub fn json(&self, column: impl Column) -> Result<serde_json::Value, StoreError> {
        let text: Option<&str> = self.get(column)?;
        Ok(text
            .and_then(|t| serde_json::from_str(t).ok())
            .unwrap_or(serde_json::Value::Null))
    }
}

/// What a column can be read as.
pub trait Cell<'r>: Sized {
    #[doc(hidden)]
    fn of_sqlite(row: &'r SqliteRow, key: &Key<'_>) -> Result<Self, sqlx::Error>;
    #[doc(hidden)]
    fn of_postgres(row: &'r PgRow, key: &Key<'_>) -> Result<Self, sqlx::Error>;
}

macro_rules! by_key {
    ($row:expr, $key:expr, $get:ident) => {
        match $key {
            Key::Name(name) => $row.$get(*name),
            Key::Index(index) => $row.$get(*index),
        }
    };
}

macro_rules! cells {
    ($($t:ty => $read:ident),+ $(,)?) => { $(
        impl<'r> Cell<'r> for $t {
            fn of_sqlite(row: &'r SqliteRow, key: &Key<'_>) -> Result<$t, sqlx::Error> {
                by_key!(row, key, try_get)
            }
            fn of_postgres(row: &'r PgRow, key: &Key<'_>) -> Result<$t, sqlx::Error> {
                <Option<$t>>::of_postgres(row, key)?.ok_or_else(|| null(key))
            }
        }
        impl<'r> Cell<'r> for Option<$t> {
            fn of_sqlite(row: &'r SqliteRow, key: &Key<'_>) -> Result<Option<$t>, sqlx::Error> {
                by_key!(row, key, try_get)
            }
            fn of_postgres(row: &'r PgRow, key: &Key<'_>) -> Result<Option<$t>, sqlx::Error> {
                $read(row, key)
            }
        }
    )+ };
}

cells! { i64 => number, i32 => small_number, bool => flag, String => text, &'r str => text }

fn null(key: &Key<'_>) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: key.to_string(),
        source: Box::new(sqlx::error::UnexpectedNullError),
    }
}

/// What PostgreSQL calls the type of a value; None for null.
fn type_of(row: &PgRow, key: &Key<'_>) -> Result<Option<String>, sqlx::Error> {
    let value = by_key!(row, key, try_get_raw)?;
    Ok((!value.is_null()).then(|| value.type_info().name().to_owned()))
}

/// Any integer type: literals and counts have their own.
fn number(row: &PgRow, key: &Key<'_>) -> Result<Option<i64>, sqlx::Error> {
    let value = by_key!(row, key, try_get_raw)?;
    if value.is_null() {
        return Ok(None);
    }
    match value.type_info().name() {
        "INT8" | "INT4" | "INT2" => by_key!(row, key, try_get_unchecked),
        // Says in its error what it found.
        _ => by_key!(row, key, try_get),
    }
}

fn small_number(row: &PgRow, key: &Key<'_>) -> Result<Option<i32>, sqlx::Error> {
    let wide = number(row, key)?;
    wide.map(i32::try_from)
        .transpose()
        .map_err(|e| sqlx::Error::ColumnDecode {
            index: key.to_string(),
            source: Box::new(e),
        })
}

/// A boolean, or a number as SQLite has it.
fn flag(row: &PgRow, key: &Key<'_>) -> Result<Option<bool>, sqlx::Error> {
    match type_of(row, key)?.as_deref() {
        Some("INT8" | "INT4" | "INT2") => Ok(number(row, key)?.map(|n| n != 0)),
        _ => by_key!(row, key, try_get),
    }
}

fn text<'r, T>(row: &'r PgRow, key: &Key<'_>) -> Result<Option<T>, sqlx::Error>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    by_key!(row, key, try_get)
}

/// A column's name or position.
pub trait Column: Copy {
    fn key(&self) -> Key<'_>;
}
/// See [`Column`].
pub enum Key<'a> {
    Name(&'a str),
    Index(usize),
}
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Name(name) => write!(f, "{name:?}"),
            Key::Index(index) => write!(f, "{index}"),
        }
    }
}
impl Column for &str {
    fn key(&self) -> Key<'_> {
        Key::Name(self)
    }
}
impl Column for usize {
    fn key(&self) -> Key<'_> {
        Key::Index(*self)
    }
}
