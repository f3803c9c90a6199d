//! What is to be done when an invocation is completed: the elements of `on_complete`, as Galaxy writes them, and the
//! webhook, which is ours.

use serde_json::{Map, Value};

/// One element of `on_complete`, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A mail to the invocation's owner.
    SendNotification,
    ExportToFileSource(Export),
    /// JSON to a URL.
    Webhook {
        url: String,
    },
    /// A name that nobody here knows: it is accepted, as Galaxy does, and told to be unknown when its time comes.
    Unknown(String),
}

/// An archive of the invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Where it goes; None: it is kept for a while, to be fetched.
    pub target_uri: Option<String>,
    pub format: String,
    pub include_files: bool,
    pub include_hidden: bool,
    pub include_deleted: bool,
}

/// The archives of an invocation.
pub const FORMATS: [&str; 5] = ["rocrate.zip", "bco.json", "tgz", "tar.gz", "bag.zip"];
/// More are not accepted for one invocation.
pub const HOOKS_MAX: usize = 20;
/// Longer addresses are not.
const TEXT_MAX: usize = 8192;

/// Reads the whole list. Err: what is wrong with it, in a sentence.
pub fn parse_all(on_complete: &Value) -> Result<Vec<Hook>, String> {
    let shape = || "on_complete must be a list of objects with one key each.".to_owned();
    let list = on_complete.as_array().ok_or_else(shape)?;
    if list.len() > HOOKS_MAX {
        return Err(format!("on_complete holds more than {HOOKS_MAX} actions."));
    }
    list.iter()
        .map(|element| {
            let keys = element
                .as_object()
                .filter(|keys| keys.len() == 1)
                .ok_or_else(shape)?;
            let (name, arguments) = keys.iter().next().ok_or_else(shape)?;
            parse(name, arguments)
        })
        .collect()
}

/// Reads one element.
pub fn parse(name: &str, arguments: &Value) -> Result<Hook, String> {
    let empty = Map::new();
    let arguments = match arguments {
        Value::Object(arguments) => arguments,
        Value::Null => &empty,
        _ => {
            return Err(format!(
                "The value of {name} in on_complete must be an object."
            ));
        }
    };
    match name {
        "send_notification" => Ok(Hook::SendNotification),
        "export_to_file_source" => export(arguments).map(Hook::ExportToFileSource),
        "webhook" => match text(name, arguments, "url")? {
            Some(url) => Ok(Hook::Webhook { url }),
            None => Err("A webhook in on_complete needs a url.".to_owned()),
        },
        other => Ok(Hook::Unknown(other.chars().take(100).collect())),
    }
}

fn export(arguments: &Map<String, Value>) -> Result<Export, String> {
    const NAME: &str = "export_to_file_source";
    let format = text(NAME, arguments, "format")?.unwrap_or_else(|| FORMATS[0].to_owned());
    if !FORMATS.contains(&format.as_str()) {
        return Err(format!(
            "The format of {NAME} must be one of {}.",
            FORMATS.join(", ")
        ));
    }
    let flag = |key: &str, default: bool| match arguments.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("{key} of {NAME} must be true or false.")),
    };
    Ok(Export {
        target_uri: text(NAME, arguments, "target_uri")?,
        format,
        include_files: flag("include_files", true)?,
        include_hidden: flag("include_hidden", false)?,
        include_deleted: flag("include_deleted", false)?,
    })
}

fn text(name: &str, arguments: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match arguments.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= TEXT_MAX => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(format!(
            "{key} of {name} must be a text of 1 to {TEXT_MAX} bytes."
        )),
    }
}

/// How often one is tried.
const TRIES_MAX: i64 = 10;
const FIRST_PAUSE_MS: i64 = 2_000;
const PAUSE_MAX_MS: i64 = 3_600_000;

/// How long to wait after so many failures that may pass; None: it has been tried often enough. Two seconds, six,
/// eighteen …, an hour at most; about four hours in all.
pub fn pause_after(failures: i64) -> Option<i64> {
    if failures >= TRIES_MAX {
        return None;
    }
    let exponent = u32::try_from(failures.max(1) - 1).unwrap_or(0);
    Some((FIRST_PAUSE_MS * 3_i64.pow(exponent)).min(PAUSE_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn on_complete_is_read_as_galaxy_writes_it() {
        let list = json!([
            {"send_notification": {}},
            {"export_to_file_source": {"target_uri": "gxfiles://here/", "include_hidden": true}},
            {"webhook": {"url": "https://example.org/"}},
            {"dance": {"with": "me"}}]);
        let export = Export {
            target_uri: Some("gxfiles://here/".to_owned()),
            format: "rocrate.zip".to_owned(),
            include_files: true,
            include_hidden: true,
            include_deleted: false,
        };
        assert_eq!(
            parse_all(&list),
            Ok(vec![
                Hook::SendNotification,
                Hook::ExportToFileSource(export),
                Hook::Webhook {
                    url: "https://example.org/".to_owned()
                },
                Hook::Unknown("dance".to_owned()),
            ])
        );
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for (list, word) in [
            (json!({}), "list"),
            (json!([1]), "one key"),
            (json!([{"a": {}, "b": {}}]), "one key"),
            (json!([{"webhook": {}}]), "url"),
            (json!([{"webhook": {"url": 5}}]), "url"),
            (json!([{"webhook": "https://example.org"}]), "object"),
            (
                json!([{"export_to_file_source": {"format": "exe"}}]),
                "rocrate.zip",
            ),
            (
                json!([{"export_to_file_source": {"include_files": "x"}}]),
                "include_files",
            ),
            (json!(vec![json!({"send_notification": {}}); 21]), "20"),
        ] {
            let fault = parse_all(&list).expect_err("refused");
            assert!(fault.contains(word), "{list}: {fault}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause_after(1), Some(2_000));
        assert_eq!(pause_after(2), Some(6_000));
        assert_eq!(pause_after(9), Some(3_600_000));
        assert_eq!(pause_after(10), None);
    }
}
