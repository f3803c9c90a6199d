//! An invocation as RO-Crate, as BioCompute Object, or with its datasets as Galaxy's model store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::archive::{Content, Member, dataset_name, write_tar, write_zip};
use super::biocompute::{self, PipelineStep};
use super::crate_document::{self, Crate, Datum, Parameter};
use super::history::members;
use super::workshop::flag;
use crate::formats::{self, Style};
use crate::http::access;
use crate::http::app::{App, blocking};
use crate::http::error::ApiError;
use crate::http::time::iso;
use crate::http::workflows::find;
use crate::model::revision::Revision;
use crate::store::collections::{self, Forest, Hdca};
use crate::store::datasets::{self, Hda};
use crate::store::invocations::{self, Details, Invocation};
use crate::store::short_term_storage::Stored;
use crate::store::{Query, users};

/// Everything there is to tell about an invocation.
struct Gathered {
    invocation: Invocation,
    revision: std::sync::Arc<Revision>,
    details: Details,
    owner: String,
    hdas: HashMap<i64, Hda>,
    hdcas: HashMap<i64, Hdca>,
    forest: Forest,
    steps: Vec<PipelineStep>,
}

/// Invocations within each other that are gone through.
const INSIDE_MAX: usize = 1_000;

/// `reader` is who gets to see it: what others keep from them is told of and not put in.
async fn gather(
    app: &App,
    q: &mut impl Query,
    id: i64,
    reader: Option<i64>,
) -> Result<Gathered, ApiError> {
    let gone = || ApiError::not_found("The invocation is gone.");
    let invocation = invocations::by_id(q, id).await?.ok_or_else(gone)?;
    let revision = find::revision(app, q, invocation.workflow_id).await?;
    let details = details_of(q, id).await?;
    let owner = users::by_id(q, invocation.user_id).await?;
    let mut hda_ids = BTreeSet::new();
    let mut hdca_ids = BTreeSet::new();
    for input in &details.inputs {
        match input.src {
            "hda" => hda_ids.insert(input.id),
            _ => hdca_ids.insert(input.id),
        };
    }
    let mut steps = Vec::new();
    let mut waiting = vec![(id, String::new())];
    let mut seen = HashSet::new();
    while let Some((id, prefix)) = waiting.pop() {
        if seen.len() >= INSIDE_MAX || !seen.insert(id) {
            continue;
        }
        let Some(inner) = invocations::by_id(q, id).await? else {
            continue;
        };
        let revision = find::revision(app, q, inner.workflow_id).await?;
        let reached = invocations::steps(q, &[id]).await?;
        let ids: Vec<i64> = reached.iter().map(|step| step.id).collect();
        let of_steps = invocations::step_details(q, &ids).await?;
        for step in &reached {
            let number = format!("{prefix}{}", step.order_index + 1);
            waiting.extend(
                step.subworkflow_invocation_id
                    .map(|inner| (inner, format!("{number}."))),
            );
            let Some(found) = of_steps.get(&step.id) else {
                continue;
            };
            hda_ids.extend(found.outputs.iter().map(|output| output.id));
            hdca_ids.extend(found.output_collections.iter().map(|output| output.id));
            let described = usize::try_from(step.order_index).ok();
            let described = described.and_then(|index| revision.description.step(index));
            if let Some(described) = described.filter(|step| step.step_type == "tool") {
                steps.push(PipelineStep {
                    number,
                    name: described.tool_id.clone().unwrap_or_default(),
                    description: described.label.clone().or(described.annotation.clone()),
                    version: described.tool_version.clone(),
                    inputs: described
                        .inputs
                        .iter()
                        .map(|input| input.name.clone())
                        .collect(),
                    outputs: found
                        .outputs
                        .iter()
                        .map(|output| (output.name.clone(), app.encode(output.id)))
                        .collect(),
                });
            }
        }
    }
    let hdca_ids: Vec<i64> = hdca_ids.into_iter().collect();
    let hdcas = collections::by_ids(q, &hdca_ids).await?;
    let roots: Vec<i64> = hdcas.values().map(|hdca| hdca.collection.id).collect();
    let forest = collections::forest(q, &roots).await?;
    hda_ids.extend(forest.hda_ids());
    let hda_ids: Vec<i64> = hda_ids.into_iter().collect();
    let mut hdas = datasets::by_ids(q, &hda_ids).await?;
    if let Some(reader) = reader {
        access::grant_user(q, reader, &mut hdas).await?;
    }
    Ok(Gathered {
        hdas,
        owner: owner.map_or_else(String::new, |user| user.username),
        invocation,
        revision,
        details,
        hdcas,
        forest,
        steps,
    })
}

async fn details_of(q: &mut impl Query, id: i64) -> Result<Details, ApiError> {
    let mut details = invocations::details(q, &[id]).await?;
    Ok(details.remove(&id).unwrap_or_default())
}

/// The BioCompute Object of an invocation.
pub async fn biocompute(app: &App, q: &mut impl Query, id: i64) -> Result<Value, ApiError> {
    let gathered = gather(app, q, id, None).await?;
    Ok(bco(app, &gathered, &json!({})))
}

pub async fn write(app: &App, stored: &Stored, path: PathBuf) -> Result<(), ApiError> {
    let gathered = gather(
        app,
        &mut app.store.reader(),
        stored.item_id,
        Some(stored.user_id),
    )
    .await?;
    let request = stored.request.clone();
    let format = request.get("model_store_format").and_then(Value::as_str);
    match format.unwrap_or("rocrate.zip") {
        "bco.json" => {
            let document = bco(app, &gathered, &request);
            blocking(move || std::fs::write(path, format!("{document:#}\n"))).await
        }
        "rocrate.zip" => {
            let members = crate_members(app, &gathered, &request);
            blocking(move || write_zip(&path, members)).await
        }
        _ => {
            let mut members = store_members(app, &gathered, &request);
            members.push(Member::json(
                "invocation_attrs.txt",
                &json!([{
                    "model_class": "WorkflowInvocation",
                    "encoded_id": app.encode(gathered.invocation.id),
                    "uuid": gathered.invocation.uuid.to_string(),
                    "state": gathered.invocation.state.code(),
                    "create_time": iso(gathered.invocation.create_time),
                    "update_time": iso(gathered.invocation.update_time),
                }]),
            ));
            let zip = format == Some("bag.zip");
            blocking(move || match zip {
                true => write_zip(&path, members),
                false => write_tar(&path, members),
            })
            .await
        }
    }
}

fn wanted(request: &Value) -> impl Fn(&Hda) -> bool {
    let files = flag(request, "include_files", true);
    let deleted = flag(request, "include_deleted", false);
    let hidden = flag(request, "include_hidden", true);
    move |hda| files && (deleted || !hda.deleted) && (hidden || hda.visible)
}

fn workflow_files(gathered: &Gathered) -> Vec<Member> {
    let description = &gathered.revision.description;
    let text = |style| formats::export(description, style).into_text();
    vec![
        Member {
            name: "workflows/workflow.ga".to_owned(),
            content: Content::Text(text(Style::Native)),
        },
        Member {
            name: "workflows/workflow.gxwf.yml".to_owned(),
            content: Content::Text(text(Style::Format2)),
        },
    ]
}

fn store_members(app: &App, gathered: &Gathered, request: &Value) -> Vec<Member> {
    let mut order: Vec<i64> = gathered.hdas.keys().copied().collect();
    order.sort_unstable();
    let mut hdcas: Vec<&Hdca> = gathered.hdcas.values().collect();
    hdcas.sort_by_key(|hdca| hdca.id);
    let mut members = members(
        app,
        &order,
        &gathered.hdas,
        &hdcas,
        &gathered.forest,
        wanted(request),
    );
    members.extend(workflow_files(gathered));
    members
}

fn crate_members(app: &App, gathered: &Gathered, request: &Value) -> Vec<Member> {
    let wanted = wanted(request);
    let mut members = workflow_files(gathered);
    let mut data: HashMap<i64, Datum> = HashMap::new();
    let mut taken = HashSet::new();
    let mut ids: Vec<i64> = gathered.hdas.keys().copied().collect();
    ids.sort_unstable();
    for id in ids {
        let hda = &gathered.hdas[&id];
        let mut name = dataset_name(hda);
        if !taken.insert(name.clone()) {
            name = name.replacen("datasets/", &format!("datasets/{id}_"), 1);
        }
        let is_there = matches!(hda.state.as_str(), "ok" | "empty")
            && !hda.purged
            && hda.readable
            && wanted(hda);
        if is_there {
            members.push(Member {
                name: name.clone(),
                content: Content::File(app.data.dataset(hda.dataset_id)),
            });
        }
        let datum = Datum {
            path: is_there.then_some(name),
            id: format!("urn:uuid:{}", hda.uuid),
            name: hda.name.clone(),
            extension: hda.extension.clone(),
            bytes: hda.file_size,
        };
        data.insert(id, datum);
    }
    let of = |src: &str, id: i64| -> Vec<Datum> {
        let ids: Vec<i64> = match (src, gathered.hdcas.get(&id)) {
            ("hdca", Some(hdca)) => below(&gathered.forest, hdca.collection.id),
            _ => vec![id],
        };
        ids.iter().filter_map(|id| data.get(id).cloned()).collect()
    };
    let details = &gathered.details;
    let label = |label: &Option<String>, index: i64| {
        label
            .clone()
            .unwrap_or_else(|| format!("step {}", index + 1))
    };
    let mut inputs: Vec<Parameter> = Vec::new();
    for input in &details.inputs {
        inputs.push(Parameter {
            name: label(&input.label, input.order_index),
            data: of(input.src, input.id),
            value: None,
        });
    }
    for input in &details.input_parameters {
        inputs.push(Parameter {
            name: label(&input.label, input.order_index),
            data: Vec::new(),
            value: Some(input.value.clone()),
        });
    }
    let mut outputs: Vec<Parameter> = Vec::new();
    let all = [
        ("hda", &details.outputs),
        ("hdca", &details.output_collections),
    ];
    for (src, rows) in all {
        for output in rows {
            outputs.push(Parameter {
                name: output.label.clone().unwrap_or_else(|| {
                    format!("{} (Step {})", output.output_name, output.order_index + 1)
                }),
                data: of(src, output.id),
                value: None,
            });
        }
    }
    let description = &gathered.revision.description;
    let document = crate_document::write(&Crate {
        name: description.name.clone(),
        annotation: description.annotation.clone(),
        license: description.license.clone(),
        creator: description.creator.clone(),
        agent: gathered.owner.clone(),
        uuid: gathered.invocation.uuid.to_string(),
        state: gathered.invocation.state.code().to_owned(),
        begun: iso(gathered.invocation.create_time),
        ended: iso(gathered.invocation.update_time),
        inputs,
        outputs,
        others: data.into_values().collect(),
        tools: gathered
            .steps
            .iter()
            .map(|step| (step.name.clone(), step.version.clone().unwrap_or_default()))
            .collect(),
    });
    members.insert(0, Member::json("ro-crate-metadata.json", &document));
    members
}

fn below(forest: &Forest, id: i64) -> Vec<i64> {
    let mut found = Vec::new();
    for element in forest.elements(id) {
        found.extend(element.hda_id);
        if let Some(child) = element.child_id {
            found.extend(below(forest, child));
        }
    }
    found
}

fn bco(app: &App, gathered: &Gathered, request: &Value) -> Value {
    let description = &gathered.revision.description;
    let named = |rows: Vec<(&Option<String>, i64, &str)>| -> Vec<(String, String)> {
        rows.into_iter()
            .map(|(label, id, src)| {
                let uri = match src {
                    "hda" => format!("/api/datasets/{}/display", app.encode(id)),
                    _ => format!("/api/dataset_collections/{}/download", app.encode(id)),
                };
                (label.clone().unwrap_or_else(|| src.to_owned()), uri)
            })
            .collect()
    };
    let details = &gathered.details;
    let inputs = details
        .inputs
        .iter()
        .map(|i| (&i.label, i.id, i.src))
        .collect();
    let outputs = details.outputs.iter().map(|o| (&o.label, o.id, "hda"));
    let collections = details
        .output_collections
        .iter()
        .map(|o| (&o.label, o.id, "hdca"));
    biocompute::write(&biocompute::Run {
        id: format!("urn:uuid:{}", gathered.invocation.uuid),
        name: description.name.clone(),
        annotation: description.annotation.clone(),
        license: description.license.clone(),
        version: app.encode(gathered.invocation.workflow_id),
        owner: gathered.owner.clone(),
        created: iso(gathered.invocation.create_time),
        modified: iso(gathered.invocation.update_time),
        steps: &gathered.steps,
        parameters: details
            .input_parameters
            .iter()
            .map(|p| {
                (
                    p.label.clone().unwrap_or_default(),
                    p.value.clone(),
                    p.order_index + 1,
                )
            })
            .collect(),
        inputs: named(inputs),
        outputs: named(outputs.chain(collections).collect()),
        request,
    })
}
