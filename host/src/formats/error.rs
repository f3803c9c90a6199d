//! Why a workflow could not be imported, in Galaxy's error codes (behaviour notes 6.1 and 7.1).

/// What kind of mistake it was; [`ImportErrorCode::err_code`] is Galaxy's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImportErrorCode {
    /// A plain message, as Galaxy's MessageException.
    Message,
    /// A field holds something it must not hold.
    AttributeInvalid,
    /// A field that must be there is not.
    AttributeMissing,
    /// The request as a whole makes no sense: no name, a step defined twice over.
    ParameterInvalid,
    /// Two things carry one identifier.
    DuplicateIdentifier,
    /// The text cannot be read, or its parts do not fit together.
    MalformedContents,
}

/// One sentence for the person who sent the file, naming step and field. Always HTTP 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ImportError {
    pub code: ImportErrorCode,
    pub message: String,
}

impl ImportErrorCode {
    /// Galaxy's `err_code`.
    pub fn err_code(self) -> u32 {
        match self {
            Self::Message => 0,
            Self::AttributeInvalid => 400_004,
            Self::AttributeMissing => 400_005,
            Self::ParameterInvalid => 400_008,
            Self::DuplicateIdentifier => 400_011,
            Self::MalformedContents => 400_013,
        }
    }
}

impl ImportError {
    pub(super) fn new(code: ImportErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(super) fn message(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::Message, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::AttributeInvalid, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::AttributeMissing, message)
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::ParameterInvalid, message)
    }

    pub(super) fn duplicate(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::DuplicateIdentifier, message)
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ImportErrorCode::MalformedContents, message)
    }

    /// The same error, told from one level further out: `step 3: …`.
    pub(super) fn within(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// `text` for use in a message: quoted, and cut so that a hostile file cannot fill a log.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_galaxys() {
        let codes = [
            (ImportErrorCode::Message, 0),
            (ImportErrorCode::AttributeInvalid, 400_004),
            (ImportErrorCode::AttributeMissing, 400_005),
            (ImportErrorCode::ParameterInvalid, 400_008),
            (ImportErrorCode::DuplicateIdentifier, 400_011),
            (ImportErrorCode::MalformedContents, 400_013),
        ];
        for (code, number) in codes {
            assert_eq!(code.err_code(), number);
        }
    }

    #[test]
    fn a_quoted_text_is_cut_between_characters() {
        assert_eq!(shown("a\"b"), r#""a\"b""#);
        let long = shown(&"ä".repeat(200));
        assert_eq!(long.chars().count(), 63);
    }
}
