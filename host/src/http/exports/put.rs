//! Putting an archive where it was wanted.

use std::path::PathBuf;

use uuid::Uuid;

use super::target::{self, PutError};
use super::workshop;
use crate::fetch::Failure;
use crate::http::app::{App, blocking};

pub fn passing(sentence: impl ToString) -> Failure {
    Failure {
        sentence: sentence.to_string(),
        may_pass: true,
    }
}

pub fn lasting(sentence: String) -> Failure {
    Failure {
        sentence,
        may_pass: false,
    }
}

/// Copies the made archive to a place that a user named, or into it under `name` if it is a folder; answers where it is.
/// The options may have changed since it was ordered.
pub async fn put(app: &App, uuid: Uuid, uri: &str, name: &str) -> Result<PathBuf, Failure> {
    let target = target::resolve(&app.settings.export_directories, uri, name).map_err(lasting)?;
    let (from, own) = (workshop::file(app, uuid), app.data.root().to_owned());
    let place = target.path();
    let done = blocking(move || Ok(target.put(&from, &own, &uuid.to_string()))).await;
    match done.map_err(|error| passing(error.message_text()))? {
        Ok(()) => Ok(place),
        Err(PutError::Refused(why)) => Err(lasting(why)),
        Err(PutError::Disk(error)) => Err(passing(format!(
            "{} cannot be written: {error}.",
            place.display()
        ))),
    }
}
