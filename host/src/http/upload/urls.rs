//! What a URL in a request stands for: its own content, or something to be fetched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::App;
use crate::http::error::ApiError;

/// What a text stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Url {
    /// It held the content: `base64://` and `data:`.
    Content(Vec<u8>),
    /// To be fetched, if the operator allows it.
    Fetch(String),
    /// No URL.
    No,
}

/// Reads a text. 400 for a URL whose own content cannot be decoded.
pub fn read(text: &str) -> Result<Url, ApiError> {
    let broken = || ApiError::invalid(format!("The data in {:?} cannot be decoded.", shown(text)));
    if let Some(data) = text.strip_prefix("base64://") {
        let bytes = STANDARD.decode(data.trim()).map_err(|_| broken())?;
        return Ok(Url::Content(bytes));
    }
    if let Some(rest) = text.strip_prefix("data:") {
        let (kind, data) = rest.split_once(',').ok_or_else(broken)?;
        let bytes = match kind.ends_with(";base64") {
            true => STANDARD.decode(data.trim()).map_err(|_| broken())?,
            false => percent_encoding::percent_decode_str(data).collect(),
        };
        return Ok(Url::Content(bytes));
    }
    Ok(match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => Url::Fetch(text.to_owned()),
        _ => Url::No,
    })
}

/// Refuses a URL that the operator does not let anybody fetch: 403 with a sentence that names the option.
pub fn check(app: &App, url: &str) -> Result<(), ApiError> {
    app.fetcher
        .check(url)
        .map_err(|refusal| ApiError::disabled(refusal.0))
}

/// What a dataset from a URL is called: as the file is.
pub fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, rest) = path.split_once("://")?;
    let (_, name) = rest.rsplit_once('/')?;
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    (!name.is_empty()).then(|| name.into_owned())
}

/// The addresses of a pasted text that is nothing but a list of them.
pub fn listed(text: &str) -> Option<impl Iterator<Item = String>> {
    let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty());
    let is_address = |line: &str| {
        ["http://", "https://", "ftp://", "file://", "base64://"]
            .iter()
            .any(|s| line.starts_with(s))
            && !line.contains(char::is_whitespace)
    };
    let is_list = lines().next().is_some() && lines().all(is_address);
    is_list.then(|| lines().map(str::to_owned))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// As much of a URL as is repeated in an answer.
pub fn shown(url: &str) -> String {
    url.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hold_their_content_or_are_to_be_fetched() {
        let content = |text: &str| Url::Content(text.as_bytes().to_vec());
        assert_eq!(read("base64://aGk=").unwrap(), content("hi"));
        assert_eq!(read("data:text/plain,a%20b").unwrap(), content("a b"));
        assert_eq!(read("data:;base64,aGk=").unwrap(), content("hi"));
        assert_eq!(
            read("ftp://x/y").unwrap(),
            Url::Fetch("ftp://x/y".to_owned())
        );
        for no in ["a.txt", "data/a.txt", "://x", "1x://y", ""] {
            assert_eq!(read(no).unwrap(), Url::No, "{no}");
        }
        for broken in ["base64://???", "data:nothing"] {
            assert_eq!(read(broken).unwrap_err().status(), 400, "{broken}");
        }
    }

    #[test]
    fn names_are_the_last_of_the_path() {
        assert_eq!(
            file_name("https://x/a/b%20c.txt?q=/d").as_deref(),
            Some("b c.txt")
        );
        assert_eq!(file_name("https://x/"), None);
        assert_eq!(file_name("https://x"), None);
    }

    #[test]
    fn a_list_of_addresses_is_nothing_else() {
        let list = |text: &str| listed(text).map(Iterator::count);
        assert_eq!(list("http://a\n https://b "), Some(2));
        assert_eq!(list("http://a b"), None);
        assert_eq!(list("x\nhttp://a"), None);
        assert_eq!(list(" \n"), None);
    }
}
