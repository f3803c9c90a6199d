//! Workflows that people publish, with stand-ins for the tools that are not here: they import, they export to the same
//! thing, and every step of them can be scheduled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use barycenter_tests::client::text;
use barycenter_tests::server::Setup;
use barycenter_tests::{Client, TestServer, build, left_out};
use serde_json::{Map, Value, json};

/// The workflow files of a folder.
fn workflows(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let mut found: Vec<PathBuf> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".ga") || name.ends_with(".gxwf.yml")
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

/// The published workflows of the IWC, where they lie beside the clone.
fn published() -> Option<PathBuf> {
    let beside = build::repository().join("..");
    let places = ["", "shared", "../shared", "../../shared"];
    let folder = |place: &&str| beside.join(place).join("examples/iwc");
    places.iter().map(folder).find(|folder| folder.is_dir())
}

/// What may be left out of a round trip: what a server says of the stored workflow.
fn comparable(mut workflow: Value) -> Value {
    if let Value::Object(whole) = &mut workflow {
        whole.remove("version");
    }
    workflow
}

fn stand_ins(out: &Path, files: &[PathBuf]) {
    let output = Command::new(build::binary())
        .args(["admin", "stub-tools", "--out"])
        .arg(out)
        .arg("--tool-dir")
        .arg(build::fixture("tools"))
        .args(files)
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Name and text of each stand-in that a server has.
type StandIns = BTreeMap<String, String>;

fn stand_ins_of(file: &Path) -> StandIns {
    let folder = tempfile::tempdir().expect("a folder");
    stand_ins(folder.path(), &[file.to_owned()]);
    let files = std::fs::read_dir(folder.path()).expect("the stand-ins");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let tool = std::fs::read_to_string(&path).expect("a tool");
            (name.into_owned(), tool)
        })
        .collect()
}

/// Workflows that can share a server: where two of them use a tool, the same thing stands in for it. Those of several would
/// otherwise have to be everything at once, as one tool takes a dataset here and a value there.
fn groups(files: &[PathBuf]) -> Vec<(StandIns, Vec<&Path>)> {
    let mut groups: Vec<(StandIns, Vec<&Path>)> = Vec::new();
    for (file, own) in files.iter().zip(at_once(files, |file| stand_ins_of(file))) {
        let agrees = |known: &StandIns| {
            own.iter()
                .all(|(name, tool)| known.get(name).is_none_or(|other| other == tool))
        };
        let place = groups
            .iter_mut()
            .find(|(known, members)| members.len() < TOGETHER && agrees(known));
        match place {
            Some((known, members)) => {
                known.extend(own);
                members.push(file);
            }
            None => groups.push((own, vec![file])),
        }
    }
    groups
}

fn collection(ada: &Client, history: &str, kind: &str, data: &[String]) -> String {
    fn elements(kind: &str, data: &[String]) -> Value {
        let (outer, inner) = kind
            .split_once(':')
            .map_or((kind, None), |(o, i)| (o, Some(i)));
        let names: &[&str] = match outer {
            "paired" | "paired_or_unpaired" => &["forward", "reverse"],
            _ => &["one", "two"],
        };
        let one = |(place, name): (usize, &&str)| match inner {
            None => json!({"name": name, "src": "hda", "id": data[place]}),
            Some(inner) => json!({"name": name, "src": "new_collection", "collection_type": inner,
                "element_identifiers": elements(inner, data)}),
        };
        names.iter().enumerate().map(one).collect()
    }
    ada.create_collection(history, "data", kind, &elements(kind, data))
}

/// A value for every input of a workflow that has no default.
fn inputs(ada: &Client, history: &str, data: &[String], workflow: &Value) -> Value {
    let mut given = Map::new();
    for (key, step) in workflow["steps"].as_object().expect("steps") {
        let state: Value = match &step["tool_state"] {
            Value::String(text) => serde_json::from_str(text).expect("a state"),
            state => state.clone(),
        };
        let value = match step["type"].as_str() {
            Some("data_input") => json!({"src": "hda", "id": data[0]}),
            Some("data_collection_input") => {
                let kind = state["collection_type"].as_str().unwrap_or("list");
                let kind = kind.split(',').next().unwrap_or("list").trim();
                json!({"src": "hdca", "id": collection(ada, history, kind, data)})
            }
            Some("parameter_input") => {
                let optional =
                    state["optional"] == json!(true) || state["optional"] == json!("true");
                if optional || !state["default"].is_null() {
                    continue;
                }
                let first = state["restrictions"][0].clone();
                match state["parameter_type"].as_str() {
                    _ if !first.is_null() => first.get("value").cloned().unwrap_or(first),
                    Some("integer") => state["min"].as_i64().map_or(json!(1), |min| json!(min)),
                    Some("float") => json!(1.0),
                    Some("boolean") => json!(true),
                    Some("color") => json!("#aabbcc"),
                    _ => json!("text"),
                }
            }
            _ => continue,
        };
        given.insert(key.clone(), value);
    }
    Value::Object(given)
}

/// Imports, exports both ways, imports those, compares; then runs it. Gives what went wrong.
fn go_through(server: &TestServer, path: &Path) -> Result<String, String> {
    let ada = server.client();
    let bytes = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let import = |workflow: Value| -> Result<(String, Value), String> {
        let answer = ada.post("/api/workflows", &json!({"workflow": workflow}));
        if answer.status != 200 {
            return Err(format!("import: {answer}"));
        }
        let id = text(&answer.ok(), "id");
        let native = ada
            .get(&format!("/api/workflows/{id}/download?style=ga"))
            .ok();
        Ok((id, comparable(native)))
    };
    let wrapped = |yaml: &str| json!({"class": "GalaxyWorkflow", "yaml_content": yaml});
    let source = serde_json::from_str(&bytes).unwrap_or_else(|_| wrapped(&bytes));
    let (id, native) = import(source)?;
    let (_, again) = import(native.clone())?;
    if native != again {
        return Err("a second native round trip changes it".to_owned());
    }
    let format2 = ada.get(&format!("/api/workflows/{id}/download?style=format2"));
    let yaml = String::from_utf8_lossy(&format2.bytes).into_owned();
    let (second, _) = import(wrapped(&yaml))?;
    let yaml_again = ada.get(&format!("/api/workflows/{second}/download?style=format2"));
    if yaml != String::from_utf8_lossy(&yaml_again.bytes) {
        return Err("a round trip through format 2 changes it".to_owned());
    }
    let history = ada.create_history("dry run");
    let data = [
        ada.upload(&history, "one", "1\t2\n"),
        ada.upload(&history, "two", "3\t4\n"),
    ];
    let body = json!({"history_id": history, "inputs_by": "step_index",
        "inputs": inputs(&ada, &history, &data, &native), "allow_tool_state_corrections": true,
        "require_exact_tool_versions": false});
    let answer = ada.post(&format!("/api/workflows/{id}/invocations"), &body);
    if answer.status != 200 {
        return Err(format!("invoke: {answer}"));
    }
    Ok(text(&answer.ok(), "id"))
}

/// Waits until an invocation is scheduled, which is enough: what still runs is stopped then.
fn scheduled(ada: &Client, invocation: &str, wait: Duration) -> Result<(), String> {
    let path = format!("/api/invocations/{invocation}");
    let end = Instant::now() + wait;
    let outcome = loop {
        let shown = ada.get(&path).ok();
        let state = text(&shown, "state");
        if ["scheduled", "completed"].contains(&state.as_str()) {
            break Ok(());
        }
        if state != "new" && state != "ready" || Instant::now() > end {
            let reached = shown["steps"].as_array().map_or(0, Vec::len);
            break Err(format!(
                "{NOT_SCHEDULED}: {state} after {reached} steps: {}",
                shown["messages"]
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    ada.delete(&path).ok();
    outcome
}

/// Takes the workflows of a group through everything on a server of their own.
fn dry_run<'f>(
    (tools, files): &(StandIns, Vec<&'f Path>),
    wait: Duration,
) -> Vec<(&'f Path, String)> {
    let mut setup = Setup::default();
    for (name, tool) in tools {
        setup = setup.tool(name, tool);
    }
    let mut server = setup.start();
    // Stopping a job takes a moment, which nobody waits for.
    server.leaves_jobs();
    let ada = server.client();
    let mut troubles = Vec::new();
    let mut note = |file: &'f Path, outcome: Result<(), String>| {
        troubles.extend(outcome.err().map(|trouble| (file, trouble)));
    };
    let mut running = Vec::new();
    for file in files {
        match go_through(&server, file) {
            Ok(invocation) => running.push((*file, invocation)),
            Err(trouble) => note(file, Err(trouble)),
        }
    }
    for (file, invocation) in running {
        note(file, scheduled(&ada, &invocation, wait));
    }
    troubles
}

/// How a trouble begins that came after the formats were found to be sound.
const NOT_SCHEDULED: &str = "not scheduled";
/// Servers, and other work, at the same time.
const AT_ONCE: usize = 4;
/// Workflows of a server: as many as can be under way without waiting for each other's jobs.
const TOGETHER: usize = 6;

/// What is made of each, a few at the same time.
fn at_once<T: Sync, R: Send>(all: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::SeqCst);
            match all.get(place) {
                Some(one) => made.push((place, make(one))),
                None => return made,
            }
        }
    };
    let mut made: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let made = workers.into_iter().map(|one| one.join().expect("it ended"));
        made.flatten().collect()
    });
    made.sort_by_key(|(place, _)| *place);
    made.into_iter().map(|(_, one)| one).collect()
}

/// Name and trouble of each file that did not get through.
fn dry_runs(files: &[PathBuf], wait: Duration) -> BTreeMap<String, String> {
    let groups = groups(files);
    let troubles = at_once(&groups, |group| dry_run(group, wait));
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    troubles
        .into_iter()
        .flatten()
        .map(|(path, trouble)| (name(path), trouble))
        .collect()
}

#[test]
fn workflows_of_the_shapes_that_people_publish_are_scheduled_to_the_last_step() {
    let files = workflows(&build::fixture("workflows"));
    assert_eq!(dry_runs(&files, Duration::from_secs(60)), BTreeMap::new());
}

/// Their stand-ins know too little of what the tools make: they read values where the real tools put out real ones, or need
/// collections of a shape that only the real tools tell. They import and export as all others do.
const NEED_MORE_THAN_STAND_INS: [&str; 16] = [
    "Assembly-Hifi-Trio-phasing-VGP5.ga",
    "Post_Curation.ga",
    "Purging-duplicates-one-haplotype-VGP6b.ga",
    "QIIME2-Ic-demultiplexed-data-single-end.ga",
    "Scaffolding-HiC-VGP8.ga",
    "Velocyto-on10X-from-bundled.ga",
    "average-bigwig-between-replicates.ga",
    "kmer-profiling-hifi-VGP1.ga",
    "metadata-and-sequences-from-bioproject-ids.ga",
    "metagenomic-raw-reads-amr-analysis.ga",
    "mgnify-amplicon-pipeline-v5-complete.ga",
    "mgnify-amplicon-pipeline-v5-rrna-prediction.ga",
    "pox-virus-half-genome.ga",
    "rnaseq-pe.ga",
    "scrna-seq-fastq-to-matrix-10x-v3.ga",
    "sra-manifest-to-concatenated-fastqs.ga",
];

#[test]
fn every_published_workflow_imports_exports_and_most_are_scheduled_with_stand_ins() {
    let Some(folder) = published() else {
        return left_out::note(
            "published workflows: dry runs of all of the IWC; needs its .ga files in examples/iwc beside the clone",
        );
    };
    let mut troubles = dry_runs(&workflows(&folder), Duration::from_secs(20));
    let mut needless = Vec::from(NEED_MORE_THAN_STAND_INS);
    troubles.retain(|name, trouble| {
        let is_known = trouble.starts_with(NOT_SCHEDULED);
        let place = needless.iter().position(|needs_more| needs_more == name);
        let place = place.filter(|_| is_known);
        place.map(|place| needless.swap_remove(place)).is_none()
    });
    assert_eq!(troubles, BTreeMap::new());
    assert_eq!(needless, Vec::<&str>::new(), "they do get through");
}
