//! Text, lists and attributes: what every value at the border is made of.

use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

/// Text at the border. Reads like `str`; made by `"…".into()`.
pub type Text = abi_stable::std_types::RString;

/// A list at the border. Reads like a slice; made by `vec![…].into()` or `collect()`.
pub type List<T> = abi_stable::std_types::RVec<T>;

/// A named JSON value.
///
/// Every value type carries a list of these, so that a minor version can add to it. A reader
/// ignores names that it does not know.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// What it is.
    pub name: Text,
    /// Its value as JSON text.
    pub value: Text,
}

impl Attr {
    /// An attribute whose value is `value` as JSON.
    pub fn json(name: &str, value: &serde_json::Value) -> Self {
        Self {
            name: name.into(),
            value: value.to_string().into(),
        }
    }

    /// The value, or JSON `null` when its text is not JSON.
    pub fn parsed(&self) -> serde_json::Value {
        serde_json::from_str(&self.value).unwrap_or_default()
    }
}

/// The value of the first attribute with this name.
pub fn attr(attrs: &[Attr], name: &str) -> Option<serde_json::Value> {
    attrs
        .iter()
        .find(|attr| attr.name == name)
        .map(Attr::parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_by_name_and_read_as_json() {
        let attrs = [Attr::json("a", &1.into()), Attr::json("b", &"x".into())];
        assert_eq!(attr(&attrs, "b"), Some("x".into()));
        assert_eq!(attr(&attrs, "c"), None);
    }

    #[test]
    fn text_that_is_not_json_reads_as_null() {
        let broken = Attr {
            name: "a".into(),
            value: "{".into(),
        };
        assert!(broken.parsed().is_null());
    }
}
