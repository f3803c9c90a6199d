//! `barycenter db …`: the upkeep of the database.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{Value, json};

use super::options::{self, Common};
use super::out;
use crate::clock::Clock;
use crate::config::Environment;
use crate::errors::chain;
use crate::store::DatabaseUrl;
use crate::store::db::SchemaStatus;
use crate::store::upkeep::{self, Counted, Finding, Status, UpkeepError};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the tables, or bring them up to date, as a server does at its start
    Migrate(Common),
    /// Say what the database is, its version, and how much is in it
    Status(Common),
    /// Look for damage and for rows and files that do not fit; exits with 1 if something is found. Changes nothing
    Check {
        /// Do not look at the datasets' files
        #[arg(long)]
        no_files: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Write everything that is in the database at this moment to a new file, also while servers run
    Backup {
        /// The new file
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Fill an empty database, of either kind, from a backup, and compare every row
    Restore {
        /// A file that `backup` made
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Copy a database into an empty one, of either kind, and compare every row
    Copy {
        /// What is copied; nothing is changed in it [BARYCENTER_DATABASE_URL]
        #[arg(long, value_name = "URL", required_unless_present = "to")]
        from: Option<String>,
        /// Where it goes: a new file, or a database without tables [BARYCENTER_DATABASE_URL]
        #[arg(long, value_name = "URL", required_unless_present = "from")]
        to: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn main(command: &Command) -> ExitCode {
    let done = super::block_on_until_interrupted(async {
        match command {
            Command::Migrate(common) => migrate(common).await,
            Command::Status(common) => status(common).await,
            Command::Check { no_files, common } => return check(*no_files, common).await,
            Command::Backup { file, common } => {
                let config = common.existing().await?;
                let now = Clock::system().now_ms();
                let mut shown = Shown::new();
                let mut tell = |table: &str, rows| shown.tell(table, rows);
                let rows = upkeep::backup(&config.database, file, now, &mut tell).await;
                let what = format!("{} is written", file.display());
                counted(common.json, &what, &rows.map_err(told)?)
            }
            Command::Restore { file, common } => {
                // What is no backup at all is found before anything is made for it.
                upkeep::Archive::open(file).map_err(told)?;
                let config = common.place()?;
                let mut shown = Shown::new();
                let mut tell = |table: &str, rows| shown.tell(table, rows);
                let rows = upkeep::restore(file, &config.database, &mut tell).await;
                let what = format!("{} is restored", config.database);
                counted(common.json, &what, &rows.map_err(told)?)
            }
            Command::Copy { from, to, json } => {
                let environment = Environment::of_process();
                let ours = environment.option("database_url");
                let from = url("--from", from.as_deref(), ours)?;
                let to = url("--to", to.as_deref(), ours)?;
                options::require_database(&from).await?;
                let mut shown = Shown::new();
                let mut tell = |table: &str, rows| shown.tell(table, rows);
                let rows = upkeep::copy(&from, &to, &mut tell).await;
                counted(
                    *json,
                    &format!("{to} is a copy of {from}"),
                    &rows.map_err(told)?,
                )
            }
        }
        .map(|()| ExitCode::SUCCESS)
    });
    done.unwrap_or_else(out::failure)
}

fn told(error: UpkeepError) -> String {
    chain(&error)
}

/// The database that a flag names, else that of the environment, where a password is not for everybody to read.
fn url(flag: &str, given: Option<&str>, ours: Option<&str>) -> Result<DatabaseUrl, String> {
    let (place, text) = match (given, ours) {
        (Some(text), _) => (flag, text),
        (None, Some(text)) => ("BARYCENTER_DATABASE_URL", text),
        (None, None) => {
            return Err(format!(
                "{flag} is missing, and BARYCENTER_DATABASE_URL names no database in its place"
            ));
        }
    };
    text.parse()
        .map_err(|remedy| format!("{place} cannot be used. {remedy}"))
}

/// What is being done, now and then, on stderr.
struct Shown {
    last: Instant,
    table: String,
    rows: u64,
}

/// Between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(2);

impl Shown {
    fn new() -> Shown {
        Shown {
            last: Instant::now(),
            table: String::new(),
            rows: 0,
        }
    }

    fn tell(&mut self, table: &str, rows: u64) {
        let is_again = self.table == table && rows < self.rows;
        (self.table, self.rows) = (table.to_owned(), rows);
        if self.last.elapsed() >= INTERVAL || (is_again && std::io::stderr().is_terminal()) {
            self.last = Instant::now();
            out::note(format_args!("{table}: {rows} rows"));
        }
    }
}

async fn migrate(common: &Common) -> Result<(), String> {
    let config = common.place()?;
    let done = upkeep::migrate(&config.database).await.map_err(told)?;
    if common.json {
        let done = done.iter();
        let done: Vec<Value> = done
            .map(|(version, name)| json!({"version": version, "name": name}))
            .collect();
        out::line(json!({"url": config.database.to_string(), "applied": done}));
        return Ok(());
    }
    for (version, name) in &done {
        out::line(format_args!("applied {version:04} {name}"));
    }
    if done.is_empty() {
        out::line(format_args!("{} is up to date", config.database));
    }
    Ok(())
}

async fn status(common: &Common) -> Result<(), String> {
    let config = common.existing().await?;
    let status = upkeep::status(&config.database).await.map_err(told)?;
    match common.json {
        true => out::line(status_json(&status)),
        false => {
            let schema = &status.schema;
            out::line(format_args!("database  {}", status.place));
            out::line(format_args!("program   {}", status.program));
            out::line(format_args!(
                "version   {} (this program knows {})",
                schema.found, schema.known
            ));
            out::line(format_args!("size      {} bytes", status.bytes));
            for one in &status.applied {
                let (version, name, when) = (one.version, &one.name, &one.when);
                out::line(format_args!("applied   {version:04} {name}, {when}"));
            }
            for (version, name) in &schema.pending {
                out::line(format_args!("pending   {version:04} {name}"));
            }
            for one in &status.rows {
                out::line(format_args!("rows      {} {}", one.rows, one.table));
            }
        }
    }
    Ok(())
}

fn status_json(status: &Status) -> Value {
    let schema = &status.schema;
    let applied: Vec<Value> = (status.applied.iter())
        .map(|one| json!({"version": one.version, "name": one.name, "time": one.when}))
        .collect();
    let pending: Vec<Value> = (schema.pending.iter())
        .map(|(version, name)| json!({"version": version, "name": name}))
        .collect();
    json!({
        "url": status.place,
        "program": status.program,
        "version": schema.found,
        "known_version": schema.known,
        "bytes": status.bytes,
        "applied": applied,
        "pending": pending,
        "rows": rows_json(&status.rows),
    })
}

fn rows_json(rows: &[Counted]) -> Value {
    rows.iter()
        .map(|one| (one.table.clone(), json!(one.rows)))
        .collect()
}

async fn check(no_files: bool, common: &Common) -> Result<ExitCode, String> {
    let config = common.existing().await?;
    let data_dir = (!no_files).then_some(config.data_dir.as_path());
    if let Some(path) = data_dir.filter(|path| !path.is_dir()) {
        return Err(format!(
            "there is no data directory {}; name another with --data-dir, or leave the datasets' files out with --no-files",
            path.display()
        ));
    }
    let schema = upkeep::status(&config.database).await.map_err(told)?.schema;
    if let Some(why) = is_unfit(&schema) {
        return Err(format!("{} {why}", config.database));
    }
    let findings = upkeep::check(&config.database, data_dir)
        .await
        .map_err(told)?;
    if common.json {
        let findings: Vec<Value> = findings.iter().map(finding_json).collect();
        out::line(json!({"url": config.database.to_string(), "findings": findings}));
    } else {
        for finding in &findings {
            let (rule, what, count) = (finding.rule, finding.what, finding.count);
            out::line(format_args!("{rule}: {what} ({count} found)"));
            for example in &finding.examples {
                out::line(format_args!("    {example}"));
            }
            if count > finding.examples.len() {
                out::line(format_args!(
                    "    and {} more",
                    count - finding.examples.len()
                ));
            }
        }
        if findings.is_empty() {
            out::line(format_args!("{}: nothing to object to", config.database));
        }
    }
    Ok(match findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Why the rules that this program knows are not those of a database.
fn is_unfit(schema: &SchemaStatus) -> Option<String> {
    let (found, known) = (schema.found, schema.known);
    let remedy = match (found > known, schema.pending.is_empty()) {
        (true, _) => "use the program that it was last used with",
        (false, false) => "bring it up to date with `barycenter db migrate` first",
        (false, true) => return None,
    };
    Some(format!(
        "is at version {found} of its tables, and this program checks those of version {known}; {remedy}"
    ))
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule,
        "what": finding.what,
        "count": finding.count,
        "examples": finding.examples,
    })
}

fn counted(as_json: bool, what: &str, rows: &[Counted]) -> Result<(), String> {
    let all: u64 = rows.iter().map(|one| one.rows).sum();
    match as_json {
        true => out::line(json!({"tables": rows_json(rows), "rows": all})),
        false => out::line(format_args!(
            "{what}: {all} rows in {} tables, each compared",
            rows.len()
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_another_version_is_not_checked_by_rules_of_this_one() {
        let unfit = |found, pending: &[(i64, String)]| {
            is_unfit(&SchemaStatus {
                found,
                known: 14,
                pending: pending.to_vec(),
            })
        };
        assert_eq!(unfit(14, &[]), None);
        let newer = unfit(15, &[]).expect("newer");
        assert!(newer.contains("version 15") && newer.contains("last used with"));
        let older = unfit(13, &[(14, "x".to_owned())]).expect("older");
        assert!(older.contains("version 13") && older.contains("db migrate"));
    }

    #[test]
    fn a_copy_has_its_databases_from_flags_and_else_from_the_environment() {
        let sqlite = |path: &str| Ok(DatabaseUrl::Sqlite(path.into()));
        assert_eq!(url("--to", Some("sqlite:a"), Some("sqlite:b")), sqlite("a"));
        assert_eq!(url("--to", None, Some("sqlite:b")), sqlite("b"));
        let told = url("--from", None, None).expect_err("none");
        assert!(told.starts_with("--from is missing"), "{told}");
        let told = url("--from", Some("/a.sqlite"), None).expect_err("no URL");
        assert!(told.starts_with("--from cannot be used. Give"), "{told}");
        let told = url("--to", None, Some("x")).expect_err("no URL");
        assert!(told.starts_with("BARYCENTER_DATABASE_URL cannot"), "{told}");
    }
}
