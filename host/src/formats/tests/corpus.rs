//! Real workflow files, from a folder that is not part of this repository.

use super::*;
use std::path::PathBuf;

const FOLDER_VARIABLE: &str = "BARYCENTER_WORKFLOW_CORPUS";
/// If set, where the exports are written, for comparison by other readers.
const EXPORT_VARIABLE: &str = "BARYCENTER_WORKFLOW_CORPUS_EXPORT";

#[test]
fn every_file_of_the_corpus_goes_round_in_both_formats() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        eprintln!("{FOLDER_VARIABLE} is not set: no real workflow was read by this test.");
        return;
    };
    let entries = std::fs::read_dir(folder).expect("the corpus folder is readable");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ga"));
    assert!(!files.is_empty(), "the corpus folder holds no .ga file");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.display();
        let imported = import_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let native = native_of(&imported);
        let again = import(&native).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (left, right) in again.steps.iter().zip(&imported.steps) {
            assert_eq!(left, right, "{name} changed in native format");
        }
        assert_eq!(again, imported, "{name} changed in native format");

        let yaml = yaml_of(&imported);
        let again = import_text(&yaml).unwrap_or_else(|error| panic!("{name}: {error}\n{yaml}"));
        let (left, right) = (as_format2_keeps(&again), as_format2_keeps(&imported));
        for (left, right) in left.steps.iter().zip(&right.steps) {
            assert_eq!(left, right, "{name} changed in format2");
        }
        assert_eq!(left, right, "{name} changed in format2");
        assert_eq!(
            yaml_of(&again),
            yaml,
            "{name} is not written the same twice"
        );
        let converted = file.with_extension("gxwf.yml");
        if converted.exists() {
            // The same workflow as another program wrote it.
            let bytes = std::fs::read(&converted).unwrap();
            let other = import_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_same_work(&other, &imported, &name.to_string());
        }
        if let Some(folder) = std::env::var_os(EXPORT_VARIABLE) {
            let stem = PathBuf::from(folder).join(file.file_stem().unwrap());
            std::fs::write(stem.with_extension("gxwf.yml"), yaml).unwrap();
            std::fs::write(stem.with_extension("ga"), format!("{native:#}")).unwrap();
        }
    }
}

/// What decides how a workflow runs, leaving out how inputs are shown and validated.
fn assert_same_work(left: &WorkflowDescription, right: &WorkflowDescription, name: &str) {
    assert_eq!(left.steps.len(), right.steps.len(), "{name}");
    let (left, right) = (as_format2_keeps(left), as_format2_keeps(right));
    for (left, right) in left.steps.iter().zip(&right.steps) {
        assert_eq!(left.label, right.label, "{name}");
        assert_eq!(left.step_type, right.step_type, "{name}");
        assert_eq!(left.tool_id, right.tool_id, "{name}");
        assert_eq!(left.inputs, right.inputs, "{name}");
        assert_eq!(left.workflow_outputs, right.workflow_outputs, "{name}");
        assert_eq!(left.post_job_actions, right.post_job_actions, "{name}");
        assert_eq!(left.when_expression, right.when_expression, "{name}");
        assert_eq!(left.position, right.position, "{name}");
        if left.step_type == "tool" {
            assert_eq!(left.tool_inputs, right.tool_inputs, "{name}");
        }
        if let (Some(left), Some(right)) = (&left.subworkflow, &right.subworkflow) {
            assert_same_work(left, right, name);
        }
    }
}
