//! What makes a collection a collection of its type (behaviour notes 1.3): ranks, identifiers, pairs, records, rows.

use std::collections::HashSet;

use serde_json::Value;

use super::error::ApiError;
use crate::store::collections::{NewCollection, NewElement, NewObject};

/// Deeper types than this are refused.
const RANKS_MAX: usize = 8;
const IDENTIFIER_MAX: usize = 255;

/// 400 400008 unless `collection_type` is one of Galaxy's: a chain, outermost first.
pub fn check_type(collection_type: &str) -> Result<(), ApiError> {
    let ranks: Vec<&str> = collection_type.split(':').collect();
    let plain = |rank: &&str| matches!(*rank, "list" | "paired" | "paired_or_unpaired" | "record");
    let fits = ranks.len() <= RANKS_MAX
        && match ranks.as_slice() {
            ["sample_sheet"] => true,
            ["sample_sheet", inner] => *inner != "list" && plain(inner),
            ranks => ranks.iter().all(plain),
        };
    fits.then_some(()).ok_or_else(|| {
        let shown: String = collection_type.chars().take(80).collect();
        ApiError::invalid(format!("{shown:?} is not a collection type."))
    })
}

/// Puts the elements of pairs in order and refuses what its type does not allow.
pub fn settle(new: &mut NewCollection) -> Result<(), ApiError> {
    check_type(&new.collection_type)?;
    settle_level(new)
}

fn settle_level(new: &mut NewCollection) -> Result<(), ApiError> {
    let (rank, inner) = match new.collection_type.split_once(':') {
        Some((rank, inner)) => (rank.to_owned(), Some(inner.to_owned())),
        None => (new.collection_type.clone(), None),
    };
    check_identifiers(&new.elements)?;
    for element in &mut new.elements {
        match (&mut element.object, &inner) {
            (NewObject::Hda(_), None) => {}
            (NewObject::Collection(child), Some(inner)) if child.collection_type == *inner => {
                settle_level(child)?;
            }
            (NewObject::Collection(child), Some(inner)) => {
                return Err(ApiError::invalid(format!(
                    "Element {:?} is a collection of type {}, but {inner} is needed.",
                    element.identifier, child.collection_type
                )));
            }
            (NewObject::Collection(_), None) => {
                return Err(ApiError::invalid(format!(
                    "Element {:?} is a collection, but a {rank} holds datasets here.",
                    element.identifier
                )));
            }
            (NewObject::Hda(_), Some(inner)) => {
                return Err(ApiError::invalid(format!(
                    "Element {:?} is a dataset, but a collection of type {inner} is needed.",
                    element.identifier
                )));
            }
        }
    }
    match rank.as_str() {
        "paired" => settle_pair(&mut new.elements),
        "paired_or_unpaired" if new.elements.len() == 1 => {
            match new.elements[0].identifier.as_str() {
                "unpaired" => Ok(()),
                _ => Err(ApiError::invalid(
                    "A single element of paired_or_unpaired is called unpaired.",
                )),
            }
        }
        "paired_or_unpaired" => settle_pair(&mut new.elements),
        "record" => check_record(new),
        "sample_sheet" => check_rows(new),
        _ => Ok(()),
    }
}

fn check_identifiers(elements: &[NewElement]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for element in elements {
        let identifier = element.identifier.as_str();
        if identifier.is_empty() || identifier.chars().count() > IDENTIFIER_MAX {
            return Err(ApiError::missing(format!(
                "Every element needs a name of at most {IDENTIFIER_MAX} characters."
            )));
        }
        if !seen.insert(identifier) {
            return Err(ApiError::duplicate_identifier(format!(
                "Found duplicated element identifier: {identifier}"
            )));
        }
    }
    Ok(())
}

fn settle_pair(elements: &mut [NewElement]) -> Result<(), ApiError> {
    let mut names: Vec<&str> = elements.iter().map(|e| e.identifier.as_str()).collect();
    names.sort_unstable();
    if names != ["forward", "reverse"] {
        return Err(ApiError::invalid(
            "A pair has exactly the elements forward and reverse.",
        ));
    }
    elements.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    Ok(())
}

fn check_record(new: &NewCollection) -> Result<(), ApiError> {
    let Some(Value::Array(fields)) = &new.fields else {
        return Err(ApiError::missing("A record needs its fields."));
    };
    let names: Vec<&str> = fields
        .iter()
        .map(|f| f.get("name").and_then(Value::as_str).unwrap_or(""))
        .collect();
    let found: Vec<&str> = new.elements.iter().map(|e| e.identifier.as_str()).collect();
    (names == found).then_some(()).ok_or_else(|| {
        ApiError::invalid("The elements of a record must match its fields in name and order.")
    })
}

fn check_rows(new: &NewCollection) -> Result<(), ApiError> {
    let definitions = match &new.column_definitions {
        Some(Value::Array(definitions)) => definitions.as_slice(),
        _ => &[],
    };
    for definition in definitions {
        let kind = definition.get("type").and_then(Value::as_str).unwrap_or("");
        if !matches!(
            kind,
            "string" | "int" | "float" | "boolean" | "element_identifier"
        ) {
            return Err(ApiError::invalid(format!(
                "{kind:?} is not a type of column."
            )));
        }
    }
    for element in &new.elements {
        let cells = match &element.columns {
            Some(Value::Array(cells)) => cells.as_slice(),
            _ => &[],
        };
        if cells.len() != definitions.len() {
            return Err(ApiError::invalid(format!(
                "Element {:?} has {} values for {} columns.",
                element.identifier,
                cells.len(),
                definitions.len()
            )));
        }
        for (cell, definition) in cells.iter().zip(definitions) {
            check_cell(cell, definition, &element.identifier)?;
        }
    }
    Ok(())
}

fn check_cell(cell: &Value, definition: &Value, identifier: &str) -> Result<(), ApiError> {
    let is_optional = definition
        .get("optional")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let fits = match definition.get("type").and_then(Value::as_str).unwrap_or("") {
        "int" => cell.is_i64() || cell.is_u64(),
        "float" => cell.is_number(),
        "boolean" => cell.is_boolean(),
        _ => cell.is_string(),
    };
    let allowed = match definition.get("restrictions") {
        Some(Value::Array(allowed)) if !cell.is_null() => allowed.contains(cell),
        _ => true,
    };
    if allowed && (fits || (cell.is_null() && is_optional)) {
        return Ok(());
    }
    let column = definition.get("name").and_then(Value::as_str).unwrap_or("");
    Err(ApiError::invalid(format!(
        "Element {identifier:?} has a value in column {column:?} that the column does not take."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(collection_type: &str, names: &[&str]) -> NewCollection {
        NewCollection {
            collection_type: collection_type.to_owned(),
            elements: names
                .iter()
                .map(|n| NewElement {
                    identifier: (*n).to_owned(),
                    object: NewObject::Hda(1),
                    columns: None,
                })
                .collect(),
            fields: None,
            column_definitions: None,
        }
    }

    fn check(mut new: NewCollection, expected: Option<u32>) {
        let code = settle(&mut new).err().map(|e| e.code());
        assert_eq!(code, expected, "{} {:?}", new.collection_type, new.elements);
    }

    #[test]
    fn types_are_chains_of_known_ranks() {
        for fine in [
            "list",
            "list:paired",
            "list:list:paired_or_unpaired",
            "record",
            "sample_sheet",
            "sample_sheet:paired",
        ] {
            assert!(check_type(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "set",
            "list:",
            ":list",
            "list:sample_sheet",
            "sample_sheet:list",
            "sample_sheet:paired:list",
        ] {
            assert!(check_type(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs_need_both_and_are_put_in_order() {
        let mut pair = of("paired", &["reverse", "forward"]);
        settle(&mut pair).expect("a pair");
        assert_eq!(pair.elements[0].identifier, "forward");
        check(of("paired", &["forward"]), Some(400_008));
        check(of("paired", &["forward", "backward"]), Some(400_008));
        check(of("paired_or_unpaired", &["unpaired"]), None);
        check(of("paired_or_unpaired", &["forward"]), Some(400_008));
    }

    #[test]
    fn identifiers_are_there_and_unique() {
        check(of("list", &[]), None);
        check(of("list", &["a", "a"]), Some(400_011));
        check(of("list", &[""]), Some(400_007));
    }

    #[test]
    fn depths_must_agree() {
        check(of("list:paired", &["a"]), Some(400_008));
        let mut nested = of("list:paired", &["a"]);
        nested.elements[0].object = NewObject::Collection(of("paired", &["forward", "reverse"]));
        check(nested.clone(), None);
        nested.collection_type = "list".to_owned();
        check(nested.clone(), Some(400_008));
        nested.collection_type = "list:list".to_owned();
        check(nested, Some(400_008));
    }

    #[test]
    fn records_and_sample_sheets_follow_their_definitions() {
        let mut record = of("record", &["a", "b"]);
        check(record.clone(), Some(400_007));
        record.fields = Some(json!([{"name": "a"}, {"name": "b"}]));
        check(record.clone(), None);
        record.elements.reverse();
        check(record, Some(400_008));
        let mut sheet = of("sample_sheet", &["a"]);
        sheet.column_definitions = Some(json!([{"name": "dose", "type": "int"}]));
        check(sheet.clone(), Some(400_008));
        sheet.elements[0].columns = Some(json!(["much"]));
        check(sheet.clone(), Some(400_008));
        sheet.elements[0].columns = Some(json!([5]));
        check(sheet, None);
    }
}
