//! Complete URLs, and the ids in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::header::HOST;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ROOT;
use crate::http::app::App;
use crate::http::error::ApiError;

/// How this client reaches the server, without a slash at the end: as the operator says, else as the request does.
#[derive(Debug, Clone)]
pub struct Base(String);

impl FromRequestParts<App> for Base {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(url) = &app.settings.public_url {
            return Ok(Base(url.clone()));
        }
        let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let host = header(HOST.as_str())
            .or(parts.uri.authority().map(|a| a.as_str()))
            .filter(|host| is_host(host))
            .unwrap_or("localhost");
        let scheme = match header("x-forwarded-proto") {
            Some(proto) if proto.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        Ok(Base(format!("{scheme}://{host}")))
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

impl Base {
    /// The server itself.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// The host's name, without a port.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or("");
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// The tasks of a run.
    pub fn tasks(&self, run_id: &str) -> String {
        format!("{}{ROOT}/runs/{run_id}/tasks", self.0)
    }

    /// What a job wrote: `stdout` or `stderr`.
    pub fn job_log(&self, job_id: &str, stream: &str) -> String {
        format!("{}/api/jobs/{job_id}/{stream}", self.0)
    }

    /// The content of a dataset.
    pub fn dataset(&self, id: &str) -> String {
        format!("{}/api/datasets/{id}/display", self.0)
    }
}

/// What a path says. GA4GH knows no malformed ids: one that cannot be read is one that is not there.
#[derive(Debug)]
pub struct InPath<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(found)) => Ok(InPath(found)),
            Err(_) => Err(no_run()),
        }
    }
}

/// The invocation behind the id of a run.
pub fn run_id(app: &App, text: &str) -> Result<i64, ApiError> {
    app.decode(text).map_err(|_| no_run())
}

/// 404.
pub fn no_run() -> ApiError {
    ApiError::not_found("There is no such run.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_anything_else() {
        for good in ["localhost", "example.org:8080", "[::1]:80", "10.0.0.1"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a b", "a/b", "user@host", "a\"b", "ä"] {
            assert!(!is_host(bad), "{bad}");
        }
        assert_eq!(Base("http://[::1]:80".into()).host(), "[::1]");
        assert_eq!(
            Base("https://example.org/galaxy".into()).host(),
            "example.org"
        );
    }
}
