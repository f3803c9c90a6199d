//! The files that come with a submission, under names that may hold folders but never lead anywhere.

use std::path::Path;

use crate::http::error::ApiError;
use crate::http::payload::UploadedFile;

/// A file, by the name other parts of the submission refer to it.
#[derive(Debug)]
pub struct Attachment {
    pub name: String,
    pub file: UploadedFile,
}

/// The attachments of a submission, each name once.
#[derive(Debug, Default)]
pub struct Attachments(Vec<Attachment>);

const NAME_MAX: usize = 1_024;

impl Attachments {
    /// 400 if there is one of this name.
    pub fn add(&mut self, attachment: Attachment) -> Result<(), ApiError> {
        if self.get(&attachment.name).is_some() {
            return Err(ApiError::invalid(format!(
                "There are two attachments called {:?}.",
                attachment.name
            )));
        }
        self.0.push(attachment);
        Ok(())
    }

    /// By name; a leading `./` does not matter.
    pub fn get(&self, name: &str) -> Option<&Attachment> {
        let name = name.strip_prefix("./").unwrap_or(name);
        self.0.iter().find(|a| a.name == name)
    }

    /// The only one.
    pub fn only(&self) -> Option<&Attachment> {
        match self.0.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Attachment {
    pub fn path(&self) -> &Path {
        self.file.path.as_path()
    }
}

/// The name of an attachment, from what the client wrote. 400 for one that is no relative path inside the submission.
pub fn safe_name(text: &str) -> Result<String, ApiError> {
    let refused = |why: &str| {
        let shown: String = text.chars().take(80).collect();
        Err(ApiError::invalid(format!(
            "The attachment's file name {shown:?} {why}."
        )))
    };
    let name = text.strip_prefix("./").unwrap_or(text);
    if name.is_empty() {
        return refused("is empty");
    }
    if name.len() > NAME_MAX {
        return refused("is too long");
    }
    if name.contains(char::is_control) {
        return refused("holds a control character");
    }
    if name.contains('\\') {
        return refused("holds a backslash");
    }
    let has_drive =
        name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    if name.starts_with('/') || has_drive {
        return refused("is absolute");
    }
    for part in name.split('/') {
        match part {
            ".." => return refused("leads out of its folder"),
            "" | "." => return refused("has an empty part"),
            _ => {}
        }
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_names_are_kept_and_hostile_ones_refused() {
        for (text, name) in [
            ("wf.ga", "wf.ga"),
            ("a/b/c.txt", "a/b/c.txt"),
            ("./wf.ga", "wf.ga"),
            ("..data", "..data"),
            ("ä ö.txt", "ä ö.txt"),
        ] {
            assert_eq!(safe_name(text).expect(text), name);
        }
        for text in [
            "",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "C:/x",
            "c:x",
            "a\\b",
            "..\\x",
            "a\0b",
            "a\nb",
            "a//b",
            "a/./b",
            "a/",
            ".",
        ] {
            let error = safe_name(text).expect_err(text);
            assert_eq!(error.status(), 400, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_let_through_stays_inside(text in "[a./\\\\:\\x00 ]{0,12}") {
            if let Ok(name) = safe_name(&text) {
                let path = Path::new("/root/inside").join(&name);
                prop_assert!(path.starts_with("/root/inside"));
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::RootDir | std::path::Component::Normal(_))));
            }
        }
    }
}
