use serde_json::json;

use super::*;
use crate::formats;

/// One input of each sort.
fn workflow() -> WorkflowDescription {
    let text = "
class: GalaxyWorkflow
inputs:
  Reads: {type: data}
  Samples: {type: collection, collection_type: list}
  Pairs: {type: collection, collection_type: 'list:paired', optional: true}
  Quality: {type: integer, default: 20}
  Mode: {type: text, optional: true, restrictions: [fast, slow]}
  a=b: {type: text, optional: true}
outputs: {}
steps: {}
";
    formats::import_bytes(text.as_bytes()).expect("a workflow")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for name in ["r.fq", "one.txt", "two.txt", "one.csv"] {
            std::fs::write(folder.path().join(name), name).expect("written");
        }
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn given(&self, job: &str, flags: &[String]) -> Result<Inputs, Vec<String>> {
        let job = JobFile {
            name: "job.yml",
            text: job,
            folder: self.0.path(),
        };
        collect(&workflow(), Some(job), flags)
    }

    /// The inputs of a job file besides those that must be there.
    fn more(&self, job: &str) -> Result<Inputs, Vec<String>> {
        let needed =
            "Reads: {class: File, path: r.fq}\nSamples: {class: Collection, elements: []}\n";
        self.given(&format!("{needed}{job}"), &[])
    }

    fn fault(&self, job: &str) -> String {
        let faults = self.more(job).expect_err("refused");
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap_or_default()
    }
}

fn index(label: &str) -> usize {
    workflow()
        .step_by_label(label)
        .expect("an input")
        .order_index
}

#[test]
fn flags_give_files_lists_and_typed_values() {
    let folder = Folder::new();
    let flags = [
        format!("Reads={}", folder.path("r.fq")),
        format!("Samples={}", folder.path("one.txt")),
        format!("Samples={}", folder.path("one.csv")),
        "Quality=30".to_owned(),
        "a=b=c=d".to_owned(),
    ];
    let inputs = folder.given("", &flags).expect("all fits");
    match &inputs[&index("Reads")] {
        Input::Files(Local::Dataset(file)) => {
            assert_eq!(file.from, local::From::Path(folder.path("r.fq").into()))
        }
        other => panic!("{other:?}"),
    }
    match &inputs[&index("Samples")] {
        Input::Files(Local::Collection {
            elements,
            collection_type,
            ..
        }) => {
            assert_eq!(collection_type, "list");
            let names: Vec<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
            // The second is called by its whole name, since identifiers must differ.
            assert_eq!(names, ["one", "one.csv"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(inputs[&index("Quality")], Input::Value(json!(30)));
    assert_eq!(inputs[&index("a=b")], Input::Value(json!("c=d")));
}

#[test]
fn a_folder_is_the_list_of_its_files_but_for_the_hidden_ones() {
    let folder = Folder::new();
    std::fs::write(folder.path(".DS_Store"), "").expect("written");
    let flags = [format!("Samples={}", folder.path(""))];
    let inputs = folder
        .given("Reads: {class: File, path: r.fq}", &flags)
        .expect("all fits");
    match &inputs[&index("Samples")] {
        Input::Files(Local::Collection { elements, .. }) => {
            let names: Vec<&str> = elements.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["one", "one.txt", "r", "two"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_file_gives_nested_collections_with_types() {
    let folder = Folder::new();
    let inputs = folder
        .more(
            "Pairs:
  class: Collection
  collection_type: list:paired
  elements:
    - class: Collection
      identifier: s1
      elements:
        - {class: File, identifier: forward, path: one.txt, filetype: fastqsanger}
        - {class: File, identifier: reverse, path: two.txt}
Mode: fast
",
        )
        .expect("all fits");
    let Input::Files(Local::Collection { elements, .. }) = &inputs[&index("Pairs")] else {
        panic!("no collection");
    };
    let LocalElement::Inner(pair) = &elements[0].1 else {
        panic!("no inner collection");
    };
    let LocalElement::File(file) = &pair[0].1 else {
        panic!("no file");
    };
    assert_eq!(file.extension.as_deref(), Some("fastqsanger"));
    assert_eq!(file.from, local::From::Path(folder.path("one.txt").into()));
    assert_eq!(inputs[&index("Mode")], Input::Value(json!("fast")));
}

#[test]
fn flags_beat_the_job_file() {
    let folder = Folder::new();
    let job =
        "Reads: {class: File, path: r.fq}\nSamples: {class: Collection, elements: []}\nQuality: 1";
    let inputs = folder
        .given(job, &["Quality=2".to_owned()])
        .expect("all fits");
    assert_eq!(inputs[&index("Quality")], Input::Value(json!(2)));
}

#[test]
fn what_is_wrong_is_told_all_at_once_and_with_a_suggestion() {
    let flags = ["Read=x", "Quality=many", "Mode=quick", "nonsense"].map(str::to_owned);
    let faults = collect(&workflow(), None, &flags)
        .expect_err("refused")
        .join("\n");
    for part in [
        "no input \"Read\"; did you mean `Reads`?",
        "\"many\" is not an integer",
        "fast",
        "LABEL=VALUE",
        "\"Reads\" is missing: give a file",
        "\"Samples\" is missing: give a collection (list)",
    ] {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}

#[test]
fn a_job_file_that_does_not_fit_is_refused_with_its_place() {
    let folder = Folder::new();
    let check = |job: &str, part: &str| {
        let fault = folder.fault(job);
        assert!(fault.starts_with("job.yml"), "{fault}");
        assert!(fault.contains(part), "{part} in {fault}");
    };
    check(
        "Quality: {class: File, path: r.fq}",
        "takes a value (integer)",
    );
    check("Quality: x", "Quality");
    check(
        "Pairs: {class: File, path: r.fq}",
        "takes a collection (list:paired)",
    );
    check("Pairs: {class: Collection}", "elements");
    check(
        "Pairs: {class: Collection, elements: [{path: r.fq}]}",
        "identifier",
    );
    check("Pairs: {class: Directory}", "no class");
    check("Pairs: r.fq", "class: Collection");
}

#[test]
fn files_that_are_missing_or_far_away_are_refused() {
    let folder = Folder::new();
    let pairs = |path: &str| {
        format!("Pairs: {{class: Collection, elements: [{{identifier: x, path: '{path}'}}]}}")
    };
    assert!(folder.fault(&pairs("nowhere")).contains("there is no file"));
    assert!(
        folder
            .fault(&pairs("https://example.org/x"))
            .contains("download it")
    );
    assert!(folder.fault(&pairs(".")).contains("is a folder"));
}

#[test]
fn what_is_given_wrongly_is_not_called_missing() {
    let flags = ["Reads=", "Samples=/nowhere/x"].map(str::to_owned);
    assert_eq!(
        collect(&workflow(), None, &flags).expect_err("refused"),
        [
            "-i Reads: no file is named.",
            "-i Samples: there is no file /nowhere/x."
        ]
    );
}

#[test]
fn a_job_file_that_is_no_map_is_the_one_fault() {
    let folder = Folder::new();
    for text in ["- 1", "a: [", "just text"] {
        let faults = folder.given(text, &[]).expect_err("refused");
        assert!(faults[0].starts_with("job.yml"), "{faults:?}");
        assert_eq!(faults.len(), 1, "what it gives is not known: {faults:?}");
    }
}

#[test]
fn several_values_for_one_dataset_are_refused() {
    let folder = Folder::new();
    let one = format!("Reads={}", folder.path("r.fq"));
    let flags = [
        one.clone(),
        one,
        format!("Samples={}", folder.path("one.txt")),
    ];
    let faults = folder.given("", &flags).expect_err("refused");
    assert_eq!(
        faults
            .iter()
            .filter(|f| f.contains("more than once"))
            .count(),
        1,
        "{faults:?}"
    );
}
