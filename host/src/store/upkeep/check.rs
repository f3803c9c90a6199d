//! Looking for what should not be: damage that the database can tell of, and our own rules about its rows and files.

use std::path::Path;

use super::UpkeepError;
use crate::store::db::{Access, DatabaseUrl, Datum, Dialect, Kind, Session, StoreError};
use crate::store::files::DataDir;

/// One sort of thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A name for scripts.
    pub rule: &'static str,
    /// What is wrong, and what follows from it.
    pub what: &'static str,
    /// How often, as far as it was counted.
    pub count: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Examples that are shown.
const SHOWN: usize = 5;
/// Datasets whose files are looked at at a time.
const BLOCK: i64 = 1_000;

impl Finding {
    fn add(&mut self, example: String) {
        self.count += 1;
        if self.examples.len() < SHOWN {
            self.examples.push(example);
        }
    }
}

/// A rule about rows: the statement finds what breaks it, as a text each.
struct Rule {
    name: &'static str,
    what: &'static str,
    sql: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "mapped_jobs",
        what: "the jobs of a mapped step are not numbered from 0 without gaps",
        sql: "SELECT 'implicit_collection_jobs ' || CAST(implicit_collection_jobs_id AS TEXT)
              FROM implicit_collection_jobs_job_association GROUP BY implicit_collection_jobs_id
              HAVING MIN(order_index) <> 0 OR MAX(order_index) <> COUNT(*) - 1",
    },
    Rule {
        name: "step_jobs",
        what: "a step has a job of its own and mapped jobs",
        sql: "SELECT 'workflow_invocation_step ' || CAST(id AS TEXT) FROM workflow_invocation_step
              WHERE job_id IS NOT NULL AND implicit_collection_jobs_id IS NOT NULL",
    },
    Rule {
        name: "foreign_jobs",
        what: "a step shows a job of another invocation",
        sql: "SELECT 'workflow_invocation_step ' || CAST(s.id AS TEXT) || ', job ' || CAST(j.id AS TEXT)
              FROM workflow_invocation_step s JOIN job j ON j.id = s.job_id
              WHERE j.workflow_invocation_id <> s.workflow_invocation_id
              UNION ALL
              SELECT 'workflow_invocation_step ' || CAST(s.id AS TEXT) || ', job ' || CAST(j.id AS TEXT)
              FROM workflow_invocation_step s
              JOIN implicit_collection_jobs_job_association a ON a.implicit_collection_jobs_id = s.implicit_collection_jobs_id
              JOIN job j ON j.id = a.job_id WHERE j.workflow_invocation_id <> s.workflow_invocation_id",
    },
    Rule {
        name: "orphan_datasets",
        what: "a dataset is in no history, so nobody can reach it",
        sql: "SELECT 'dataset ' || CAST(d.id AS TEXT) FROM dataset d WHERE NOT d.purged
              AND NOT EXISTS (SELECT 1 FROM history_dataset_association h WHERE h.dataset_id = d.id)",
    },
    Rule {
        name: "hid",
        what: "two things in one history have the same number",
        sql: "SELECT 'history ' || CAST(history_id AS TEXT) || ', hid ' || CAST(hid AS TEXT) FROM
              (SELECT history_id, hid FROM history_dataset_association UNION ALL
               SELECT history_id, hid FROM history_dataset_collection_association) t
              GROUP BY history_id, hid HAVING COUNT(*) > 1",
    },
    Rule {
        name: "hid_counter",
        what: "a history would give out a number again",
        sql: "SELECT 'history ' || CAST(h.id AS TEXT) FROM history h
              WHERE h.hid_counter <= (SELECT MAX(hid) FROM history_dataset_association a WHERE a.history_id = h.id)
                 OR h.hid_counter <= (SELECT MAX(hid) FROM history_dataset_collection_association c WHERE c.history_id = h.id)",
    },
    Rule {
        name: "job_wait",
        what: "a job waits for a dataset that is not being made any more, so it would wait for ever",
        sql: "SELECT 'job ' || CAST(w.job_id AS TEXT) || ', dataset ' || CAST(w.dataset_id AS TEXT)
              FROM job_wait w JOIN dataset d ON d.id = w.dataset_id JOIN job j ON j.id = w.job_id
              WHERE j.state = 'new' AND d.state NOT IN ('new', 'upload', 'queued', 'running', 'setting_metadata')",
    },
    Rule {
        name: "job_without_wait",
        what: "a new job waits for nothing and is not ready, so it would never start",
        sql: "SELECT 'job ' || CAST(j.id AS TEXT) FROM job j WHERE j.state = 'new' AND j.ready_time IS NULL
              AND NOT EXISTS (SELECT 1 FROM job_wait w WHERE w.job_id = j.id)",
    },
    Rule {
        name: "invocation_wait",
        what: "an invocation waits for something that has happened, and nothing makes it look again",
        sql: "SELECT 'workflow_invocation ' || CAST(i.id AS TEXT) || ', ' || w.kind || ' ' || CAST(w.item_id AS TEXT)
              FROM workflow_invocation_wait w JOIN workflow_invocation i ON i.id = w.workflow_invocation_id
              LEFT JOIN dataset d ON w.kind = 'dataset' AND d.id = w.item_id
              LEFT JOIN job j ON w.kind = 'job' AND j.id = w.item_id
              WHERE i.state IN ('new', 'ready') AND i.signal_count = i.signal_seen AND i.wake_time IS NULL
                AND (d.state NOT IN ('new', 'upload', 'queued', 'running', 'setting_metadata')
                  OR j.state NOT IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'paused', 'stop', 'deleting'))",
    },
    Rule {
        name: "invocation_end",
        what: "all work of an invocation has ended, and nothing makes it look again, so it would never be completed",
        sql: "SELECT 'workflow_invocation ' || CAST(i.id AS TEXT) FROM workflow_invocation i
              WHERE i.state = 'scheduled' AND i.signal_count = i.signal_seen AND i.wake_time IS NULL
                AND NOT EXISTS (SELECT 1 FROM job j WHERE j.workflow_invocation_id = i.id
                    AND j.state IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'stop', 'deleting'))
                AND NOT EXISTS (SELECT 1 FROM workflow_invocation c WHERE c.parent_invocation_id = i.id
                    AND c.state NOT IN ('completed', 'failed', 'cancelled'))",
    },
    Rule {
        name: "invocation_too_early",
        what: "an invocation is completed while a job or an inner invocation of it is not over",
        sql: "SELECT 'workflow_invocation ' || CAST(i.id AS TEXT) || ', job ' || CAST(j.id AS TEXT)
              FROM workflow_invocation i JOIN job j ON j.workflow_invocation_id = i.id
              WHERE i.state = 'completed'
                AND j.state IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'stop', 'deleting')
              UNION ALL
              SELECT 'workflow_invocation ' || CAST(i.id AS TEXT) || ', workflow_invocation ' || CAST(c.id AS TEXT)
              FROM workflow_invocation i JOIN workflow_invocation c ON c.parent_invocation_id = i.id
              WHERE i.state = 'completed' AND c.state <> 'completed'",
    },
    Rule {
        name: "cancelling",
        what: "an invocation is to be cancelled, and nothing makes it look again, so it would never be",
        sql: "SELECT 'workflow_invocation ' || CAST(id AS TEXT) FROM workflow_invocation
              WHERE state = 'cancelling' AND signal_count = signal_seen AND wake_time IS NULL",
    },
    Rule {
        name: "signals",
        what: "an invocation has looked at more signals than there were",
        sql: "SELECT 'workflow_invocation ' || CAST(id AS TEXT) FROM workflow_invocation WHERE signal_seen > signal_count",
    },
    Rule {
        name: "job_runner",
        what: "a job was handed over, and to whom is not known, so nobody can say what became of it",
        sql: "SELECT 'job ' || CAST(id AS TEXT) FROM job
              WHERE state IN ('queued', 'running') AND job_runner_name IS NULL",
    },
    Rule {
        name: "job_early",
        what: "a job is ready and still waits for an input",
        sql: "SELECT 'job ' || CAST(j.id AS TEXT) || ', dataset ' || CAST(w.dataset_id AS TEXT)
              FROM job j JOIN job_wait w ON w.job_id = j.id WHERE j.state = 'new' AND j.ready_time IS NOT NULL",
    },
    Rule {
        name: "output_open",
        what: "a dataset is still to be made, and the job that makes it is over, so whoever needs it waits for ever",
        sql: "SELECT 'dataset ' || CAST(d.id AS TEXT) || ', job ' || CAST(j.id AS TEXT)
              FROM job j JOIN job_to_output_dataset o ON o.job_id = j.id
              JOIN history_dataset_association h ON h.id = o.hda_id JOIN dataset d ON d.id = h.dataset_id
              WHERE j.state IN ('ok', 'error', 'deleted') AND d.state IN ('new', 'queued', 'running')
                AND NOT EXISTS (SELECT 1 FROM job_to_output_dataset p JOIN job k ON k.id = p.job_id
                    WHERE p.hda_id = o.hda_id AND k.state NOT IN ('ok', 'error', 'deleted'))",
    },
    Rule {
        name: "output_broken",
        what: "a job is ok and a dataset it made is in error",
        sql: "SELECT 'dataset ' || CAST(d.id AS TEXT) || ', job ' || CAST(j.id AS TEXT)
              FROM job j JOIN job_to_output_dataset o ON o.job_id = j.id
              JOIN history_dataset_association h ON h.id = o.hda_id JOIN dataset d ON d.id = h.dataset_id
              WHERE j.state = 'ok' AND j.tool_id NOT IN ('__DATA_FETCH__', 'upload1') AND d.state = 'error'",
    },
];

/// Looks at everything, at one moment, without changing anything. Files are looked at if a data directory is given.
pub async fn check(
    url: &DatabaseUrl,
    data_dir: Option<&Path>,
) -> Result<Vec<Finding>, UpkeepError> {
    let mut session = Session::open(url, Access::Read).await?;
    if session.applied().await?.is_empty() {
        let place = session.place();
        return Err(UpkeepError::Refused(format!(
            "{place} holds nothing of Barycenter's."
        )));
    }
    let mut findings = Vec::new();
    if session.dialect() == Dialect::Sqlite {
        findings.extend(integrity(&mut session).await?);
    }
    session.begin_snapshot().await?;
    match session.dialect() {
        Dialect::Sqlite => findings.extend(sqlite_references(&mut session).await?),
        Dialect::Postgres => findings.extend(postgres_constraints(&mut session).await?),
    }
    for rule in RULES {
        let rows = session.query(rule.sql, vec![], &[Kind::Text]).await?;
        let texts = rows.iter().map(|row| row[0].text().to_owned());
        findings.extend(found(rule.name, rule.what, texts));
    }
    if let Some(folder) = data_dir {
        findings.extend(files(&mut session, &DataDir::at(folder)).await?);
    }
    session.close().await;
    Ok(findings)
}

fn found(
    rule: &'static str,
    what: &'static str,
    examples: impl Iterator<Item = String>,
) -> Option<Finding> {
    let mut finding = Finding {
        rule,
        what,
        count: 0,
        examples: Vec::new(),
    };
    examples.for_each(|example| finding.add(example));
    (finding.count > 0).then_some(finding)
}

async fn integrity(session: &mut Session) -> Result<Option<Finding>, StoreError> {
    let rows = session
        .query("PRAGMA integrity_check", vec![], &[Kind::Text])
        .await?;
    let faults = rows.iter().map(|row| row[0].text().to_owned());
    Ok(found(
        "integrity",
        "SQLite finds its file damaged: restore a backup",
        faults.filter(|line| line != "ok"),
    ))
}

async fn sqlite_references(session: &mut Session) -> Result<Option<Finding>, StoreError> {
    let kinds = [Kind::Text, Kind::Int, Kind::Text];
    let rows = session
        .query("PRAGMA foreign_key_check", vec![], &kinds)
        .await?;
    let broken = |row: &Vec<Datum>| format!("{} {} names a missing {}", row[0], row[1], row[2]);
    Ok(found(
        "references",
        "a row names a row that is not there",
        rows.iter().map(broken),
    ))
}

/// PostgreSQL holds rows to the references by itself, unless somebody left them unchecked.
async fn postgres_constraints(session: &mut Session) -> Result<Option<Finding>, StoreError> {
    let sql = "SELECT 'constraint ' || CAST(conname AS TEXT) FROM pg_constraint
               WHERE NOT convalidated AND connamespace = CAST(current_schema() AS regnamespace)
               UNION ALL
               SELECT 'index ' || CAST(c.relname AS TEXT) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE NOT i.indisvalid AND c.relnamespace = CAST(current_schema() AS regnamespace)";
    let rows = session.query(sql, vec![], &[Kind::Text]).await?;
    Ok(found(
        "references",
        "PostgreSQL does not hold the rows to this",
        rows.iter().map(|row| row[0].text().to_owned()),
    ))
}

/// Every dataset that is said to be there has its file, of the size that is said.
async fn files(session: &mut Session, data: &DataDir) -> Result<Vec<Finding>, StoreError> {
    const FILES: &str = "SELECT id, file_size FROM dataset WHERE state = 'ok' AND NOT purged AND id > $1 ORDER BY id LIMIT $2";
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    let mut last = 0;
    loop {
        let args = vec![Datum::Int(last), Datum::Int(BLOCK)];
        let rows = session.query(FILES, args, &[Kind::Int, Kind::Int]).await?;
        let Some(end) = rows.last() else {
            break;
        };
        last = end[0].int();
        for row in rows {
            let path = data.dataset(row[0].int());
            match (std::fs::metadata(&path), &row[1]) {
                (Err(error), _) => missing.push(format!("{}: {error}", path.display())),
                (Ok(file), Datum::Int(size)) if file.len() != size.unsigned_abs() => {
                    let found = file.len();
                    other.push(format!("{}: {found} instead of {size}", path.display()));
                }
                _ => {}
            }
        }
    }
    Ok([
        found(
            "file_missing",
            "the file of a dataset that is ok is not there: run its job again, or take it from a backup",
            missing.into_iter(),
        ),
        found(
            "file_size",
            "the file of a dataset that is ok does not have its size: run its job again, or take it from a backup",
            other.into_iter(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect())
}
