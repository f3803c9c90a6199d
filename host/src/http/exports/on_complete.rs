//! The archive that `on_complete` of an invocation asks for.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::put::{self, passing};
use super::target::{self, Target};
use super::{routes, workshop};
use crate::fetch::Failure;
use crate::http::app::App;
use crate::model::hook::Export;
use crate::store::invocations::Invocation;
use crate::store::short_term_storage::{self, Stored, Wanted};

/// How often it is looked whether the file is there, if nobody says so.
const LOOK: Duration = Duration::from_secs(1);

fn file_name(invocation: &Invocation, export: &Export) -> String {
    format!("invocation-{}.{}", invocation.uuid, export.format)
}

/// Where the archive is to go. None: it is only kept to be fetched.
pub fn destination(app: &App, export: &Export, name: &str) -> Result<Option<Target>, String> {
    let directories = &app.settings.export_directories;
    let uri = export.target_uri.as_deref();
    uri.map(|uri| target::resolve(directories, uri, name))
        .transpose()
}

/// Asks for the archive; it is made in the background, like one that its owner asks for.
pub async fn order(app: &App, invocation: &Invocation, export: &Export) -> Result<Uuid, Failure> {
    let request = json!({
        "model_store_format": export.format,
        "include_files": export.include_files,
        "include_hidden": export.include_hidden,
        "include_deleted": export.include_deleted,
    });
    let wanted = Wanted {
        user_id: invocation.user_id,
        kind: "invocation",
        item_id: invocation.id,
        request: &request,
        file_name: &file_name(invocation, export),
        media_type: routes::media_type(&export.format),
    };
    let ordered = workshop::order(app, &wanted).await;
    ordered
        .map(|(_, uuid)| uuid)
        .map_err(|error| passing(error.message_text()))
}

/// Waits until the archive is made. None: nobody knows of it any more.
pub async fn made(app: &App, uuid: Uuid) -> Result<Option<Stored>, Failure> {
    loop {
        let ended = app.workshop.ended.notified();
        let found = short_term_storage::by_uuid(&mut app.store.reader(), uuid).await;
        let Some(stored) = found.map_err(passing)? else {
            return Ok(None);
        };
        match stored.state.as_str() {
            "ok" => return Ok(Some(stored)),
            "error" => {
                return Err(passing(
                    stored
                        .message
                        .as_deref()
                        .unwrap_or("The file could not be made."),
                ));
            }
            _ => workshop::see_to(app, &stored),
        }
        let _ = tokio::time::timeout(LOOK, ended).await;
    }
}

/// Puts the archive where it was wanted; gives the place.
pub async fn put(
    app: &App,
    invocation: &Invocation,
    export: &Export,
    uuid: Uuid,
) -> Result<Option<PathBuf>, Failure> {
    let Some(uri) = export.target_uri.as_deref() else {
        return Ok(None);
    };
    let name = file_name(invocation, export);
    put::put(app, uuid, uri, &name).await.map(Some)
}
