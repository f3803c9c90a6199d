//! The API through its clients, unmodified and pinned: BioBlend (scripts, and its own test suite), Planemo,
//! galaxy-workflow-executor.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use barycenter_tests::workflows::REVIEWED;
use barycenter_tests::{TestServer, build, left_out};
use serde_json::{Value, json};

/// The interpreter of an environment with pinned clients, whose list is below `tests/clients`; made once, kept in
/// `name` of the target folder.
pub fn python(list: &str, name: &str) -> Result<PathBuf, String> {
    // One at a time: two tests may want the same one.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    let requirements = build::repository().join("tests/clients").join(list);
    let pinned = std::fs::read_to_string(&requirements).expect("the pinned clients");
    let folder = build::BUILT.parent().expect("the target folder").join(name);
    let (python, mark) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == pinned) {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned()),
        }
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    run(Command::new(&python).args(pip).arg(&requirements))?;
    std::fs::write(&mark, pinned).map_err(|error| error.to_string())?;
    Ok(python)
}

/// The programs of the clients that `tests/clients/FOLDER/requirements.txt` lists; what cannot be had is noted.
fn programs(name: &str, folder: &str) -> Option<PathBuf> {
    let list = Path::new(folder).join("requirements.txt");
    let place = format!("client-tests-venv-{folder}");
    match python(&list.to_string_lossy(), place.trim_end_matches('-')) {
        Ok(python) => python.parent().map(Path::to_owned),
        Err(problem) => {
            left_out::note(&format!(
                "{name}: it cannot be installed here ({problem}); needs python3-venv and a package index"
            ));
            None
        }
    }
}

/// What the files of a folder hold that are text, those of its folders included.
fn texts_below(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let paths = files.map(|file| file.expect("a file").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => texts_below(&path),
            false => std::fs::read_to_string(&path).into_iter().collect(),
        })
        .collect()
}

fn told(output: &Output) -> String {
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}: {out}{error}", output.status)
}

#[test]
fn bioblend_works_unmodified() {
    let Some(programs) = programs("BioBlend", "") else {
        return;
    };
    let server = TestServer::start();
    let ada = server.client();
    let workflow = ada.import_yaml(REVIEWED);
    let native: Value = ada
        .get(&format!("/api/workflows/{workflow}/download?style=ga"))
        .ok();
    ada.delete(&format!("/api/workflows/{workflow}"));
    let write = |name: &str, text: &str| {
        let path = server.folder().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let script = build::repository().join("tests/clients/bioblend_client.py");
    let output = Command::new(programs.join("python"))
        .arg(script)
        .args([&server.url, ada.key.as_deref().expect("a key")])
        .arg(write("workflow.ga", &native.to_string()))
        .arg(write("data.txt", "one\ntwo\n"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", told(&output));
}

/// A script of ours runs to its end against a fresh server; it is told URL, key and a folder.
fn bioblend_script(name: &str, script: &str) {
    let Some(programs) = programs(name, "") else {
        return;
    };
    let server = TestServer::start();
    let folder = build::repository().join("tests/clients");
    let output = Command::new(programs.join("python"))
        .arg(folder.join(script))
        .args([&server.url, server.client().key.as_deref().expect("a key")])
        .arg(server.folder())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn bioblend_works_group_by_group() {
    bioblend_script("BioBlend, group by group", "bioblend_groups.py");
}

#[test]
fn every_method_of_bioblend_does_what_it_says_or_is_refused_as_documented() {
    bioblend_script("BioBlend, method by method", "bioblend_methods.py");
}

/// The files of BioBlend's own suite that are about what this server does. Each gets a fresh server, for some of them
/// look for ids that agree, or for lists that hold nothing else.
const SUITE: [&str; 11] = [
    "TestGalaxyInvocations.py",
    "TestGalaxyWorkflows.py",
    "TestGalaxyJobs.py",
    "TestGalaxyHistories.py",
    "TestGalaxyDatasets.py",
    "TestGalaxyDatasetCollections.py",
    "TestGalaxyTools.py",
    "TestGalaxyConfig.py",
    "TestGalaxyInstance.py",
    "TestGalaxyToolInputs.py",
    "TestGalaxyUsers.py",
];

#[test]
fn bioblends_own_suite_passes_but_for_what_is_listed() {
    let Some(programs) = programs("BioBlend's own suite", "") else {
        return;
    };
    let listed = build::repository().join("tests/clients/bioblend_suite_left_out.txt");
    let listed = std::fs::read_to_string(listed).expect("the list");
    let listed: HashSet<&str> = listed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    // They mostly wait, three seconds at a time.
    let outputs: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = SUITE
            .iter()
            .map(|file| scope.spawn(|| suite_file(&programs, file)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("it ran"))
            .collect()
    });
    let mut passed = 0;
    let mut troubles = Vec::new();
    for output in &outputs {
        passed += output
            .lines()
            .filter(|line| line.starts_with("PASSED "))
            .count();
        let failed = output
            .lines()
            .filter_map(|line| line.strip_prefix("FAILED ").or(line.strip_prefix("ERROR ")));
        for line in failed {
            let test = line.split_whitespace().next().unwrap_or_default();
            // Lines of logs begin so, too.
            if test.starts_with("Test") && !listed.contains(test) {
                troubles.push(line.to_owned());
            }
        }
    }
    assert_eq!(troubles, Vec::<String>::new(), "{}", outputs.join("\n"));
    assert!(
        passed >= 110,
        "only {passed} passed:\n{}",
        outputs.join("\n")
    );
}

fn suite_file(programs: &Path, file: &str) -> String {
    let server = TestServer::start();
    let folder = Command::new(programs.join("python"))
        .args([
            "-c",
            "import bioblend, os; print(os.path.dirname(bioblend.__file__))",
        ])
        .output()
        .expect("Python runs");
    let folder = PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim()).join("_tests");
    let output = Command::new(programs.join("python"))
        .args([
            "-m",
            "pytest",
            "-o",
            "python_files=Test*.py",
            "-o",
            "log_cli=false",
            "-p",
            "no:cacheprovider",
        ])
        .args(["-q", "-rApfEs", "--tb=short", file])
        .current_dir(folder)
        .env("BIOBLEND_GALAXY_URL", &server.url)
        .env(
            "BIOBLEND_GALAXY_API_KEY",
            server.admin().key.expect("a key"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("pytest runs");
    told(&output)
}

const MAPPED: &str = r#"
class: GalaxyWorkflow
label: Mapped
inputs:
  samples: {type: collection, collection_type: list}
  lines: {type: integer, default: 1}
outputs:
  heads: {outputSource: head/out_file1}
  joined: {outputSource: join/out_file1}
steps:
  head:
    tool_id: Show beginning1
    in: {input: samples, lineNum: lines}
    state: {header: false}
  join:
    tool_id: cat1
    in: {input1: head/out_file1}
"#;

const JOB: &str = r#"
samples:
  class: Collection
  collection_type: list
  elements:
    - {class: File, identifier: a, path: a.txt}
    - {class: File, identifier: b, path: b.txt}
lines: 1
"#;

const TESTS: &str = r#"
- doc: The first lines
  job: mapped-job.yml
  outputs:
    joined:
      element_tests:
        a: {asserts: {has_text: {text: a1}, not_has_text: {text: a2}}}
        b: {asserts: {has_text: {text: b1}}}
"#;

#[test]
fn planemo_runs_tests_and_looks_back_at_a_workflow_with_a_mapping() {
    let Some(programs) = programs("Planemo", "planemo") else {
        return;
    };
    let server = TestServer::start();
    let folder = server.folder().join("planemo");
    std::fs::create_dir(&folder).expect("a folder");
    for (name, text) in [
        ("mapped.gxwf.yml", MAPPED),
        ("mapped-job.yml", JOB),
        ("mapped.gxwf-tests.yml", TESTS),
        ("a.txt", "a1\na2\n"),
        ("b.txt", "b1\nb2\n"),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let key = server.client().key.expect("a key");
    let planemo = |arguments: &[&str]| -> String {
        let output = Command::new(programs.join("planemo"))
            .args(arguments)
            .args(["--galaxy_url", &server.url, "--galaxy_user_key", &key])
            .current_dir(&folder)
            .env("HOME", &folder)
            .output()
            .expect("Planemo runs");
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        told(&output)
    };
    let external = ["--engine", "external_galaxy"];
    let run = ["run", "mapped.gxwf.yml", "mapped-job.yml"];
    let kept = ["--download_outputs", "--output_directory", "out"];
    planemo(&[&run[..], &kept[..], &external[..]].concat());
    let texts = texts_below(&folder.join("out"));
    assert!(
        texts.iter().any(|text| text.contains("a1")),
        "nothing was downloaded: {texts:?}"
    );
    planemo(&[&["test", "mapped.gxwf.yml"], &external[..]].concat());

    let ada = server.client();
    let invocation = ada.get("/api/invocations?limit=1").ok()[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    planemo(&["rerun", "--invocation", &invocation]);
    planemo(&[
        "invocation_download",
        &invocation,
        "--output_directory",
        "later",
    ]);
    planemo(&[
        "workflow_test_on_invocation",
        "mapped.gxwf-tests.yml",
        &invocation,
    ]);
    let listed = ada.get("/api/workflows").ok();
    let workflow = listed[0]["id"].as_str().expect("an id").to_owned();
    planemo(&[&["profile_create", "one"], &external[..]].concat());
    let output = Command::new(programs.join("planemo"))
        .args(["list_invocations", &workflow, "--profile", "one"])
        .current_dir(&folder)
        .env("HOME", &folder)
        .output()
        .expect("Planemo runs");
    assert!(output.status.success(), "{}", told(&output));
    let said = planemo(&["list_workflows"]);
    assert!(
        said.contains("Mapped") || said.contains(&workflow),
        "{said}"
    );
}

const COPIED: &str = r#"
class: GalaxyWorkflow
label: Copied
inputs: {data: data}
outputs:
  result: {outputSource: copy/out_file1}
steps:
  copy:
    tool_id: cat1
    in: {input1: data}
    out: {out_file1: {rename: result}}
"#;

#[test]
fn the_workflow_executor_runs_a_workflow_to_its_downloads() {
    let Some(programs) = programs("galaxy-workflow-executor", "executor") else {
        return;
    };
    let server = TestServer::start();
    let ada = server.client();
    let workflow = ada.import_yaml(COPIED);
    let native: Value = ada
        .get(&format!("/api/workflows/{workflow}/download?style=ga"))
        .ok();
    let folder = server.folder().join("executor");
    std::fs::create_dir_all(folder.join("out")).expect("folders");
    let credentials =
        json!({"one": {"url": server.url, "key": ada.key.as_deref().expect("a key")}});
    let inputs = json!({"data": {"path": "data.txt", "type": "txt"}});
    for (name, text) in [
        ("workflow.ga", native.to_string()),
        ("data.txt", "one\ntwo\n".to_owned()),
        ("credentials.yml", credentials.to_string()),
        ("inputs.yml", inputs.to_string()),
        ("parameters.json", "{}".to_owned()),
        ("allowed.yml", "{}".to_owned()),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let output = Command::new(programs.join("python"))
        .arg(build::repository().join("tests/clients/executor/impatient.py"))
        .arg(programs.join("run_galaxy_workflow.py"))
        .args(["-C", "credentials.yml", "-G", "one", "-W", "workflow.ga"])
        .args(["-i", "inputs.yml", "-P", "parameters.json"])
        .args(["-a", "allowed.yml", "-H", "executed", "-o", "out"])
        .current_dir(&folder)
        .output()
        .expect("Python runs");
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    let texts = texts_below(&folder.join("out"));
    let results = texts.iter().filter(|text| *text == "one\ntwo\n").count();
    assert_eq!(results, 1, "downloaded: {texts:?}: {told}");
    // What it asked for last was done as well.
    let listed = ada.get("/api/histories").ok();
    let left = listed.as_array().expect("a list").iter();
    let left = left.filter(|one| {
        one["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("executed"))
    });
    assert_eq!(left.count(), 0, "{listed:#}");
}
