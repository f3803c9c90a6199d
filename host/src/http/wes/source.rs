//! Where a submission's workflow is, and what URLs stand for. Nothing is fetched: a URL names what came along, what
//! is stored here, or holds its content itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::attachments::{Attachment, Attachments};
use crate::http::error::ApiError;
use crate::http::extract::Params;

/// Where a workflow is.
#[derive(Debug)]
pub enum Source<'a> {
    /// On this server, by the id of a workflow or (`instance`) of a revision.
    Stored {
        id: String,
        instance: bool,
    },
    Attached(&'a Attachment),
    Sent(Vec<u8>),
}

/// Finds the workflow. Without a URL, the only attachment is it. 400 for everything else.
pub fn workflow<'a>(
    url: Option<&str>,
    attachments: &'a Attachments,
) -> Result<Source<'a>, ApiError> {
    let Some(url) = url else {
        return match (attachments.only(), attachments.len()) {
            (Some(only), _) => Ok(Source::Attached(only)),
            (None, 0) => Err(ApiError::missing(
                "workflow_url is required, or one workflow_attachment.",
            )),
            (None, _) => Err(ApiError::missing(
                "workflow_url must say which attachment is the workflow.",
            )),
        };
    };
    if let Some(attached) = attachments.get(url) {
        return Ok(Source::Attached(attached));
    }
    if let Some(rest) = url.strip_prefix("gxworkflow://") {
        let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
        return Ok(Source::Stored {
            id: id.trim_end_matches('/').to_owned(),
            instance: Params::parse(query).is("instance")?,
        });
    }
    match content(url)? {
        Some(bytes) => Ok(Source::Sent(bytes)),
        None => Err(ApiError::invalid(format!(
            "workflow_url {:?} is neither the name of an attachment nor a gxworkflow://, base64:// or data: URL.",
            shown(url)
        ))),
    }
}

/// The content that a `base64://` or `data:` URL holds; None for a text that is no URL. 400 for one that would have to
/// be fetched.
pub fn content(url: &str) -> Result<Option<Vec<u8>>, ApiError> {
    let broken = || ApiError::invalid(format!("The data in {:?} cannot be decoded.", shown(url)));
    if let Some(text) = url.strip_prefix("base64://") {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| broken())?;
        return Ok(Some(bytes));
    }
    if let Some(rest) = url.strip_prefix("data:") {
        let (kind, data) = rest.split_once(',').ok_or_else(broken)?;
        return match kind.ends_with(";base64") {
            true => STANDARD.decode(data.trim()).map(Some).map_err(|_| broken()),
            false => Ok(Some(percent_encoding::percent_decode_str(data).collect())),
        };
    }
    match url.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => Err(ApiError::invalid(format!(
            "This server does not fetch {scheme}:// URLs; attach the file, or send it as a base64:// URL."
        ))),
        _ => Ok(None),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn shown(url: &str) -> String {
    url.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(url: Option<&str>) -> String {
        let error = workflow(url, &Attachments::default()).expect_err("refused");
        assert_eq!(error.status(), 400);
        error.message_text().to_owned()
    }

    #[test]
    fn stored_and_sent_workflows_are_told_apart() {
        let none = Attachments::default();
        let of = |url| workflow(Some(url), &none).expect(url);
        assert!(
            matches!(of("gxworkflow://abc"), Source::Stored { id, instance: false } if id == "abc")
        );
        assert!(
            matches!(of("gxworkflow://abc?instance=true"), Source::Stored { id, instance: true } if id == "abc")
        );
        assert!(matches!(of("base64://eyJ9"), Source::Sent(bytes) if bytes == b"{\"}"));
        assert!(matches!(of("data:text/plain,a%20b"), Source::Sent(bytes) if bytes == b"a b"));
    }

    #[test]
    fn nothing_is_fetched() {
        for url in [
            "http://169.254.169.254/latest",
            "https://example.org/w.ga",
            "file:///etc/passwd",
            "ftp://x/y",
            "trs://x",
        ] {
            assert!(refused(Some(url)).contains("does not fetch"), "{url}");
        }
        refused(None);
        refused(Some("w.ga"));
        refused(Some("base64://???"));
        refused(Some("data:nothing"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = workflow(Some(&text), &Attachments::default());
        }
    }
}
