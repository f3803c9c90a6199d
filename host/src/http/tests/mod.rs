//! Through the door: requests to the router, on a database of their own.

mod again;
mod collections;
mod datasets;
mod errors;
mod exports;
mod histories;
mod hostile;
pub mod lines;
mod sharing;
mod uploads;
mod users;
mod write_store;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{App, DataDir, Settings, router};
use crate::clock::Clock;
use crate::scheduling::signals::Signals;
use crate::store::testing::TestStore;
use crate::store::testing::databases::TestDatabase;
use crate::store::users::KeyKind;
use crate::store::{Durability, users as user_store};

const ADMIN_KEY: &str = "the bootstrap key";

/// A server and two users.
pub struct Server {
    pub app: App,
    pub router: Router,
    pub ada: String,
    pub bob: String,
    pub _directory: TestDatabase,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |v| v.to_str().expect("text"))
    }

    /// The JSON of a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Asserts a refusal with Galaxy's code.
    pub fn refused(&self, status: u16, code: u32) {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["err_code"].as_u64()),
            (status, Some(code.into())),
            "{body}"
        );
        assert!(body["err_msg"].as_str().is_some_and(|m| !m.is_empty()));
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Server {
        let (store, directory) = TestStore::open().await;
        let data = DataDir::open(&directory.path().join("data")).expect("a data directory");
        let settings = Settings {
            bootstrap_admin_api_key: Some(ADMIN_KEY.to_owned()),
            ..settings
        };
        let app = App::new(store, Clock::system(), Signals::default(), data, settings)
            .await
            .expect("an app");
        let ada = add_user(&app, "ada").await;
        let bob = add_user(&app, "bob").await;
        Server {
            router: router(app.clone()),
            app,
            ada,
            bob,
            _directory: directory,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        Answer {
            status,
            headers,
            body: body.to_vec(),
        }
    }

    /// A request with a key and perhaps a JSON body.
    pub async fn call(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("x-api-key", key);
        }
        let body = body.map_or(Body::empty(), |b| Body::from(b.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(&self.ada, "GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(&self.ada, "POST", path, Some(body)).await
    }

    /// A new history of Ada's.
    pub async fn history(&self) -> String {
        let made = self.post("/api/histories", json!({"name": "h"})).await.ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A new history of Ada's, and the one HDA in it.
    pub async fn with_dataset(&self) -> (String, String) {
        let history = self.history().await;
        let hda = self.pastes(&history, 1).await.remove(0);
        (history, hda)
    }

    /// Pastes text into a history and gives the HDA.
    pub async fn paste(&self, history: &str, name: &str, text: &str) -> Value {
        let body = json!({"history_id": history, "targets": [{"destination": {"type": "hdas"}, "elements": [
            {"src": "pasted", "paste_content": text, "name": name, "ext": "auto", "to_posix_lines": true}]}]});
        self.post("/api/tools/fetch", body).await.ok()["outputs"][0].clone()
    }

    /// Several HDAs, by their ids.
    pub async fn pastes(&self, history: &str, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            let hda = self
                .paste(history, &format!("d{n}"), &format!("text {n}"))
                .await;
            ids.push(hda["id"].as_str().expect("an id").to_owned());
        }
        ids
    }
}

async fn add_user(app: &App, name: &str) -> String {
    let mut tx = app.store.begin().await.expect("a transaction");
    let id = user_store::create(
        &mut tx,
        name,
        &format!("{name}@example.org"),
        None,
        false,
        0,
    )
    .await
    .expect("a user");
    let key = super::auth::make_key(&mut tx, id, KeyKind::Api, 0)
        .await
        .expect("a key");
    tx.commit(Durability::Progress, "test")
        .await
        .expect("committed");
    key
}
