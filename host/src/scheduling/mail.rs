//! The loop that sends the mail that jobs' actions asked for. What is not sent stays in the database.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::engine::Services;
use crate::store::StoreError;
use crate::store::scheduling::after::{self, Mail};

/// Mails taken at once.
const BATCH: usize = 20;
/// After a failure.
const PAUSE: Duration = Duration::from_secs(60);

/// Runs until `stop` turns true.
pub async fn run(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match round(&services).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::error!("mail: {}", crate::errors::chain(&error)),
        }
        tokio::select! {
            () = services.signals.next_mail() => {}
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Sends some. True if all of them went and there may be more.
async fn round(services: &Arc<Services>) -> Result<bool, StoreError> {
    let mails = after::unsent(&mut services.store.reader(), BATCH).await?;
    let mut all_sent = !mails.is_empty();
    for mail in mails {
        let id = mail.id;
        if !after::claim(&services.store, &mail).await? {
            continue;
        }
        let sendmail = services.settings.sendmail.clone();
        let sent = tokio::task::spawn_blocking(move || send(sendmail.as_deref(), &mail)).await;
        let is_sent = match sent {
            Ok(Ok(())) => true,
            Ok(Err(fault)) => {
                tracing::warn!(
                    mail.id = id,
                    "a mail was not sent and will be tried again: {fault}"
                );
                false
            }
            Err(error) => {
                tracing::error!(mail.id = id, "sending a mail broke: {error}");
                false
            }
        };
        all_sent &= is_sent;
        if is_sent {
            after::sent(&services.store, id, services.clock.now_ms()).await?;
        }
    }
    Ok(all_sent)
}

/// Blocks. Without a command, the log is where the mail goes.
fn send(sendmail: Option<&str>, mail: &Mail) -> Result<(), String> {
    let Some(command) = sendmail else {
        tracing::info!(
            mail.to = mail.recipient,
            mail.subject = mail.subject,
            "no sendmail is configured, so this mail is only logged: {}",
            mail.body
        );
        return Ok(());
    };
    let mut child = Command::new(command)
        .arg("-t")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{command} did not start ({e})"))?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(message(mail).as_bytes()),
        None => Ok(()),
    };
    let status = child
        .wait()
        .map_err(|e| format!("{command} was lost ({e})"))?;
    match (written, status.success()) {
        (Ok(()), true) => Ok(()),
        (Err(e), true) => Err(format!("{command} did not read the mail ({e})")),
        (_, false) => Err(format!("{command} ended with {status}")),
    }
}

/// Headers and text, as `sendmail -t` reads them. What is put into a header stays in its line.
fn message(mail: &Mail) -> String {
    let line = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    };
    format!(
        "To: {}\nSubject: {}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nAuto-Submitted: auto-generated\n\n{}",
        line(&mail.recipient),
        line(&mail.subject),
        mail.body
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail::unstored("ada@example.org\nBcc: all@example.org", "done", "text\n")
    }

    #[test]
    fn nobody_smuggles_a_header_in() {
        let message = message(&mail());
        assert!(message.starts_with("To: ada@example.org Bcc: all@example.org\nSubject: done\n"));
        assert!(message.ends_with("\n\ntext\n"));
    }

    #[test]
    fn a_command_that_fails_is_a_failure_and_none_is_the_log() {
        assert!(send(Some("/bin/false"), &mail()).is_err());
        assert!(send(Some("/no/such/command"), &mail()).is_err());
        assert_eq!(send(None, &mail()), Ok(()));
    }
}
