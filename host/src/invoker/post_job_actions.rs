//! Post-job actions that take effect when a job's outputs are created (Galaxy's ImmediateActions): rename, change
//! the datatype, tag. The others are linked to the job and carried out when it ends.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::workflow::PostJobAction;

/// What the immediate actions change of an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub name: String,
    pub extension: Option<String>,
    pub tags: Vec<String>,
    pub hidden: bool,
}

/// Whether the action is carried out at the creation of the outputs.
pub fn is_immediate(action_type: &str) -> bool {
    matches!(
        action_type,
        "RenameDatasetAction"
            | "ChangeDatatypeAction"
            | "TagDatasetAction"
            | "RemoveTagDatasetAction"
    )
}

/// Whether something is left to do when the job ends. The datatype of elements that nobody knows before is.
pub fn is_at_end(action_type: &str) -> bool {
    !is_immediate(action_type) || action_type == "ChangeDatatypeAction"
}

/// Applies to output `output_name` what `actions` say. `input_name` gives the name of the dataset fed to an input.
pub fn apply<'a>(
    actions: impl Iterator<Item = &'a PostJobAction>,
    output_name: &str,
    name: String,
    tags: Vec<String>,
    input_name: &dyn Fn(&str) -> Option<String>,
    replacements: &HashMap<String, String>,
) -> Changed {
    let mut changed = Changed {
        name,
        extension: None,
        tags,
        hidden: false,
    };
    for action in actions {
        match action.output_name.as_deref() {
            None | Some("") => {}
            Some(wanted) if wanted == output_name => {}
            Some(_) => continue,
        }
        let argument = |key: &str| action.action_arguments.get(key).and_then(Value::as_str);
        match action.action_type.as_str() {
            "RenameDatasetAction" => {
                if let Some(template) = argument("newname").filter(|t| !t.is_empty()) {
                    let renamed = fill_in(template, input_name, replacements);
                    if !renamed.trim().is_empty() {
                        changed.name = renamed;
                    }
                }
            }
            "ChangeDatatypeAction" => {
                changed.extension = argument("newtype")
                    .filter(|t| !t.is_empty())
                    .map(str::to_owned);
            }
            "TagDatasetAction" => {
                for tag in tag_list(argument("tags").unwrap_or_default()) {
                    if !changed.tags.contains(&tag) {
                        changed.tags.push(tag);
                    }
                }
            }
            "RemoveTagDatasetAction" => {
                let gone: Vec<String> = tag_list(argument("tags").unwrap_or_default()).collect();
                changed.tags.retain(|tag| !gone.contains(tag));
            }
            "HideDatasetAction" => changed.hidden = true,
            _ => {}
        }
    }
    changed
}

/// A comma list of tags; a leading `#` stands for `name:`.
pub(super) fn tag_list(text: &str) -> impl Iterator<Item = String> {
    text.split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|tag| match tag.strip_prefix('#') {
            Some(name) => format!("name:{name}"),
            None => tag.to_owned(),
        })
}

/// Fills in `#{input | filter}` and `${parameter}`. What cannot be filled in becomes empty, or stays, as in Galaxy.
fn fill_in(
    template: &str,
    input_name: &dyn Fn(&str) -> Option<String>,
    replacements: &HashMap<String, String>,
) -> String {
    let with_inputs = replace_braced(template, "#{", |inside| {
        let mut parts = inside.split('|').map(str::trim);
        // A dot in the reference stands for the pipe of a nested parameter.
        let wanted = parts.next().unwrap_or_default().replace('.', "|");
        let mut text = input_name(&wanted).unwrap_or_default();
        for filter in parts {
            text = match filter {
                "basename" => basename(&text),
                "upper" => text.to_uppercase(),
                "lower" => text.to_lowercase(),
                _ => text,
            };
        }
        Some(text)
    });
    replace_braced(&with_inputs, "${", |name| {
        replacements.get(name.trim()).cloned()
    })
}

fn basename(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => file.to_owned(),
    }
}

/// What is filled in ends here; a name is cut to 255 characters anyway. Without a limit a value that is named often enough
/// takes all memory, and again whenever the iteration is made again.
const LONGEST: usize = 64 << 10;

fn replace_braced(text: &str, open: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        if out.len() > LONGEST {
            return out;
        }
        let inside = &rest[start + open.len()..];
        let Some(end) = inside.find('}') else { break };
        out.push_str(&rest[..start]);
        match value(&inside[..end]) {
            Some(found) => out.push_str(&found),
            None => out.push_str(&rest[start..start + open.len() + end + 1]),
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn action(action_type: &str, output: &str, arguments: Value) -> PostJobAction {
        PostJobAction {
            action_type: action_type.into(),
            output_name: Some(output.into()),
            action_arguments: arguments,
        }
    }

    fn renamed(template: &str) -> String {
        let actions = [action(
            "RenameDatasetAction",
            "out",
            json!({"newname": template}),
        )];
        let names = |input: &str| (input == "cond|reads").then(|| "run/Sample.fastq".to_owned());
        let replacements = HashMap::from([("sample".to_owned(), "S1".to_owned())]);
        apply(
            actions.iter(),
            "out",
            "old".into(),
            vec![],
            &names,
            &replacements,
        )
        .name
    }

    #[test]
    fn a_new_name_is_filled_in_from_inputs_and_replacements() {
        assert_eq!(renamed("plain"), "plain");
        assert_eq!(
            renamed("#{cond.reads | basename | upper} of ${sample}"),
            "SAMPLE of S1"
        );
        assert_eq!(renamed("${unknown}"), "${unknown}");
        assert_eq!(renamed("open #{brace"), "open #{brace");
        assert_eq!(renamed(""), "old");
    }

    #[test]
    fn an_action_is_for_its_output_or_for_all() {
        let actions = [
            action("TagDatasetAction", "", json!({"tags": "#a, b"})),
            action("ChangeDatatypeAction", "other", json!({"newtype": "bed"})),
            action("RemoveTagDatasetAction", "out", json!({"tags": "b"})),
        ];
        let changed = apply(
            actions.iter(),
            "out",
            "n".into(),
            vec![],
            &|_| None,
            &HashMap::new(),
        );
        assert_eq!(changed.tags, ["name:a"]);
        assert_eq!(changed.extension, None);
    }
}
