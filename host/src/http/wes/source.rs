//! Where a submission's workflow is: it came along, is stored here, is in the URL itself, or is to be fetched.

use super::attachments::{Attachment, Attachments};
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::upload::urls::{self, Url, shown};

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
    /// To be fetched, if the operator allows it.
    At(String),
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
    match urls::read(url)? {
        Url::Content(bytes) => Ok(Source::Sent(bytes)),
        Url::Fetch(url) => Ok(Source::At(url)),
        Url::No => Err(ApiError::invalid(format!(
            "workflow_url {:?} is neither the name of an attachment nor a URL.",
            shown(url)
        ))),
    }
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
    fn what_is_elsewhere_is_told_from_what_is_nowhere() {
        let none = Attachments::default();
        for url in [
            "https://example.org/w.ga",
            "file:///etc/passwd",
            "ftp://x/y",
        ] {
            let found = workflow(Some(url), &none).expect("a URL");
            assert!(matches!(found, Source::At(at) if at == url), "{url}");
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
