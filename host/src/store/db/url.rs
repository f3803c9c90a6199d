//! Which database: a file, or a server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The database that a URL names. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://PATH` or `sqlite:PATH`: the file.
    Sqlite(PathBuf),
    /// `postgres://…` or `postgresql://…`, as it was given.
    Postgres(String),
}

/// Why a URL names no database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error("Give `sqlite://PATH` or `postgres://USER@HOST/DATABASE`.")]
    Scheme,
    #[error("Give the file: `sqlite://PATH`.")]
    NoFile,
    #[error(
        "This is no PostgreSQL URL; write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, special characters percent-encoded."
    )]
    Malformed,
    #[error("Name the database: `postgres://USER@HOST/DATABASE`.")]
    NoDatabase,
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err(DatabaseUrlError::NoFile),
                path => Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
            };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseUrlError::Scheme);
        }
        let options = sqlx::postgres::PgConnectOptions::from_str(text)
            .map_err(|_| DatabaseUrlError::Malformed)?;
        match options.get_database() {
            Some(name) if !name.is_empty() => Ok(DatabaseUrl::Postgres(text.to_owned())),
            _ => Err(DatabaseUrlError::NoDatabase),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseUrl::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            DatabaseUrl::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `user:***@`, and nothing of `password=` among the parameters.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // A password may hold `@` and even `/` or `?` unescaped: everything before the last `@` is taken for the user's part.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let user = user.map(|user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@"),
        None => format!("{user}@"),
    });
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters: Vec<&str> = parameters
        .split('&')
        .map(|p| match p.split_once('=') {
            Some((key, _)) if is_secret(key) => "password=***",
            _ => p,
        })
        .collect();
    let mut shown = format!("{scheme}://{}{place}", user.unwrap_or_default());
    if !parameters.join("").is_empty() {
        shown.push('?');
        shown.push_str(&parameters.join("&"));
    }
    shown
}

/// Whether a parameter's name, however it is escaped, may stand for a password.
fn is_secret(key: &str) -> bool {
    key.contains('%') || key.to_ascii_lowercase().contains("pass")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_a_server() {
        let sqlite = |path: &str| Ok(DatabaseUrl::Sqlite(path.into()));
        assert_eq!("sqlite:///var/b.sqlite".parse(), sqlite("/var/b.sqlite"));
        assert_eq!("sqlite:b.sqlite".parse(), sqlite("b.sqlite"));
        for url in [
            "postgres://u:p@h:5432/d",
            "postgresql:///d?host=/run/postgresql&user=u",
        ] {
            assert_eq!(url.parse(), Ok(DatabaseUrl::Postgres(url.into())));
        }
        let refused = |text: &str| DatabaseUrl::from_str(text).expect_err(text);
        assert_eq!(refused("sqlite://"), DatabaseUrlError::NoFile);
        assert_eq!(refused("sqlite::memory:"), DatabaseUrlError::NoFile);
        assert_eq!(refused("mysql://h/d"), DatabaseUrlError::Scheme);
        assert_eq!(refused("postgres://h:port/d"), DatabaseUrlError::Malformed);
        assert_eq!(refused("postgres://h"), DatabaseUrlError::NoDatabase);
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = |url: &str| {
            format!(
                "{} {:?}",
                DatabaseUrl::Postgres(url.into()),
                DatabaseUrl::Postgres(url.into())
            )
        };
        for url in [
            "postgres://u:sesame@h/d",
            "postgres://u:ses@me:sesame@h/d",
            "postgres://u:a/sesame@h/d",
            "postgres:///d?host=/run&password=sesame&user=u",
            "postgres:///d?p%61ssword=sesame",
        ] {
            assert!(!shown(url).contains("sesame"), "{}", shown(url));
        }
        assert_eq!(
            DatabaseUrl::Postgres("postgresql:///d?host=/s&user=u".into()).to_string(),
            "postgresql:///d?host=/s&user=u"
        );
    }
}
