//! What people want done after a job (Galaxy's post-job actions that are not about its own outputs): mail, and the
//! removal of what only led to the results.

use std::collections::BTreeSet;

use super::known::ids;
use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, blocks, placeholders};

/// The actions that are carried out here.
pub fn is_ours(action_type: &str) -> bool {
    matches!(action_type, "EmailAction" | "DeleteIntermediatesAction")
}

/// Carries out the actions of jobs that are over, in the transaction that ends them.
pub async fn jobs_are_over(tx: &mut Tx, jobs: &[i64], now: i64) -> Result<(), StoreError> {
    let mut cleaned = BTreeSet::new();
    for block in blocks(jobs) {
        let sql = format!(
            "SELECT DISTINCT a.job_id, p.action_type, j.workflow_invocation_id, j.state, p.action_arguments
             FROM post_job_action_association a
             JOIN post_job_action p ON p.id = a.post_job_action_id JOIN job j ON j.id = a.job_id
             WHERE p.action_type IN ('EmailAction', 'DeleteIntermediatesAction') AND a.job_id IN ({})
             ORDER BY a.job_id",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            let (job, action): (i64, String) = (row.get(0)?, row.get(1)?);
            let state: String = row.get(3)?;
            if action == "EmailAction" {
                let arguments: Option<String> = row.get(4)?;
                write_mail(tx, job, &state, arguments.as_deref(), now).await?;
            } else if state == "ok" {
                cleaned.extend(row.get::<Option<i64>>(2)?);
            }
        }
    }
    for invocation in cleaned {
        delete_intermediates(tx, invocation, now).await?;
    }
    Ok(())
}

async fn write_mail(
    tx: &mut Tx,
    job_id: i64,
    state: &str,
    arguments: Option<&str>,
    now: i64,
) -> Result<(), StoreError> {
    let about = tx
        .maybe(
            "SELECT u.email, COALESCE(h.name, ''), j.tool_id FROM job j JOIN galaxy_user u ON u.id = j.user_id
             LEFT JOIN history h ON h.id = j.history_id WHERE j.id = $1",
            args![job_id],
        )
        .await?;
    let Some(row) = about else { return Ok(()) };
    let (recipient, history, tool): (String, String, String) =
        (row.get(0)?, row.get(1)?, row.get(2)?);
    let names = tx
        .all(
            "SELECT a.name FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id
             WHERE o.job_id = $1 ORDER BY o.id",
            args![job_id],
        )
        .await?;
    let names: Vec<String> = names
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    let host = arguments
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .and_then(|arguments| arguments["host"].as_str().map(str::to_owned));
    let (subject, body) = mail(&history, &tool, state, &names, host.as_deref());
    tx.run(
        "INSERT INTO mail (recipient, subject, body, create_time) VALUES ($1, $2, $3, $4)",
        args![recipient, subject, body, now],
    )
    .await
    .map(drop)
}

/// Subject and text.
fn mail(
    history: &str,
    tool: &str,
    state: &str,
    outputs: &[String],
    host: Option<&str>,
) -> (String, String) {
    // A header is one line, whatever a history is called.
    let line: String = history
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let subject = format!("Galaxy job completion notification from history '{line}'");
    let outcome = match state {
        "ok" => "is complete".to_owned(),
        other => format!("ended in state {other}"),
    };
    let mut body = format!("Your job of tool {tool} in history '{line}' {outcome}.\n");
    if !outputs.is_empty() {
        body.push_str("\nIts results:\n");
        for output in outputs {
            body.push_str(&format!("- {output}\n"));
        }
    }
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        body.push_str(&format!("\nServer: {host}\n"));
    }
    (subject, body)
}

/// Marks as deleted what jobs of steps without workflow outputs have read and nobody needs any more. Nothing happens
/// while the invocation is still being scheduled, or if the workflow declares no outputs: then every result is one.
pub async fn delete_intermediates(
    tx: &mut Tx,
    invocation_id: i64,
    now: i64,
) -> Result<(), StoreError> {
    lock_inputs(tx, invocation_id).await?;
    let found = tx
        .all(
            "SELECT DISTINCT i.hda_id FROM workflow_invocation v
             JOIN workflow_invocation_step s ON s.workflow_invocation_id = v.id
             JOIN workflow_step w ON w.id = s.workflow_step_id
             JOIN job_to_input_dataset i ON i.job_id = s.job_id
             WHERE v.id = $1 AND v.state NOT IN ('new', 'requires_materialization', 'ready') AND w.type = 'tool'
               AND EXISTS (SELECT 1 FROM workflow_output o JOIN workflow_step x ON x.id = o.workflow_step_id
                           WHERE x.workflow_id = v.workflow_id)
               AND NOT EXISTS (SELECT 1 FROM workflow_output o WHERE o.workflow_step_id = w.id)
               AND EXISTS (SELECT 1 FROM job_to_output_dataset p JOIN job c ON c.id = p.job_id
                           WHERE p.hda_id = i.hda_id AND c.workflow_invocation_id = v.id)
               AND NOT EXISTS (SELECT 1 FROM job_to_input_dataset k JOIN job d ON d.id = k.job_id
                               WHERE k.hda_id = i.hda_id AND d.state NOT IN ('ok', 'deleted'))
               AND NOT EXISTS (SELECT 1 FROM workflow_invocation_output_dataset_association q
                               WHERE q.dataset_id = i.hda_id)",
            args![invocation_id],
        )
        .await?;
    let hdas: Vec<i64> = found
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    for block in blocks(&hdas) {
        let sql = format!(
            "UPDATE history_dataset_association SET deleted = TRUE, update_time = $1 WHERE id IN ({})",
            placeholders(2, block.len())
        );
        let mut arguments = args![now];
        arguments.extend(ids(block));
        tx.run(sql, arguments).await?;
    }
    Ok(())
}

/// Locks what an invocation's jobs read. Of several jobs that end at the same time, the one that comes here last sees that
/// the others are over.
async fn lock_inputs(tx: &mut Tx, invocation_id: i64) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let read = tx
        .all(
            "SELECT DISTINCT i.hda_id FROM workflow_invocation_step s JOIN job_to_input_dataset i ON i.job_id = s.job_id
             WHERE s.workflow_invocation_id = $1",
            args![invocation_id],
        )
        .await?;
    let read: Vec<i64> = read
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    tx.lock("history_dataset_association", &read).await
}

/// Once more for a whole invocation: a job may have ended before the last step was scheduled.
pub(super) async fn invocation_is_over(
    tx: &mut Tx,
    invocation_id: i64,
    now: i64,
) -> Result<(), StoreError> {
    let asked = tx
        .maybe(
            "SELECT 1 FROM job j JOIN post_job_action_association a ON a.job_id = j.id
             JOIN post_job_action p ON p.id = a.post_job_action_id
             WHERE j.workflow_invocation_id = $1 AND p.action_type = 'DeleteIntermediatesAction' AND j.state = 'ok' LIMIT 1",
            args![invocation_id],
        )
        .await?;
    match asked {
        Some(_) => delete_intermediates(tx, invocation_id, now).await,
        None => Ok(()),
    }
}

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub id: i64,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    attempts: i64,
}

/// Mail that could not be sent this often stays unsent.
const ATTEMPTS_MAX: i64 = 10;

/// The oldest mails that are not sent.
pub async fn unsent(q: &mut impl Query, limit: usize) -> Result<Vec<Mail>, StoreError> {
    let rows = q
        .all(
            "SELECT id, recipient, subject, body, attempts FROM mail WHERE sent_time IS NULL AND attempts < $1 ORDER BY attempts, id LIMIT $2",
            args![ATTEMPTS_MAX, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Mail {
                id: row.get(0)?,
                recipient: row.get(1)?,
                subject: row.get(2)?,
                body: row.get(3)?,
                attempts: row.get(4)?,
            })
        })
        .collect()
}

/// Takes a mail for sending. False if another server did.
pub async fn claim(store: &Store, mail: &Mail) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE mail SET attempts = attempts + 1 WHERE id = $1 AND attempts = $2 AND sent_time IS NULL",
            args![mail.id, mail.attempts],
        )
        .await?;
    tx.commit(Durability::Progress, "mail.claim").await?;
    Ok(touched == 1)
}

/// Notes that a mail went.
pub async fn sent(store: &Store, id: i64, now: i64) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE mail SET sent_time = $1 WHERE id = $2",
        args![now, id],
    )
    .await?;
    tx.commit(Durability::Progress, "mail.sent").await
}

impl Mail {
    /// One that is not stored.
    #[cfg(test)]
    pub fn unstored(recipient: &str, subject: &str, body: &str) -> Mail {
        Mail {
            id: 0,
            recipient: recipient.to_owned(),
            subject: subject.to_owned(),
            body: body.to_owned(),
            attempts: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_what_ended_how() {
        let (subject, body) = mail("a\nb", "cat1", "error", &["x".into()], Some("http://here"));
        assert_eq!(
            subject,
            "Galaxy job completion notification from history 'a b'"
        );
        assert!(
            body.contains("tool cat1") && body.contains("state error"),
            "{body}"
        );
        assert!(
            body.contains("- x\n") && body.contains("http://here"),
            "{body}"
        );
    }
}
