//! Filters and orders of lists, as clients write them (`q=name-contains&qv=abc`, `order=hid-asc`), turned into SQL.
//! Columns and operators come from tables in the code; what the client sent is only ever an argument.

use super::db::{Val, containing, like, pattern};

/// What a list may be filtered and ordered by.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    /// The SQL expression.
    pub column: &'static str,
    pub kind: Kind,
}

/// How the values of a field compare.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    /// Text that is one of a known set; the function says whether a value is.
    Choice(fn(&str) -> bool),
    Number,
    Flag,
    /// An instant; read by the function that the caller gives to [`Filter::add`].
    Time,
    /// A JSON list of texts: equality means that it holds the value.
    Tags,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("There is no filter {0:?} here.")]
    UnknownField(String),
    #[error("The filter {field} does not take the operator {operator:?}.")]
    UnknownOperator { field: String, operator: String },
    #[error("{value:?} is not a value that {field} can have.")]
    BadValue { field: String, value: String },
    #[error("There is no order {0:?} here; write for example create_time-dsc.")]
    UnknownOrder(String),
}

/// How values are read that the store does not know the form of.
pub struct Readers {
    pub time: fn(&str) -> Option<i64>,
    pub flag: fn(&str) -> Option<bool>,
}

/// Conditions joined by AND, with their arguments.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    sql: String,
    args: Vec<Val>,
}

/// A value list (`state-in`) is not longer than this.
const VALUES_MAX: usize = 500;

impl Filter {
    /// Adds a condition written in the code, its arguments standing as `?`.
    pub fn and(&mut self, condition: &str, args: Vec<Val>) -> &mut Filter {
        let mut parts = condition.split('?');
        self.sql.push_str(" AND ");
        self.sql.push_str(parts.next().unwrap_or(""));
        for (part, arg) in parts.zip(args) {
            self.args.push(arg);
            self.sql.push_str(&format!("${}{part}", self.args.len()));
        }
        self
    }

    /// Adds what a client wrote: `name`, `name-contains`, `hid-ge` … with its value.
    pub fn add(
        &mut self,
        fields: &[Field],
        key: &str,
        value: &str,
        readers: &Readers,
    ) -> Result<(), FilterError> {
        let (name, operator) = key.split_once('-').unwrap_or((key, "eq"));
        let field = fields
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| FilterError::UnknownField(clip(name)))?;
        let column = field.column;
        let unknown_operator = || FilterError::UnknownOperator {
            field: name.to_owned(),
            operator: clip(operator),
        };
        let read = |value: &str| {
            read_value(field.kind, value, readers).ok_or_else(|| FilterError::BadValue {
                field: name.to_owned(),
                value: clip(value),
            })
        };
        match (field.kind, operator) {
            (Kind::Tags, "eq" | "contains" | "like") => {
                let needle = serde_json::Value::from(value).to_string();
                self.and(
                    &format!("replace({column}, ?, '') <> {column}"),
                    vec![Val::from(needle)],
                );
            }
            (_, "eq") => {
                self.and(&format!("{column} = ?"), vec![read(value)?]);
            }
            (Kind::Text | Kind::Choice(_) | Kind::Number, "in") => {
                let values: Vec<Val> = value
                    .split(',')
                    .take(VALUES_MAX)
                    .map(|v| read(v.trim()))
                    .collect::<Result<_, _>>()?;
                let marks = vec!["?"; values.len()].join(", ");
                self.and(&format!("{column} IN ({marks})"), values);
            }
            (Kind::Text, "contains") => {
                self.and(&like(column, "?"), vec![Val::from(containing(value))]);
            }
            (Kind::Text, "like") => {
                self.and(&like(column, "?"), vec![Val::from(pattern(value))]);
            }
            (Kind::Number | Kind::Time, "ge" | "le" | "gt" | "lt") => {
                let sign = match operator {
                    "ge" => ">=",
                    "le" => "<=",
                    "gt" => ">",
                    _ => "<",
                };
                self.and(&format!("{column} {sign} ?"), vec![read(value)?]);
            }
            _ => return Err(unknown_operator()),
        }
        Ok(())
    }

    /// ` AND … AND …`, to follow `WHERE TRUE`.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The arguments, `$1` first.
    pub fn args(&self) -> Vec<Val> {
        self.args.clone()
    }

    /// The arguments and some more behind them.
    pub fn args_and(&self, more: Vec<Val>) -> Vec<Val> {
        let mut args = self.args.clone();
        args.extend(more);
        args
    }

    /// The number of the `n`th argument (from 1) behind the filter's own.
    pub fn next(&self, n: usize) -> usize {
        self.args.len() + n
    }
}

/// `ORDER BY` for `hid-asc`, `create_time-dsc`, several joined by commas. `tie` makes the order total.
pub fn order_by(fields: &[Field], text: &str, tie: &str) -> Result<String, FilterError> {
    let mut sql = String::from(" ORDER BY ");
    let mut last = "DESC";
    for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let unknown = || FilterError::UnknownOrder(clip(item));
        let (name, direction) = item.split_once('-').unwrap_or((item, "asc"));
        let field = fields.iter().find(|f| f.name == name).ok_or_else(unknown)?;
        last = match direction {
            "asc" => "ASC",
            "dsc" | "desc" => "DESC",
            _ => return Err(unknown()),
        };
        sql.push_str(&format!("{} {last}, ", field.column));
    }
    sql.push_str(&format!("{tie} {last}"));
    Ok(sql)
}

fn read_value(kind: Kind, value: &str, readers: &Readers) -> Option<Val> {
    match kind {
        Kind::Text | Kind::Tags => Some(Val::from(value)),
        Kind::Choice(is_one) => is_one(value).then(|| Val::from(value)),
        Kind::Number => value.parse::<i64>().ok().map(Val::from),
        Kind::Flag => (readers.flag)(value).map(Val::from),
        Kind::Time => (readers.time)(value).map(Val::from),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field {
            name: "name",
            column: "c.name",
            kind: Kind::Text,
        },
        Field {
            name: "hid",
            column: "c.hid",
            kind: Kind::Number,
        },
        Field {
            name: "state",
            column: "c.state",
            kind: Kind::Choice(|v| v == "ok" || v == "new"),
        },
        Field {
            name: "tag",
            column: "c.tags",
            kind: Kind::Tags,
        },
    ];
    const READERS: Readers = Readers {
        time: |_| None,
        flag: |_| None,
    };

    fn check(key: &str, value: &str) -> Result<(String, Vec<Val>), FilterError> {
        let mut filter = Filter::default();
        filter.add(FIELDS, key, value, &READERS)?;
        Ok((filter.sql().to_owned(), filter.args()))
    }

    #[test]
    fn what_clients_write_becomes_arguments_never_text() {
        let nasty = "x' OR 1=1 --";
        assert_eq!(
            check("name-contains", nasty),
            Ok((
                " AND lower(c.name) LIKE $1 ESCAPE '\\'".into(),
                vec![Val::from("%x' or 1=1 --%")]
            ))
        );
        assert_eq!(
            check("state-in", "ok, new"),
            Ok((
                " AND c.state IN ($1, $2)".into(),
                vec![Val::from("ok"), Val::from("new")]
            ))
        );
        assert_eq!(
            check("tag", "a\"b"),
            Ok((
                " AND replace(c.tags, $1, '') <> c.tags".into(),
                vec![Val::from("\"a\\\"b\"")]
            ))
        );
    }

    #[test]
    fn unknown_fields_operators_and_values_are_refused() {
        assert!(matches!(
            check("nome", "x"),
            Err(FilterError::UnknownField(_))
        ));
        assert!(matches!(
            check("name-ge", "x"),
            Err(FilterError::UnknownOperator { .. })
        ));
        assert!(matches!(
            check("state", "fine"),
            Err(FilterError::BadValue { .. })
        ));
        assert!(matches!(
            check("hid-gt", "one"),
            Err(FilterError::BadValue { .. })
        ));
    }

    #[test]
    fn an_order_is_total_and_from_the_table() {
        assert_eq!(
            order_by(FIELDS, "hid-asc,name-dsc", "c.id").as_deref(),
            Ok(" ORDER BY c.hid ASC, c.name DESC, c.id DESC")
        );
        assert!(order_by(FIELDS, "hid;drop", "c.id").is_err());
    }
}
