//! A BioCompute Object (IEEE 2791-2020) as JSON.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A tool step that was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineStep {
    /// `3`, or `3.1` inside a subworkflow.
    pub number: String,
    pub name: String,
    pub description: Option<String>,
    pub version: Option<String>,
    pub inputs: Vec<String>,
    /// Names, and ids of datasets.
    pub outputs: Vec<(String, String)>,
}

/// What there is to tell.
pub struct Run<'a> {
    pub id: String,
    pub name: String,
    pub annotation: Option<String>,
    pub license: Option<String>,
    pub version: String,
    pub owner: String,
    pub created: String,
    pub modified: String,
    pub steps: &'a [PipelineStep],
    /// Name, value, number of the step.
    pub parameters: Vec<(String, Value, i64)>,
    /// Name and URI.
    pub inputs: Vec<(String, String)>,
    pub outputs: Vec<(String, String)>,
    /// May hold `bco_merge_history_metadata`, `bco_override_…`.
    pub request: &'a Value,
}

pub fn write(run: &Run<'_>) -> Value {
    let wished = |name: &str| {
        run.request
            .get(name)
            .filter(|value| !value.is_null())
            .cloned()
    };
    let or = |name: &str, default: Value| wished(name).unwrap_or(default);
    let uri = |(name, uri): &(String, String)| json!({"filename": name, "uri": uri, "access_time": run.modified});
    let steps: Vec<Value> = run
        .steps
        .iter()
        .enumerate()
        .map(|(place, step)| {
            let outputs = step.outputs.iter().map(|(name, id)| {
                json!({"filename": name, "uri": format!("/api/datasets/{id}/display"), "access_time": run.modified})
            });
            let inputs = step.inputs.iter().map(|name| {
                json!({"filename": name, "uri": "", "access_time": run.modified})
            });
            json!({
                "step_number": place + 1,
                "name": step.name,
                "description": step.description.as_deref().unwrap_or(&step.name),
                "version": step.version.as_deref().unwrap_or(""),
                "prerequisite": [],
                "input_list": inputs.collect::<Vec<_>>(),
                "output_list": outputs.collect::<Vec<_>>(),
                "workflow_step": step.number,
            })
        })
        .collect();
    let parameters: Vec<Value> = run
        .parameters
        .iter()
        .map(|(name, value, step)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            json!({"param": name, "value": text, "step": step.to_string()})
        })
        .collect();
    let mut document = json!({
        "provenance_domain": {
            "name": run.name,
            "version": run.version,
            "review": [],
            "derived_from": null,
            "created": run.created,
            "modified": run.modified,
            "contributors": [{"name": run.owner, "contribution": ["authoredBy"]}],
            "license": run.license.as_deref().unwrap_or(""),
        },
        "usability_domain": [run.annotation.as_deref().unwrap_or(&run.name)],
        "extension_domain": [],
        "description_domain": {
            "keywords": [],
            "xref": or("bco_override_xref", json!([])),
            "platform": ["Barycenter"],
            "pipeline_steps": steps,
        },
        "execution_domain": {
            "script_access_type": "a_galaxy_workflow",
            "script": [],
            "script_driver": "Galaxy",
            "software_prerequisites": run.steps.iter().map(|step| json!({
                "name": step.name, "version": step.version.as_deref().unwrap_or(""), "uri": {"uri": ""},
            })).collect::<Vec<_>>(),
            "external_data_endpoints": [],
            "environment_variables": or("bco_override_environment_variables", json!({})),
        },
        "parametric_domain": parameters,
        "io_domain": {
            "input_subdomain": run.inputs.iter().map(|one| json!({"uri": uri(one)})).collect::<Vec<_>>(),
            "output_subdomain": run.outputs.iter().map(|one| json!({"mediatype": "", "uri": uri(one)})).collect::<Vec<_>>(),
        },
        "error_domain": {
            "empirical_error": or("bco_override_empirical_error", json!({})),
            "algorithmic_error": or("bco_override_algorithmic_error", json!({})),
        },
    });
    let etag = hex::encode(Sha256::digest(document.to_string().as_bytes()));
    if let Value::Object(object) = &mut document {
        object.shift_insert(0, "object_id".to_owned(), json!(run.id));
        object.shift_insert(
            1,
            "spec_version".to_owned(),
            json!("https://w3id.org/ieee/ieee-2791-schema/2791object.json"),
        );
        object.shift_insert(2, "etag".to_owned(), json!(etag));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_lists_every_tool_step_and_what_was_wished_for() {
        let steps = [PipelineStep {
            number: "3.1".into(),
            name: "cat1".into(),
            description: None,
            version: Some("1".into()),
            inputs: vec!["input1".into()],
            outputs: vec![("out".into(), "abc".into())],
        }];
        let request = json!({"bco_override_empirical_error": {"a": "b"}});
        let written = write(&Run {
            id: "urn:uuid:x".into(),
            name: "w".into(),
            annotation: None,
            license: None,
            version: "1".into(),
            owner: "ada".into(),
            created: "then".into(),
            modified: "now".into(),
            steps: &steps,
            parameters: vec![("n".into(), json!(3), 2)],
            inputs: vec![("reads".into(), "/api/datasets/r/display".into())],
            outputs: vec![],
            request: &request,
        });
        assert_eq!(
            written["description_domain"]["pipeline_steps"][0]["workflow_step"],
            "3.1"
        );
        assert_eq!(
            written["parametric_domain"][0],
            json!({"param": "n", "value": "3", "step": "2"})
        );
        assert_eq!(written["error_domain"]["empirical_error"]["a"], "b");
        assert_eq!(
            written["io_domain"]["input_subdomain"][0]["uri"]["filename"],
            "reads"
        );
        assert_eq!(written["etag"].as_str().map(str::len), Some(64));
    }
}
