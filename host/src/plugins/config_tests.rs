use super::*;
use serde_json::json;
use std::time::Duration;

fn parse(text: &str) -> Result<PluginsConfig, Vec<String>> {
    PluginsConfig::parse(text, "plugins.toml", Path::new("/etc/site"))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The single fault of a file that has a good scheduler and `text`.
fn fault(text: &str) -> String {
    let whole = format!("[[scheduler]]\ntype = \"default\"\n{text}");
    let faults = parse(&whole).expect_err("a fault");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].lines().count() <= 5);
    faults[0].clone()
}

#[test]
fn a_full_file_is_read_as_it_stands() {
    let config = parse(
        r#"
        [plugins]
        search = ["plugins", "/usr/lib/barycenter/plugins"]
        default_scheduler = "night"

        [[scheduler]]
        type = "default"

        [[scheduler]]
        type = "fair-share"
        id = "night"
        path = "/opt/site/libfair_share.so"
        isolation = "inproc"
        required = false
        on_failure = "fallback:default"
        limits = { call_timeout = "250ms", restarts = "3/1m", in_flight = 1 }
        [scheduler.config]
        weight = 2.5
        classes = [{ name = "gpu" }]

        [[workflow_module]]
        type = "pause"

        [handlers]
        assign_with = ["db-skip-locked"]
        max_grab = 16
        "#,
    )
    .unwrap();
    assert_eq!(config.search[0], Path::new("/etc/site/plugins"));
    assert_eq!(config.default_scheduler, "night");
    assert_eq!(config.handlers.max_grab, Some(16));
    let night = &config.entries[1];
    assert_eq!((night.id.as_str(), night.required), ("night", false));
    assert_eq!(night.fallback.as_deref(), Some("default"));
    assert_eq!(night.isolation, Isolation::InProcess);
    assert_eq!(night.limits.call_timeout, Some(Duration::from_millis(250)));
    assert_eq!(night.limits.restarts().count, 3);
    assert_eq!(
        night.config,
        json!({ "weight": 2.5, "classes": [{ "name": "gpu" }] })
    );
    assert!(
        night
            .config_lines
            .contains(&("/classes/0/name".to_owned(), 19))
    );
    assert_eq!(config.entries[2].kind, PluginKind::WorkflowModule);
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_its_line() {
    let faults = parse(
        "[plugins]\n\
         serach = []\n\
         default_scheduler = \"nigth\"\n\
         [[scheduler]]\n\
         id = \"night\"\n\
         type = \"fair-share\"\n\
         isolation = \"proces\"\n\
         [[scheduler]]\n\
         id = \"night\"\n\
         type = \"default\"\n\
         [[job_runer]]\n\
         type = \"local\"\n",
    )
    .unwrap_err();
    let wanted = [
        "plugins.toml line 2, [plugins]: there is no key `serach` here; did you mean `search`?",
        "plugins.toml line 7, [[scheduler]] night: `isolation` is `proces`",
        "there is no key `job_runer` here; did you mean `job_runner`?",
        "plugins.toml line 8, [[scheduler]] night: the id `night` is used twice",
        "plugins.toml line 3: there is no scheduler with the id `nigth`; did you mean `night`?",
    ];
    for text in wanted {
        assert!(
            faults.iter().any(|fault| fault.contains(text)),
            "{text}\n{faults:#?}"
        );
    }
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("Give `auto`, `inproc` or `process`."))
    );
}

#[test]
fn an_empty_file_has_no_scheduler() {
    assert_eq!(
        parse("").unwrap_err(),
        [
            "plugins.toml: no scheduler is declared\n  Add a table [[scheduler]] with `type = \"default\"`."
        ]
    );
}

#[test]
fn the_default_scheduler_must_exist_even_when_it_is_not_named() {
    let faults = parse("[[scheduler]]\ntype = \"fair-share\"\n").unwrap_err();
    assert!(
        faults[0].contains("no scheduler with the id `default`"),
        "{}",
        faults[0]
    );
    assert!(faults[0].contains("to one of: fair-share"), "{}", faults[0]);
}

#[test]
fn single_faults_name_their_place_and_remedy() {
    for (text, wanted) in [
        (
            "[[workflow_module]]\nid = \"x\"\n",
            "line 3, [[workflow_module]] x: it has no `type`",
        ),
        (
            "required = \"no\"\n",
            "line 3, [[scheduler]] default: `required` has a value",
        ),
        ("sha256 = \"9f86\"\n", "Give 64 hexadecimal digits"),
        (
            "on_failure = \"fallback:x\"\n",
            "on_failure names no other scheduler: `x`",
        ),
        (
            "on_failure = \"hold\"\n",
            "Give `fallback:` and the id of a scheduler",
        ),
        (
            "isolation = \"inproc\"\nlimits = { memory = \"1GiB\" }\n",
            "line 4, [[scheduler]] default: `limits.memory` needs a process of the plugin's own",
        ),
        (
            "limits = { call_timeout = \"0s\" }\n",
            "a duration such as `250ms`",
        ),
        (
            "limits = { memory = \"64MiB\" }\n",
            "a size from 128MiB on, such as `256MiB`",
        ),
        (
            "limits = { restarts = \"often\" }\n",
            "a number and a time, such as `5/10m`",
        ),
        (
            "limits = { in_flight = 4 }\n",
            "a scheduler is called once at a time",
        ),
        (
            "[[job_runner]]\ntype = \"local\"\nlimits = { in_flight = 1000 }\n",
            "`limits.in_flight` is more than 64",
        ),
        (
            "[handlers]\nassign_with = [\"db-skip-loked\"]\n",
            "did you mean `db-skip-locked`?",
        ),
        ("[handlers]\nmax_grab = 0\n", "Give a number from 1"),
        (
            "[workflow_module]\ntype = \"pause\"\n",
            "write double brackets",
        ),
        ("config = 7\n", "`config` has a value of the wrong sort"),
    ] {
        let fault = fault(text);
        assert!(fault.contains(wanted), "{text}\n{fault}");
        assert!(fault.contains('\n'), "no remedy: {fault}");
    }
}

#[test]
fn broken_toml_names_the_line() {
    let faults = parse("[plugins]\nsearch = [\n").unwrap_err();
    assert!(faults[0].starts_with("plugins.toml line "), "{}", faults[0]);
}

#[test]
fn two_modules_of_one_type_are_refused() {
    let text = "[[workflow_module]]\ntype = \"pause\"\nid = \"a\"\n[[workflow_module]]\ntype = \"pause\"\nid = \"b\"\n";
    assert!(fault(text).contains("the type `pause` is used twice"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z_ =\"0-9.,{}\\n#]{0,200}") {
        let _ = parse(&text);
    }
}
