//! A collection as a zip file, made while it is sent: neither in memory nor on the disk.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zip::CompressionMethod;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use crate::store::collections::{self, Forest};
use crate::store::datasets::{self, Hda};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(download))
}

/// The datasets of a collection as a zip file, one directory for each element. What is not `ok` is left out.
#[utoipa::path(get, path = "/api/dataset_collections/{id}/download", tag = "collections",
    params(("id" = String, Path)),
    responses((status = 200, description = "A zip file", body = Vec<u8>, content_type = "application/zip")))]
async fn download(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let mut reader = app.store.reader();
    let hdca = access::hdca(&app, &mut reader, &caller, &id, Wish::Read).await?;
    let forest = collections::forest(&mut reader, &[hdca.collection.id]).await?;
    let mut hdas = datasets::by_ids(&mut reader, &forest.hda_ids()).await?;
    // The owner of the dataset has the last word, whatever collection it is in.
    access::grant(&mut reader, &caller, &mut hdas).await?;
    hdas.retain(|_, hda| hda.readable);
    let mut members = Members {
        app: &app,
        hdas: &hdas,
        forest: &forest,
        taken: HashSet::new(),
        found: Vec::new(),
    };
    members.below(hdca.collection.id, "");
    let members = members.found;

    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::task::spawn_blocking(move || {
        let failed = write_zip(members, Pipe(sender.clone())).err();
        if let Some(error) = failed {
            // The client sees a broken transfer instead of a short archive. A client that left is no failure.
            if !sender.is_closed() {
                tracing::warn!("an archive could not be finished: {error}");
            }
            let _ = sender.blocking_send(Err(error));
        }
    });
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let name = plain(&hdca.name);
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.zip\""),
        ),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Chunks that wait for a slow client.
const CHUNKS_WAITING: usize = 8;
const CHUNK_BYTES: usize = 64 << 10;

/// A file of the archive.
struct Member {
    path: PathBuf,
    name: String,
    is_large: bool,
}

struct Members<'a> {
    app: &'a App,
    forest: &'a Forest,
    hdas: &'a std::collections::HashMap<i64, Hda>,
    taken: HashSet<String>,
    found: Vec<Member>,
}

impl Members<'_> {
    fn below(&mut self, collection_id: i64, directory: &str) {
        for element in self.forest.elements(collection_id) {
            let identifier = plain(&element.identifier);
            let directory = format!("{directory}{identifier}/");
            if let Some(child) = element.child_id {
                self.below(child, &directory);
            }
            let hda = element.hda_id.and_then(|id| self.hdas.get(&id));
            let Some(hda) = hda.filter(|h| h.state == "ok" && !h.purged) else {
                continue;
            };
            let mut name = format!("{directory}{identifier}.{}", plain(&hda.extension));
            if !self.taken.insert(name.clone()) {
                // Two identifiers may look the same once they are plain.
                name = format!(
                    "{directory}{}-{identifier}.{}",
                    element.index,
                    plain(&hda.extension)
                );
                self.taken.insert(name.clone());
            }
            self.found.push(Member {
                path: self.app.data.dataset(hda.dataset_id),
                name,
                is_large: hda
                    .file_size
                    .is_some_and(|size| size >= i64::from(u32::MAX)),
            });
        }
    }
}

/// A name that leaves no directory and ends no header.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| match c {
            '/' | '\\' | '"' | ':' | '*' | '?' | '<' | '>' | '|' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .take(150)
        .collect();
    match name.trim_matches(['.', ' ']) {
        "" => "_".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn write_zip(members: Vec<Member>, pipe: Pipe) -> io::Result<()> {
    let buffered = io::BufWriter::with_capacity(CHUNK_BYTES, pipe);
    let mut archive = ZipWriter::new_stream(buffered);
    for member in members {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(member.is_large);
        archive.start_file(member.name, options)?;
        io::copy(&mut std::fs::File::open(member.path)?, &mut archive)?;
    }
    archive.finish()?.into_inner().flush()
}

/// Sends what is written to it to the answer's body.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        match self.0.blocking_send(Ok(chunk)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_an_archive_stay_inside_it() {
        assert_eq!(plain("sample 1"), "sample 1");
        assert_eq!(plain("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(plain(".."), "_");
        assert_eq!(plain("a\r\nb\"c"), "a__b_c");
    }
}
