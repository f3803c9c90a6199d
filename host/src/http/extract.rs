//! What handlers take from a request: JSON bodies and query parameters, read as leniently as Galaxy reads them
//! and refused with Galaxy's codes.

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::app::App;
use super::auth::Caller;
use super::error::{ApiError, from_serde};

/// A JSON body. The Content-Type is ignored: clients send `application/json` on everything, or nothing.
/// No body, and `null`, count as `{}`.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let bytes = read_body_of(&mut parts, body, app).await?;
        let value = parse_object(&bytes)?;
        match serde_json::from_value(value) {
            Ok(value) => Ok(Json(value)),
            Err(error) => Err(from_serde(&error)),
        }
    }
}

/// What is read from somebody who has not said who they are. Nobody's requests are refused anyway, but only after
/// their body was read; parsed, a body takes many times its size in memory.
const NOBODYS_BODY_MAX: usize = 64 << 10;

/// The whole body of a request as far as its caller may send one. 401 and 403 as [`Caller`], 413 if it is too large.
pub async fn read_body_of(parts: &mut Parts, body: HttpBody, app: &App) -> Result<Bytes, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    if caller.is_known() {
        return read_body(body, app.settings.body_max_bytes).await;
    }
    let limit = app.settings.body_max_bytes.min(NOBODYS_BODY_MAX);
    match read_body(body, limit).await {
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            caller.user_id()?;
            Err(error)
        }
        read => read,
    }
}

/// The whole body; 413 if it is larger than `max_bytes`.
pub async fn read_body(body: HttpBody, max_bytes: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|e| ApiError::malformed(format!("The body could not be read: {e}")))?;
        if whole.len() + chunk.len() > max_bytes {
            return Err(ApiError::too_large(format!(
                "The body is larger than the {max_bytes} bytes that this server takes."
            )));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

/// The JSON value in a body. 400 400003 if it is none.
pub fn parse_object(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(value) => Ok(value),
        Err(error) => Err(ApiError::bad_json(format!(
            "Request body is not valid JSON: {error}"
        ))),
    }
}

/// The query parameters, in order. Booleans may be Python's.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Params::parse(parts.uri.query().unwrap_or("")))
    }
}

impl Params {
    /// Reads `a=1&b=2`. Bytes that are not UTF-8 are replaced.
    pub fn parse(query: &str) -> Params {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text)
                .decode_utf8_lossy()
                .into_owned()
        };
        Params(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// A boolean, if it is there. 400 400008 for anything that is none.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.text(name)
            .filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case("none"))
            .map(|v| parse_flag(v).ok_or_else(|| not_a(name, "a boolean", v)))
            .transpose()
    }

    /// A boolean, false if it is not there.
    pub fn is(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.flag(name)?.unwrap_or(false))
    }

    /// A whole number from 0, if it is there. 400 400008 for anything else.
    pub fn count(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.text(name)
            .filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case("none"))
            .map(|v| match v.parse::<i64>() {
                Ok(n) if n >= 0 => Ok(n),
                _ => Err(not_a(name, "a whole number from 0", v)),
            })
            .transpose()
    }

    /// The items of a parameter that may be repeated and may hold comma lists.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// `limit` and `offset`. Without a limit there are `default` items; never more than `max`.
    pub fn page(&self, default: i64, max: i64) -> Result<Page, ApiError> {
        Ok(Page {
            limit: self.count("limit")?.unwrap_or(default).min(max),
            offset: self.count("offset")?.unwrap_or(0),
        })
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

/// `true`, `True`, `1`, `yes`, `on` and their opposites.
pub fn parse_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn not_a(name: &str, what: &str, value: &str) -> ApiError {
    let shown: String = value.chars().take(80).collect();
    ApiError::invalid(format!("Parameter {name} must be {what}, not {shown:?}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_booleans_are_booleans() {
        let params = Params::parse("a=True&b=false&c=&d=maybe");
        assert_eq!(params.flag("a").ok(), Some(Some(true)));
        assert_eq!(params.flag("b").ok(), Some(Some(false)));
        assert_eq!(params.flag("c").ok(), Some(None));
        assert_eq!(params.flag("d").expect_err("no boolean").code(), 400_008);
    }

    #[test]
    fn lists_may_be_repeated_or_joined_by_commas() {
        let params = Params::parse("keys=id,name&keys=state&x=%C3%A4+b");
        assert_eq!(params.list("keys"), ["id", "name", "state"]);
        assert_eq!(params.text("x"), Some("ä b"));
    }

    #[test]
    fn a_page_has_a_default_and_a_ceiling() {
        let page = |query: &str| Params::parse(query).page(500, 1000);
        assert_eq!(
            page("").ok(),
            Some(Page {
                limit: 500,
                offset: 0
            })
        );
        assert_eq!(
            page("limit=9999&offset=3").ok(),
            Some(Page {
                limit: 1000,
                offset: 3
            })
        );
        assert!(page("limit=-1").is_err());
    }

    #[test]
    fn no_body_counts_as_an_empty_object() {
        assert_eq!(parse_object(b" \n").ok(), Some(serde_json::json!({})));
        assert_eq!(parse_object(b"null").ok(), Some(serde_json::json!({})));
        assert_eq!(parse_object(b"{").expect_err("cut").code(), 400_003);
    }
}
