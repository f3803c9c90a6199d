use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tools::model::{InputKind, OutputFiles, OutputKind};

const SMALL: &str = "class: GalaxyUserTool
id: small_tool
name: Small tool
version: '1.0'
container: debian
shell_command: cat '$(inputs.a.path)' > out
inputs:
  - {name: a, type: data}
outputs:
  - {name: out, type: data, format_source: a, from_work_dir: out}
";

fn message(text: &str) -> String {
    let message = parse(text, "small.yml").unwrap_err().to_string();
    assert!(message.lines().count() <= 5, "{message}");
    message
}

fn changed(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replace(from, to)
}

#[test]
fn a_small_tool_is_read_with_its_defaults() {
    let tool = parse(SMALL, "small.yml").unwrap();
    assert_eq!(
        (tool.id.as_str(), tool.class),
        ("small_tool", ToolClass::GalaxyUserTool)
    );
    assert_eq!(
        (tool.requirements.cores_min, tool.requirements.ram_min_mb),
        (1, 256)
    );
    assert_eq!(tool.profile, "24.2");
    assert_eq!(tool.source, SMALL);
    let OutputKind::Data(out) = &tool.outputs[0].kind else {
        panic!("not a data output");
    };
    assert!(matches!(&out.files, OutputFiles::WorkDir(path) if path == "out"));
}

#[test]
fn lists_and_maps_and_older_words_mean_the_same() {
    let text = "class: GalaxyTool
id: Show beginning1
shell_command: echo
inputs:
  a: {type: data, extensions: 'bed, gff', multiple: true}
  c:
    type: conditional
    test_parameter: {name: t, type: boolean}
    when:
      true: [{name: x, type: integer, default: 3}]
      false: []
  r: {type: repeat, blocks: [{name: y, type: text}]}
outputs:
  o: {type: data, discover_datasets: {pattern: __name_and_ext__, assign_primary_output: true}}
";
    let tool = parse(text, "x").unwrap();
    assert!(
        matches!(&tool.inputs[0].kind, InputKind::Data { extensions, multiple: true } if extensions == &["bed", "gff"])
    );
    assert!(
        matches!(&tool.inputs[1].kind, InputKind::Conditional { whens, .. }
        if whens[0].discriminator == "true" && whens[0].inputs.len() == 1 && whens[1].inputs.is_empty())
    );
    assert!(
        matches!(&tool.inputs[2].kind, InputKind::Repeat { inputs, .. } if inputs[0].name == "y")
    );
}

#[test]
fn faults_name_file_line_and_place() {
    assert_eq!(
        message(&changed(
            "{name: a, type: data}",
            "{name: a, type: data, formt: txt}"
        )),
        "small.yml:8: inputs[0] has no key 'formt'"
    );
    assert_eq!(
        message(&changed("version: '1.0'", "version: 1.0")),
        "small.yml:4: version: this must be text: put it in quotes"
    );
    assert_eq!(
        message(&changed("inputs.a.path", "inputs.b.path")),
        "small.yml:6: shell_command: inputs.b is used and there is no input called 'b'"
    );
    assert!(message(&changed("container: debian\n", "")).contains("'container' is missing"));
    assert!(message(&changed("small_tool", "Small")).contains("a user's id"));
    assert!(message(&changed("Small tool", "Tiny")).contains("at least 5"));
    assert!(
        message(&changed("type: data}", "type: dta}"))
            .contains("an input of type 'dta' is not known")
    );
    assert!(
        message(&changed("from_work_dir: out", "from_work_dir: ../out")).contains("without '..'")
    );
    assert!(message(&changed(", from_work_dir: out", "")).contains("must have from_work_dir"));
    assert!(message(&changed("out\ninputs", "$(out\ninputs")).contains("never closed"));
    assert!(
        message(&changed("type: data, format_source: a", "type: integer")).contains("not known")
    );
    assert!(message("a: [").starts_with("small.yml:"));
    assert!(message("class: GalaxyTool\nclass: GalaxyTool\n").contains("not usable YAML"));
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            below.trim_end_matches(", ")
        ));
    }
    assert!(message(&bomb).contains("not usable YAML"));
    assert!(message(&"[".repeat(100_000)).contains("not usable YAML"));
    assert!(message(&"- ".repeat(100_000)).contains("not usable YAML"));
}

#[test]
fn the_words_of_a_select_stay_text() {
    let text = changed(
        "{name: a, type: data}",
        "{name: a, type: select, options: [{value: N}, {value: no, selected: yes}]}",
    )
    .replace("format_source: a", "format: txt");
    let tool = parse(&text, "x").unwrap();
    assert!(
        matches!(&tool.inputs[0].kind, InputKind::Select { options, .. }
        if options[0].value == "N" && options[1].value == "no" && options[1].selected)
    );
}

#[test]
fn a_representation_is_the_same_tool_in_json() {
    let tool = parse_representation(&json!({
        "class": "GalaxyUserTool", "id": "small_tool", "name": "Small tool", "version": "1.0",
        "container": "debian", "shell_command": "echo $(inputs.n) > out",
        "inputs": [{"name": "n", "type": "integer", "value": 3}],
        "outputs": [{"name": "out", "type": "data", "from_work_dir": "out"}],
    }));
    assert_eq!(tool.unwrap().inputs[0].name, "n");
    let error = parse_representation(&json!({"class": "GalaxyUserTool", "id": "x"})).unwrap_err();
    assert!(error.to_string().contains("a user's id"), "{error}");
}

#[test]
fn resources_and_files_are_read() {
    let text = SMALL.replace(
        "container: debian",
        "container: debian
requirements:
  - {type: javascript, expression_lib: ['function f() {}']}
  - {type: resource, cores_min: 2, ram_min: 100.5, timelimit: 60}
configfiles:
  - {filename: a.txt, content: x}",
    );
    let tool = parse(&text, "x").unwrap();
    let found = &tool.requirements;
    assert_eq!(
        (found.cores_min, found.ram_min_mb, found.time_limit),
        (2, 101, Some(Duration::from_secs(60)))
    );
    assert_eq!(found.expression_lib.len(), 1);
    assert_eq!(tool.config_files[0].filename, "a.txt");
    assert!(message(&text.replace("a.txt", "/etc/x")).contains("must be relative"));
}

#[test]
fn an_operators_tool_may_be_an_expression() {
    let text = "class: GalaxyTool
id: add
expression: 'return {sum: $job.n + 1};'
inputs: [{name: n, type: integer, value: 1}]
outputs: [{name: out, type: integer, from: sum}]
";
    let tool = parse(text, "add.yml").unwrap();
    let Action::Expression(script) = &tool.action else {
        panic!("not an expression");
    };
    let made = crate::tools::expression::evaluate_expression_tool(script, &json!({"n": 4}), &[]);
    assert_eq!(made.unwrap()["sum"], 5);
    let as_users = text.replace("GalaxyTool", "GalaxyUserTool");
    assert!(parse(&as_users, "add.yml").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn parsing_never_panics(at in 0usize..300, junk in "[a-z:{}\\[\\]&*!|>'\"\n -]{0,12}") {
        let mut text = SMALL.to_owned();
        let at = at.min(text.len());
        text.insert_str(at, &junk);
        let _ = parse(&text, "x");
    }
}
