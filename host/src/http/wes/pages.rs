//! Page sizes, and page tokens: what a walk over a list has to remember, readable by this installation alone.
//!
//! A token is base64 of versioned JSON and, before it, an HMAC-SHA256 of that JSON under a key that is derived from the
//! installation's secret, so that it survives a restart and nobody else can make one. It names the list, the user and
//! the filters it belongs to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::Params;

/// Items of a page when the client names no size, and at most.
pub const DEFAULT: usize = 100;
pub const MAX: usize = 1_000;

/// `page_size`. A larger one than [`MAX`] is cut to it, as the standard allows; one below 1 is refused.
pub fn size(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.text("page_size") else {
        return Ok(DEFAULT);
    };
    match text.parse::<i64>() {
        Ok(size) if size >= 1 => Ok(usize::try_from(size).map_or(MAX, |size| size.min(MAX))),
        _ => Err(ApiError::invalid(
            "page_size must be a whole number from 1.",
        )),
    }
}

/// `page_token`; None for the first page.
pub fn token<T: DeserializeOwned>(
    app: &App,
    params: &Params,
    scope: &str,
) -> Result<Option<T>, ApiError> {
    let Some(text) = params.text("page_token").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let key = app.codec.derived_key(PURPOSE);
    match read(&key, scope, text) {
        Some(place) => Ok(Some(place)),
        None => Err(ApiError::message(
            "Invalid page_token: it is not one that this server gave for this list; begin again without one.",
        )),
    }
}

/// The token that leads on from this place.
pub fn next<T: Serialize>(app: &App, scope: &str, place: T) -> String {
    write(&app.codec.derived_key(PURPOSE), scope, place)
}

const PURPOSE: &str = "wes_page_token";
const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
/// No token is longer.
const TOKEN_MAX: usize = 4_096;

#[derive(Serialize, Deserialize)]
struct Content<T> {
    v: u8,
    scope: String,
    at: T,
}

fn write<T: Serialize>(key: &[u8; 32], scope: &str, at: T) -> String {
    let content = Content {
        v: VERSION,
        scope: scope.to_owned(),
        at,
    };
    // Numbers and texts always have a JSON form.
    let json = serde_json::to_vec(&content).unwrap_or_default();
    let mut token = mac(key, &json).finalize().into_bytes().to_vec();
    token.extend(json);
    URL_SAFE_NO_PAD.encode(token)
}

fn read<T: DeserializeOwned>(key: &[u8; 32], scope: &str, text: &str) -> Option<T> {
    if text.len() > TOKEN_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (sent, json) = bytes.split_at_checked(MAC_BYTES)?;
    mac(key, json).verify_slice(sent).ok()?;
    let content: Content<T> = serde_json::from_slice(json).ok()?;
    (content.v == VERSION && content.scope == scope).then_some(content.at)
}

fn mac(key: &[u8; 32], json: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(json);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn sizes_are_cut_but_not_made_up() {
        let size = |query: &str| size(&Params::parse(query)).ok();
        assert_eq!(size(""), Some(DEFAULT));
        assert_eq!(size("page_size=1"), Some(1));
        assert_eq!(size("page_size=9223372036854775807"), Some(MAX));
        for wrong in ["", "0", "-1", "ten", "1.5", "9223372036854775808"] {
            assert_eq!(size(&format!("page_size={wrong}")), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_token_is_read_where_it_was_made_and_nowhere_else(scope in "\\PC{0,40}", other in "\\PC{0,40}", a: i64, b: i64) {
            let token = write(&KEY, &scope, (a, b));
            prop_assert_eq!(read(&KEY, &scope, &token), Some((a, b)));
            prop_assert_eq!(read::<(i64, i64)>(&[8; 32], &scope, &token), None);
            if other != scope {
                prop_assert_eq!(read::<(i64, i64)>(&KEY, &other, &token), None);
            }
        }

        #[test]
        fn a_token_with_a_changed_letter_is_refused(a: i64, at in 0usize..500, letter in "[A-Za-z0-9_-]") {
            let token = write(&KEY, "s", a);
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &letter);
            if changed != token {
                prop_assert_eq!(read::<i64>(&KEY, "s", &changed), None);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,120}") {
            let _ = read::<i64>(&KEY, "s", &text);
        }
    }
}
