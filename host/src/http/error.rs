//! What a caller is told when something is refused or breaks: Galaxy's envelope
//! `{"err_msg": sentence, "err_code": number, …}` with the codes of its `error_codes.json`.

use std::error::Error;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::again::Undone;
pub use crate::errors::chain;
use crate::store::StoreError;

/// A refusal or failure, as it is answered.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: u32,
    message: String,
    extra: Map<String, Value>,
    /// What the operator gets to read and the caller does not.
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $status:ident, $code:literal;)+) => {
        impl ApiError {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> ApiError {
                ApiError::new(StatusCode::$status, $code, message)
            })+
        }
    };
}

kinds! {
    /// 400 0: refused for a reason that has no code of its own.
    message => BAD_REQUEST, 0;
    /// 403 400001: `run-as` by somebody who may not.
    run_as_forbidden => FORBIDDEN, 400_001;
    /// 400 400002: `run-as` names nobody.
    run_as_unknown => BAD_REQUEST, 400_002;
    /// 400 400003: the body is not JSON.
    bad_json => BAD_REQUEST, 400_003;
    /// 400 400004: an attribute has a value it cannot have.
    attribute_invalid => BAD_REQUEST, 400_004;
    /// 400 400005: an attribute is not there.
    attribute_missing => BAD_REQUEST, 400_005;
    /// 400 400006: the slug is taken.
    slug_taken => BAD_REQUEST, 400_006;
    /// 400 400007: a parameter is missing.
    missing => BAD_REQUEST, 400_007;
    /// 400 400008: a parameter is not acceptable.
    invalid => BAD_REQUEST, 400_008;
    /// 400 400010: contents of a type that does not exist.
    unknown_contents => BAD_REQUEST, 400_010;
    /// 400 400011: an element identifier is there twice.
    duplicate_identifier => BAD_REQUEST, 400_011;
    /// 400 400013: a request or file does not have the shape it must have.
    malformed => BAD_REQUEST, 400_013;
    /// 400 400014: a tool that is needed is not installed.
    tool_missing => BAD_REQUEST, 400_014;
    /// 400 400015: inputs whose contents are still to come.
    inputs_not_ready => BAD_REQUEST, 400_015;
    /// 400 400016: needs a user, and the bootstrap admin key is none.
    real_user_required => BAD_REQUEST, 400_016;
    /// 400 400017: inputs that failed.
    inputs_not_ok => BAD_REQUEST, 400_017;
    /// 401 401001: the credentials are not accepted.
    authentication_failed => UNAUTHORIZED, 401_001;
    /// 403 403001: nobody is logged in.
    login_required => FORBIDDEN, 403_001;
    /// 403 403002: not accessible to this user.
    not_accessible => FORBIDDEN, 403_002;
    /// 403 403003: only the owner may, or it is immutable.
    not_owner => FORBIDDEN, 403_003;
    /// 403 403004: switched off by configuration.
    disabled => FORBIDDEN, 403_004;
    /// 403 403005: not enough permissions.
    insufficient_permission => FORBIDDEN, 403_005;
    /// 403 403006: only an administrator may.
    admin_required => FORBIDDEN, 403_006;
    /// 404 404001: there is no such thing.
    not_found => NOT_FOUND, 404_001;
    /// 405: the path is known, the method is not. (Galaxy has no code for it.)
    method_not_allowed => METHOD_NOT_ALLOWED, 405_001;
    /// 409 409001: it contradicts what is there.
    conflict => CONFLICT, 409_001;
    /// 413: the body is larger than this server takes. (Galaxy leaves this to the web server in front of it.)
    too_large => PAYLOAD_TOO_LARGE, 413_001;
    /// 416: the range asked for lies outside of the file.
    range_not_satisfiable => RANGE_NOT_SATISFIABLE, 416_001;
    /// 500 500001: our fault.
    internal => INTERNAL_SERVER_ERROR, 500_001;
    /// 503 503001: not now, but perhaps later. (Galaxy leaves this to the web server in front of it.)
    unavailable => SERVICE_UNAVAILABLE, 503_001;
    /// 507 507001: the server has no room for it. (Galaxy has no code for it.)
    no_room => INSUFFICIENT_STORAGE, 507_001;
    /// 501 501001: not implemented.
    not_implemented => NOT_IMPLEMENTED, 501_001;
}

impl ApiError {
    pub fn new(status: StatusCode, code: u32, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: shortened(&message.into(), MESSAGE_HEAD, MESSAGE_TAIL),
            extra: Map::new(),
            cause: None,
        }
    }

    /// 400 400009: not an id of this server.
    pub fn malformed_id(text: &str) -> ApiError {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = text.chars().take(64).map(plain).collect();
        ApiError::new(
            StatusCode::BAD_REQUEST,
            400_009,
            format!("Malformed id ( {shown} ) specified, unable to decode"),
        )
    }

    /// A neutral sentence; `cause` is logged when the answer is sent. 500 500001, or what the machine lacks: room on its
    /// disk (507), file descriptors or memory (503).
    pub fn broken(cause: impl Error + Send + Sync + 'static) -> ApiError {
        let mut error = match lack(&cause) {
            Some(Lack::Room) => ApiError::no_room(
                "The server has no room for this at the moment. Nothing of it was kept; try again later.",
            ),
            Some(Lack::Other) => {
                ApiError::unavailable("The server is overloaded at the moment. Try again later.")
            }
            None => ApiError::internal("The server could not complete this request."),
        };
        error.cause = Some(Arc::new(cause));
        error
    }

    /// Adds a key to the envelope, such as `validation_errors` or `err_data`.
    pub fn with(mut self, key: &str, value: Value) -> ApiError {
        self.extra.insert(key.to_owned(), value);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> u32 {
        self.code
    }

    pub fn message_text(&self) -> &str {
        &self.message
    }

    /// Whether the caller asked for something that cannot be; otherwise the server is at fault, or cannot do it now.
    pub fn is_for_caller(&self) -> bool {
        self.status.is_client_error()
    }

    /// The envelope.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("err_msg".to_owned(), Value::from(self.message.as_str()));
        body.insert("err_code".to_owned(), json!(self.code));
        body.extend(self.extra.clone());
        Value::Object(body)
    }

    /// The database undid the request's transaction in favour of another one.
    fn is_undone(&self) -> bool {
        self.cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<StoreError>())
            .is_some_and(StoreError::is_conflict)
    }
}

/// What the machine lacks.
#[derive(Debug, PartialEq)]
enum Lack {
    Room,
    Other,
}

/// Whether an error, or one behind it, says that the machine lacks something just now.
fn lack(error: &(dyn Error + 'static)) -> Option<Lack> {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        match code {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => return Some(Lack::Room),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN) => {
                return Some(Lack::Other);
            }
            _ => next = error.source(),
        }
    }
    None
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        if !error.is_unavailable() {
            return ApiError::broken(error);
        }
        let mut unavailable =
            ApiError::unavailable("The database cannot do this at the moment. Try again later.");
        unavailable.cause = Some(Arc::new(error));
        unavailable
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Whoever handles the request again says so if that does not help.
        let is_undone = self.is_undone();
        if let Some(cause) = self.cause.as_ref().filter(|_| !is_undone) {
            tracing::error!(cause = %chain(cause.as_ref()), "a request failed: {}", chain(cause.as_ref()));
        }
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if is_undone {
            response.extensions_mut().insert(Undone);
        }
        response
    }
}

/// The error of a body that is JSON but not what the operation takes: 400007 if something is missing, else 400008.
pub fn from_serde(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let text = shortened(text.split(" at line ").next().unwrap_or(&text), 120, 160);
    let what = json!([{ "msg": text.clone() }]);
    let refused = if text.contains("missing field") {
        ApiError::missing(text)
    } else {
        ApiError::invalid(text)
    };
    refused.with("validation_errors", what)
}

/// What is left of a message that lists or quotes more than anybody reads.
const MESSAGE_HEAD: usize = 3_000;
const MESSAGE_TAIL: usize = 1_000;

/// Of a long text, which quotes what was sent, its beginning and its end, where it says what was expected.
fn shortened(text: &str, head: usize, tail: usize) -> String {
    let count = text.chars().count();
    if count <= head + tail {
        return text.to_owned();
    }
    let head: String = text.chars().take(head).collect();
    let tail: String = text.chars().skip(count - tail).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_quoted_in_short_and_on_one_line() {
        let id = ApiError::malformed_id("a\nb\0");
        assert_eq!(
            id.message_text(),
            "Malformed id ( a b  ) specified, unable to decode"
        );
        let long = ApiError::not_found(format!("There is no {}.", "x".repeat(70_000)));
        let text = long.message_text();
        assert!(
            text.chars().count() == 4_001 && text.ends_with("xx."),
            "{}",
            text.len()
        );
        let long = json!("x".repeat(70_000));
        let error = serde_json::from_value::<bool>(long).expect_err("no boolean");
        let told = from_serde(&error);
        let text = told.message_text();
        assert!(text.chars().count() < 300, "{}", text.len());
        assert!(
            text.starts_with("invalid type: string \"xxx") && text.ends_with("expected a boolean"),
            "{text}"
        );
    }

    #[test]
    fn what_the_machine_lacks_is_told_apart_from_our_faults() {
        let status = |code| {
            let error = std::io::Error::from_raw_os_error(code);
            ApiError::broken(error).status().as_u16()
        };
        assert_eq!(status(libc::ENOSPC), 507);
        assert_eq!(status(libc::EDQUOT), 507);
        assert_eq!(status(libc::EMFILE), 503);
        assert_eq!(status(libc::EACCES), 500);
        let behind = StoreError::Sync {
            source: Arc::new(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        };
        assert_eq!(
            lack(&behind),
            None,
            "an Arc hides it; the store's own word counts"
        );
        assert_eq!(ApiError::from(behind).status().as_u16(), 503);
    }
}
