//! `ro-crate-metadata.json` of an invocation: RO-Crate 1.1 with the profile Workflow Run.

use serde_json::{Value, json};

/// A dataset. Without a path it is only told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub path: Option<String>,
    pub id: String,
    pub name: String,
    pub extension: String,
    pub bytes: Option<i64>,
}

impl Datum {
    fn reference(&self) -> Value {
        json!({"@id": self.path.as_ref().unwrap_or(&self.id)})
    }
}

/// An input or output of the workflow, with what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub data: Vec<Datum>,
    pub value: Option<Value>,
}

#[derive(Debug, Clone)]
pub struct Crate {
    pub name: String,
    pub annotation: Option<String>,
    pub license: Option<String>,
    pub creator: Option<Value>,
    pub agent: String,
    pub uuid: String,
    pub state: String,
    pub begun: String,
    pub ended: String,
    pub inputs: Vec<Parameter>,
    pub outputs: Vec<Parameter>,
    /// Every dataset, those of inputs and outputs as well.
    pub others: Vec<Datum>,
    /// Id and version.
    pub tools: Vec<(String, String)>,
}

const WORKFLOW: &str = "workflows/workflow.ga";
const ABSTRACT: &str = "workflows/workflow.gxwf.yml";

pub fn write(run: &Crate) -> Value {
    let mut data = run.others.clone();
    data.sort_by(|a, b| (&a.path, &a.id).cmp(&(&b.path, &b.id)));
    data.dedup();
    let mut parts = vec![json!({"@id": WORKFLOW}), json!({"@id": ABSTRACT})];
    parts.extend(
        data.iter()
            .filter(|d| d.path.is_some())
            .map(Datum::reference),
    );
    let action = format!("#{}", run.uuid);
    let agent = format!("#user-{}", run.agent);
    let formal = |kind: &str, parameter: &Parameter| -> (Value, Value) {
        let id = format!("#{kind}-{}", encoded(&parameter.name));
        let additional = match (&parameter.value, parameter.data.len()) {
            (Some(Value::Bool(_)), _) => "Boolean",
            (Some(Value::Number(n)), _) if n.is_i64() => "Integer",
            (Some(Value::Number(_)), _) => "Float",
            (Some(_), _) => "Text",
            (None, 1) => "File",
            (None, _) => "Collection",
        };
        let shape = json!({
            "@id": id,
            "@type": "FormalParameter",
            "additionalType": additional,
            "conformsTo": {"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
            "name": parameter.name,
            "workExample": parameter.data.iter().map(Datum::reference).collect::<Vec<_>>(),
        });
        (json!({"@id": id}), shape)
    };
    let mut graph = Vec::new();
    let (mut input_refs, mut output_refs) = (Vec::new(), Vec::new());
    let (mut objects, mut results) = (Vec::new(), Vec::new());
    for parameter in &run.inputs {
        let (reference, shape) = formal("input", parameter);
        if let Some(value) = &parameter.value {
            let id = format!("#value-{}", encoded(&parameter.name));
            objects.push(json!({"@id": id}));
            graph.push(json!({
                "@id": id, "@type": "PropertyValue", "name": parameter.name, "value": value, "exampleOfWork": reference,
            }));
        }
        objects.extend(parameter.data.iter().map(Datum::reference));
        input_refs.push(reference);
        graph.push(shape);
    }
    for parameter in &run.outputs {
        let (reference, shape) = formal("output", parameter);
        results.extend(parameter.data.iter().map(Datum::reference));
        output_refs.push(reference);
        graph.push(shape);
    }
    let mut tools = run.tools.clone();
    tools.sort();
    tools.dedup();
    for (id, version) in &tools {
        graph.push(json!({
            "@id": format!("#tool-{}", encoded(&format!("{id}/{version}"))),
            "@type": "SoftwareApplication", "name": id, "version": version,
        }));
    }
    for datum in &data {
        graph.push(json!({
            "@id": datum.path.as_ref().unwrap_or(&datum.id),
            "@type": "File",
            "name": datum.name,
            "encodingFormat": datum.extension,
            "contentSize": datum.bytes,
            "identifier": datum.id,
        }));
    }
    let status = match run.state.as_str() {
        "failed" | "cancelled" | "cancelling" => "http://schema.org/FailedActionStatus",
        "completed" => "http://schema.org/CompletedActionStatus",
        _ => "http://schema.org/ActiveActionStatus",
    };
    let mut document = vec![
        json!({
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"}],
        }),
        json!({
            "@id": "./",
            "@type": "Dataset",
            "name": format!("Run of {}", run.name),
            "description": run.annotation.as_deref().unwrap_or(&run.name),
            "datePublished": run.ended,
            "license": run.license.as_deref().unwrap_or("not specified"),
            "conformsTo": [
                {"@id": "https://w3id.org/ro/wfrun/process/0.5"},
                {"@id": "https://w3id.org/ro/wfrun/workflow/0.5"},
                {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
            ],
            "mainEntity": {"@id": WORKFLOW},
            "mentions": [{"@id": action}],
            "hasPart": parts,
        }),
        json!({
            "@id": WORKFLOW,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": run.name,
            "programmingLanguage": {"@id": "https://w3id.org/workflowhub/workflow-ro-crate#galaxy"},
            "creator": run.creator,
            "license": run.license,
            "input": input_refs,
            "output": output_refs,
            "subjectOf": {"@id": ABSTRACT},
        }),
        json!({
            "@id": ABSTRACT,
            "@type": ["File", "SoftwareSourceCode", "HowTo"],
            "name": format!("{} (format 2)", run.name),
            "programmingLanguage": {"@id": "https://w3id.org/workflowhub/workflow-ro-crate#galaxy"},
        }),
        json!({
            "@id": "https://w3id.org/workflowhub/workflow-ro-crate#galaxy",
            "@type": "ComputerLanguage",
            "name": "Galaxy",
            "identifier": {"@id": "https://galaxyproject.org/"},
            "url": {"@id": "https://galaxyproject.org/"},
        }),
        json!({
            "@id": action,
            "@type": "CreateAction",
            "name": format!("Run of {}", run.name),
            "instrument": {"@id": WORKFLOW},
            "agent": {"@id": agent},
            "startTime": run.begun,
            "endTime": run.ended,
            "actionStatus": status,
            "object": objects,
            "result": results,
        }),
        json!({"@id": agent, "@type": "Person", "name": run.agent}),
        json!({"@id": "https://w3id.org/ro/wfrun/process/0.5", "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}),
        json!({"@id": "https://w3id.org/ro/wfrun/workflow/0.5", "@type": "CreativeWork", "name": "Workflow Run Crate", "version": "0.5"}),
        json!({"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0", "@type": "CreativeWork", "name": "Workflow RO-Crate", "version": "1.0"}),
    ];
    document.extend(graph);
    json!({
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": document,
    })
}

/// A text as part of a URI.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_referred_to_is_told_of_once() {
        let datum = |path: Option<&str>, id: &str| Datum {
            path: path.map(str::to_owned),
            id: id.into(),
            name: id.into(),
            extension: "txt".into(),
            bytes: Some(3),
        };
        let (a, b) = (
            datum(Some("datasets/a.txt"), "urn:uuid:a"),
            datum(None, "urn:uuid:b"),
        );
        let input = |name: &str, data: Vec<Datum>, value: Option<Value>| Parameter {
            name: name.into(),
            data,
            value,
        };
        let document = write(&Crate {
            name: "w".into(),
            annotation: None,
            license: Some("MIT".into()),
            creator: None,
            agent: "ada".into(),
            uuid: "u".into(),
            state: "completed".into(),
            begun: "2020".into(),
            ended: "2021".into(),
            inputs: vec![
                input("my reads", vec![a.clone()], None),
                input("n", vec![], Some(json!(4))),
            ],
            outputs: vec![input("out", vec![b.clone()], None)],
            others: vec![b, a],
            tools: vec![("cat1".into(), "1".into()), ("cat1".into(), "1".into())],
        });
        let graph = document["@graph"].as_array().expect("a list");
        let mut ids: Vec<&str> = graph.iter().filter_map(|e| e["@id"].as_str()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id twice");
        let action = graph
            .iter()
            .find(|e| e["@type"] == "CreateAction")
            .expect("the run");
        for key in ["object", "result"] {
            for reference in action[key].as_array().expect("a list") {
                assert!(
                    ids.contains(&reference["@id"].as_str().expect("an id")),
                    "{reference}"
                );
            }
        }
        assert_eq!(action["object"].as_array().map(Vec::len), Some(2));
        let root = &graph[1];
        assert_eq!(root["hasPart"].as_array().map(Vec::len), Some(3));
    }
}
