//! `barycenter admin …`: users and keys, by way of the database, so that it works whether or not the server runs.

mod handlers;
mod seed_copies;
mod seed_runs;
mod stub_tools;

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::options::{self, Common};
use super::out;
use crate::clock::Clock;
use crate::errors::chain;
use crate::http::auth::make_key;
use crate::http::codec::IdCodec;
use crate::http::users::{hash_password, valid_email, valid_username};
use crate::server::lock::{DirLock, DirSharing, LockError};
use crate::store::users::{self, KeyKind, User, UserFilter};
use crate::store::{Durability, Store, StoreError};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a user, and a key for them, which is shown this once
    CreateUser(CreateUser),
    /// Make a new key for a user, which is shown this once; their old one expires
    CreateKey {
        /// E-mail address or name
        user: String,
        #[command(flatten)]
        common: Common,
    },
    /// List the users
    ListUsers {
        /// The deleted ones instead
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        common: Common,
    },
    /// List the servers that share the database, and what each holds
    Handlers {
        #[command(flatten)]
        common: Common,
    },
    /// Move what has not ended from one server, or tag, to another
    Reassign(handlers::Reassign),
    /// Write finished invocations in bulk into the database of a stopped server, for benchmarks and tests
    SeedRuns(seed_runs::SeedRuns),
    /// Copy a waiting invocation in bulk in the database of a stopped server, for benchmarks and tests
    SeedCopies(seed_copies::SeedCopies),
    /// Write tools that stand in for those that workflows name and this server has not got, to try workflows dry
    StubTools(stub_tools::StubTools),
}

#[derive(Debug, Args)]
pub struct CreateUser {
    /// E-mail address
    email: String,
    /// Name [default: what is before the @]
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The user may administer the server
    #[arg(long)]
    admin: bool,
    /// Read a password from stdin; without one the user can only use keys
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    common: Common,
}

pub fn main(command: &Command) -> ExitCode {
    let done = super::block_on_until_interrupted(async {
        match command {
            Command::CreateUser(new) => create_user(new).await,
            Command::CreateKey { user, common } => create_key(user, common).await,
            Command::ListUsers { deleted, common } => list_users(*deleted, common).await,
            Command::SeedRuns(wanted) => seed_runs::seed_runs(wanted).await,
            Command::Handlers { common } => handlers::list(common).await,
            Command::Reassign(wanted) => handlers::reassign(wanted).await,
            Command::SeedCopies(wanted) => seed_copies::seed_copies(wanted).await,
            Command::StubTools(wanted) => stub_tools::stub_tools(wanted),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => out::failure(sentence),
    }
}

/// The database, which must be there.
async fn open(common: &Common) -> Result<Store, String> {
    let config = common.existing().await?;
    Store::open(&config.database).await.map_err(told)
}

/// The database of a server that is stopped and stays so while the lock is held: servers hand out ids in memory.
async fn open_alone(common: &Common) -> Result<(DirLock, Store), String> {
    let config = common.existing().await?;
    let lock = DirLock::take(&config.data_dir, DirSharing::Alone).map_err(|error| {
        let shown = config.data_dir.display();
        match error {
            LockError::Held(_) => {
                format!("the data directory {shown} is {error}; stop the server that uses it first")
            }
            LockError::Io(_) => format!(
                "the data directory {shown} cannot be used; choose another with --data-dir: {}",
                chain(&error)
            ),
        }
    })?;
    let store = Store::open(&config.database).await.map_err(told)?;
    Ok((lock, store))
}

/// The database, made if there is none yet, which is told: a first user may come before the first start.
async fn open_or_make(common: &Common) -> Result<Store, String> {
    let config = common.place()?;
    let is_new = !options::is_database(&config.database).await?;
    let store = Store::open(&config.database).await.map_err(told)?;
    if is_new {
        out::note(format_args!("made a new database at {}", config.database));
    }
    Ok(store)
}

fn told(error: StoreError) -> String {
    chain(&error)
}

async fn create_user(new: &CreateUser) -> Result<(), String> {
    let email = valid_email(&new.email).map_err(|error| error.message_text().to_owned())?;
    let name = match &new.username {
        Some(name) => name.clone(),
        None => name_from(email),
    };
    let username = valid_username(&name).map_err(|error| error.message_text().to_owned())?;
    let hash = match new.password_stdin {
        false => None,
        true => {
            let password = read_password(std::io::stdin())?;
            let hash = hash_password(password).await;
            Some(hash.map_err(|error| error.message_text().to_owned())?)
        }
    };
    let store = open_or_make(&new.common).await?;
    let now_ms = Clock::system().now_ms();
    let mut tx = store.begin().await.map_err(told)?;
    let made = users::create(&mut tx, username, email, hash.as_deref(), new.admin, now_ms).await;
    let id = made.map_err(|error| match error.is_constraint() {
        true => {
            format!("A user with the name {username} or the e-mail address {email} exists already.")
        }
        false => told(error),
    })?;
    let key = make_key(&mut tx, id, KeyKind::Api, now_ms)
        .await
        .map_err(told)?;
    tx.commit(Durability::Acknowledged, "user.create")
        .await
        .map_err(told)?;
    let user = users::by_id(&mut store.reader(), id).await.map_err(told)?;
    let user = user.ok_or("the user who was just made is not there")?;
    show_key(&store, &user, &key, new.common.json).await
}

/// What is before the @, as far as a name may hold it.
fn name_from(email: &str) -> String {
    let local = email.split('@').next().unwrap_or_default();
    let fitting = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '-',
    };
    local.chars().map(fitting).collect()
}

/// Longer passwords are refused: what comes in may be something else.
const PASSWORD_BYTES_MAX: usize = 4096;

fn read_password(from: impl std::io::Read) -> Result<String, String> {
    let mut text = String::new();
    // With room for the end of its line.
    from.take(PASSWORD_BYTES_MAX as u64 + 3)
        .read_to_string(&mut text)
        .map_err(|error| format!("the password could not be read from stdin: {error}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.len() {
        0..=PASSWORD_BYTES_MAX => Ok(password.to_owned()),
        _ => Err(format!("a password has at most {PASSWORD_BYTES_MAX} bytes")),
    }
}

async fn create_key(login: &str, common: &Common) -> Result<(), String> {
    let store = open(common).await?;
    let found = users::by_login(&mut store.reader(), login)
        .await
        .map_err(told)?;
    let Some((user, _)) = found else {
        return Err(format!(
            "There is no user {login:?}; `barycenter admin list-users` lists them."
        ));
    };
    let mut tx = store.begin().await.map_err(told)?;
    let key = make_key(&mut tx, user.id, KeyKind::Api, Clock::system().now_ms())
        .await
        .map_err(told)?;
    tx.commit(Durability::Acknowledged, "user.key")
        .await
        .map_err(told)?;
    show_key(&store, &user, &key, common.json).await
}

async fn show_key(store: &Store, user: &User, key: &str, as_json: bool) -> Result<(), String> {
    let codec = IdCodec::of_installation(store).await.map_err(told)?;
    match as_json {
        true => {
            let mut shape = shape(&codec, user);
            shape["api_key"] = json!(key);
            out::line(shape);
        }
        false => {
            out::note(format_args!(
                "user {} <{}>{}; the key is stored as a hash only, so keep it:",
                user.username,
                user.email,
                if user.is_admin {
                    ", an administrator"
                } else {
                    ""
                }
            ));
            // Alone on stdout, for scripts.
            out::line(key);
        }
    }
    Ok(())
}

async fn list_users(deleted: bool, common: &Common) -> Result<(), String> {
    let store = open(common).await?;
    let codec = IdCodec::of_installation(&store).await.map_err(told)?;
    let filter = UserFilter {
        deleted,
        limit: i64::MAX,
        ..UserFilter::default()
    };
    let found = users::list(&mut store.reader(), &filter)
        .await
        .map_err(told)?;
    if common.json {
        out::lines(found.iter().map(|user| shape(&codec, user)));
        return Ok(());
    }
    let rows = found.iter().map(|user| {
        let role = if user.is_admin { "admin" } else { "" };
        vec![
            codec.encode(user.id),
            user.username.clone(),
            user.email.clone(),
            role.to_owned(),
        ]
    });
    out::table(&["ID", "NAME", "E-MAIL", "ROLE"], &rows.collect::<Vec<_>>());
    Ok(())
}

fn shape(codec: &IdCodec, user: &User) -> Value {
    json!({
        "id": codec.encode(user.id),
        "username": user.username,
        "email": user.email,
        "is_admin": user.is_admin,
        "deleted": user.deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_whole_or_not_at_all() {
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        for end in ["", "\n", "\r\n"] {
            let read = read_password(format!("{longest}{end}").as_bytes());
            assert_eq!(read.as_deref(), Ok(longest.as_str()));
        }
        assert_eq!(
            read_password(format!("{longest}x").as_bytes()),
            Err("a password has at most 4096 bytes".to_owned())
        );
        assert!(read_password(&b"\xff\xfe"[..]).is_err());
    }

    #[test]
    fn a_name_is_made_of_what_is_before_the_at() {
        assert_eq!(name_from("grace.hopper@example.org"), "grace.hopper");
        assert_eq!(name_from("a+b c@example.org"), "a-b-c");
    }
}
