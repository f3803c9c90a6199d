//! The API through its clients.

use std::path::PathBuf;
use std::process::{Command, Output};

use barycenter_tests::workflows::REVIEWED;
use barycenter_tests::{TestServer, build, left_out};
use serde_json::Value;

/// The interpreter of an environment with pinned clients, whose list is below `tests/clients`; made once, kept in
/// `name` of the target folder.
pub fn python(list: &str, name: &str) -> Result<PathBuf, String> {
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

fn told(output: &Output) -> String {
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}: {out}{error}", output.status)
}

#[test]
fn bioblend_works_unmodified() {
    let python = match python("requirements.txt", "client-tests-venv") {
        Ok(python) => python,
        Err(problem) => {
            let line = format!(
                "BioBlend: it cannot be installed here ({problem}); needs python3-venv and a package index"
            );
            return left_out::note(&line);
        }
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
    let output = Command::new(python)
        .arg(script)
        .args([&server.url, ada.key.as_deref().expect("a key")])
        .arg(write("workflow.ga", &native.to_string()))
        .arg(write("data.txt", "one\ntwo\n"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", told(&output));
}
