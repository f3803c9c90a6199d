use std::collections::HashMap;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;
use crate::tools::inputs_json::{
    CollectionView, DataRef, DataSource, DataView, DatasetView, ElementView,
};
use crate::tools::yaml;

fn tool(outputs: &str) -> Tool {
    let text = format!(
        "class: GalaxyTool\nid: t\nname: My tool\nshell_command: echo\ninputs:\n  - {{name: in, type: data}}\n  - {{name: list, type: data_collection, optional: true}}\n  - {{name: sec, type: section, parameters: [{{name: inner, type: data, optional: true}}]}}\noutputs:\n{outputs}"
    );
    yaml::parse(&text, "t").unwrap()
}

fn run(outputs: &str, files: &[(&str, &str)]) -> Result<Collected, CollectError> {
    let place = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    collect(&tool(outputs), place.path(), &json!({}), &HashMap::new())
}

#[test]
fn a_named_file_is_found_and_its_absence_is_told() {
    let outputs = "  - {name: o, type: data, format: txt, from_work_dir: a/b.txt}\n";
    let found = run(outputs, &[("a/b.txt", "xyz")]).unwrap();
    assert_eq!(
        (found.datasets[0].size, found.datasets[0].ext.as_str()),
        (3, "txt")
    );
    let error = run(outputs, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "output o: the command did not write a/b.txt"
    );
    assert!(matches!(
        run(outputs, &[("a/b.txt/c", "")]),
        Err(CollectError::NotAFile { .. })
    ));
}

#[test]
fn a_glob_takes_the_first_by_name_and_auto_looks_inside() {
    let found = run(
        "  - {name: o, type: data, format: auto, from_work_dir: 'd*/*.t[a-x]?'}\n",
        &[
            ("d2/b.txt", ""),
            ("d1/z.txt", "1\t2\t3\n"),
            ("d1/.a.txt", ""),
            ("d1/z.md", ""),
        ],
    )
    .unwrap();
    assert!(found.datasets[0].path.ends_with("d1/z.txt"));
    assert_eq!(found.datasets[0].ext, "bed");
}

#[test]
fn links_do_not_publish_files_of_the_server() {
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let work = place.path().join("work");
    fs::create_dir_all(work.join("parts")).unwrap();
    symlink(&secret, work.join("o")).unwrap();
    symlink(&secret, work.join("parts/a.txt")).unwrap();
    symlink(place.path(), work.join("out")).unwrap();
    for outputs in [
        "  - {name: o, type: data, from_work_dir: o}\n",
        "  - {name: o, type: data, from_work_dir: out/secret}\n",
        "  - {name: o, type: data, from_work_dir: '?'}\n",
        "  - {name: o, type: collection, collection_type: list, discover_datasets: {pattern: __name_and_ext__, directory: parts}}\n",
    ] {
        let outcome = collect(&tool(outputs), &work, &json!({}), &HashMap::new());
        assert!(
            matches!(outcome, Err(CollectError::Escapes { .. })),
            "{outputs}: {outcome:?}"
        );
    }
    for outputs in [
        "  - {name: o, type: data, from_work_dir: 'out/s*'}\n",
        "  - {name: o, type: data, discover_datasets: {pattern: 'secret', directory: out, assign_primary_output: true}}\n",
    ] {
        assert!(
            collect(&tool(outputs), &work, &json!({}), &HashMap::new()).is_err(),
            "{outputs}"
        );
    }
    // A link that stays inside is only another name.
    fs::write(work.join("real"), "x").unwrap();
    fs::remove_file(work.join("o")).unwrap();
    symlink("real", work.join("o")).unwrap();
    let found = collect(
        &tool("  - {name: o, type: data, from_work_dir: o}\n"),
        &work,
        &json!({}),
        &HashMap::new(),
    );
    assert!(found.unwrap().datasets[0].path.ends_with("real"));
}

#[test]
fn a_link_in_place_of_the_working_directory_publishes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let elsewhere = place.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("working")).unwrap();
    fs::write(elsewhere.join("o"), "s").unwrap();
    fs::write(elsewhere.join("working/o"), "s").unwrap();
    let job = place.path().join("job");
    fs::create_dir(&job).unwrap();
    symlink(&elsewhere, job.join("working")).unwrap();
    symlink(&elsewhere, place.path().join("linked")).unwrap();
    for work in [job.join("working"), place.path().join("linked/working")] {
        let outputs = "  - {name: o, type: data, from_work_dir: o}\n";
        let outcome = collect(&tool(outputs), &work, &json!({}), &HashMap::new());
        assert!(
            matches!(outcome, Err(CollectError::WorkingDirectory(_))),
            "{outcome:?}"
        );
    }
}

#[test]
fn collections_are_sorted_as_asked() {
    let outputs = |more: &str| {
        format!(
            "  - {{name: o, type: collection, collection_type: list, discover_datasets: {{pattern: '(?P<name>[^/]+)\\.txt', directory: parts, format: txt{more}}}}}\n"
        )
    };
    let files = [
        ("parts/10.txt", ""),
        ("parts/9.txt", ""),
        ("parts/x.md", ""),
    ];
    let names = |more: &str| -> Vec<String> {
        let found = run(&outputs(more), &files).unwrap();
        found.collections[0]
            .elements
            .iter()
            .map(|element| element.identifiers.join(":"))
            .collect()
    };
    assert_eq!(names(""), ["10", "9"]);
    assert_eq!(names(", sort_key: name, sort_comp: numeric"), ["9", "10"]);
    assert_eq!(names(", sort_by: reverse_numeric_name"), ["10", "9"]);
    assert_eq!(run(&outputs(""), &[]).unwrap().collections[0].elements, []);
}

#[test]
fn nested_identifiers_and_extensions_come_from_the_name() {
    let found = run("  - {name: o, type: collection, collection_type: 'list:paired', discover_datasets: {pattern: '(?P<identifier_0>[^_]+)_(?P<identifier_1>[^_.]+)\\.(?P<ext>.+)'}}\n",
        &[("s1_forward.fastq.gz", ""), ("s1_reverse.txt", "")]).unwrap();
    let elements = &found.collections[0].elements;
    assert_eq!(elements[0].identifiers, ["s1", "forward"]);
    assert_eq!(
        (elements[0].ext.as_str(), elements[1].ext.as_str()),
        ("fastq.gz", "txt")
    );
    let twice = run(
        "  - {name: o, type: collection, collection_type: list, discover_datasets: {pattern: '(?P<name>.)', recurse: true}}\n",
        &[("a1", ""), ("sub/a2", "")],
    );
    assert!(matches!(twice, Err(CollectError::Ambiguous { .. })));
}

#[test]
fn discovered_datasets_stand_beside_the_declared_one() {
    let outputs = "  - {name: o, type: data, discover_datasets: {pattern: __designation_and_ext__, directory: d, assign_primary_output: true, visible: true}}\n";
    let found = run(outputs, &[("d/a.txt", ""), ("d/b.bed", "")]).unwrap();
    let seen: Vec<_> = found
        .datasets
        .iter()
        .map(|one| {
            (
                one.designation.as_deref(),
                one.ext.as_str(),
                one.extra,
                one.visible,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("a"), "txt", false, true),
            (Some("b"), "bed", true, true)
        ]
    );
    assert!(matches!(
        run(outputs, &[]),
        Err(CollectError::NothingDiscovered { .. })
    ));
}

fn data() -> DataViews {
    let dataset = |name: &str, ext: &str| DatasetView {
        name: name.to_owned(),
        ext: ext.to_owned(),
        ..DatasetView::default()
    };
    HashMap::from([
        (
            DataRef::new(DataSource::Hda, 1),
            DataView::Dataset(dataset("one", "bed")),
        ),
        (
            DataRef::new(DataSource::Hdca, 2),
            DataView::Collection(CollectionView {
                name: "pairs".to_owned(),
                collection_type: "list:paired".to_owned(),
                elements: vec![ElementView {
                    identifier: "e".to_owned(),
                    object: DataView::Dataset(dataset("two", "vcf")),
                }],
                ..CollectionView::default()
            }),
        ),
    ])
}

#[test]
fn extensions_and_types_come_from_inputs() {
    let state = json!({"in": {"src": "hda", "id": 1}, "list": {"src": "hdca", "id": 2}, "sec": {"inner": {"values": [{"src": "hdca", "id": 2}]}}});
    let tool = tool("  - {name: a, type: data, format_source: in, from_work_dir: x}
  - {name: b, type: data, format: input, from_work_dir: x}
  - {name: c, type: data, format_source: inner, from_work_dir: x}
  - {name: d, type: data, from_work_dir: x}
  - {name: e, type: integer, from_work_dir: x}
  - {name: f, type: collection, collection_type_source: list, format_source: list, discover_datasets: {pattern: __name__}}
");
    let of = |name: &str| output_extension(&tool, tool.output(name).unwrap(), &state, &data());
    assert_eq!(
        ["a", "b", "c", "d", "e", "f"].map(of),
        ["bed", "bed", "vcf", "data", "expression.json", "vcf"]
    );
    let f = tool.output("f").unwrap();
    assert_eq!(
        output_collection_type(&tool, f, &state, &data()).as_deref(),
        Some("list:paired")
    );
}

#[test]
fn labels_are_filled_as_text() {
    let state = json!({"in": {"src": "hda", "id": 1}, "list": null, "sec": {"inner": null}});
    let label = |label: &str| {
        let tool = tool(&format!(
            "  - {{name: o, type: data, from_work_dir: x, label: '{label}'}}\n"
        ));
        output_label(&tool, &tool.outputs[0], "dataset 1", &state, &data())
    };
    assert_eq!(label("picked from $(inputs.in.name)"), "picked from one");
    assert_eq!(
        label("$(runtime.on_string) $(inputs.list.name) $(1 + 1)"),
        "dataset 1 $(inputs.list.name) $(1 + 1)"
    );
    assert_eq!(
        label("${tool.name} on ${on_string}"),
        "My tool on dataset 1"
    );
    let tool = tool("  - {name: o, type: data, from_work_dir: x}\n");
    assert_eq!(
        output_label(&tool, &tool.outputs[0], "dataset 1 and 2", &state, &data()),
        "My tool on dataset 1 and 2"
    );
    assert_eq!(
        output_label(&tool, &tool.outputs[0], "", &state, &data()),
        "My tool"
    );
}

#[test]
fn on_strings_count_to_three() {
    assert_eq!(
        [&[][..], &[1], &[1, 2], &[1, 2, 3], &[1, 2, 3, 4]].map(on_string),
        [
            "",
            "dataset 1",
            "dataset 1 and 2",
            "dataset 1, 2, and 3",
            "dataset 1, 2, and others"
        ]
    );
    assert_eq!(on_string_of(&[1], &[4]), "dataset 1 and collection 4");
}
