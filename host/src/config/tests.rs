use super::*;

fn flags(pairs: &[(&'static str, &str)]) -> Flags {
    let mut flags = Flags::default();
    for (key, value) in pairs {
        flags.set(key, Some(value));
    }
    flags
}

const HOME: [(&str, &str); 1] = [("HOME", "/home/somebody")];

fn read(text: &str, environment: &Environment, flags: &Flags) -> Result<Config, ConfigFaults> {
    let path = Path::new("/etc/barycenter/barycenter.toml");
    Config::assemble(Some((path, text)), environment, flags)
}

fn from_file(text: &str) -> Config {
    read(text, &HOME.into(), &Flags::default()).expect("no faults")
}

fn faults_of(text: &str) -> Vec<String> {
    match read(text, &HOME.into(), &Flags::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(Fault::to_string).collect(),
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = Config::assemble(None, &HOME.into(), &Flags::default()).expect("no faults");
    let data = Path::new("/home/somebody/.local/share/barycenter");
    assert_eq!(config.listen, "127.0.0.1:8080");
    assert_eq!(config.data_dir, data);
    assert_eq!(
        config.database,
        DatabaseUrl::Sqlite(data.join("barycenter.sqlite"))
    );
    assert_eq!(config.plugins, PluginsFile::Default("plugins.toml".into()));
    assert_eq!(config.doors.bootstrap_admin_api_key, None);
    assert_eq!(config.engine.job_time_limit_seconds, None);
    assert_eq!(config.workflows, WorkflowOptions::default());
    assert!(config.warnings.is_empty());
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let text = "brand = 'file'\nlisten = 'file:1'\nshell = '/file'";
    let environment = Environment::from([
        ("HOME", "/home/somebody"),
        ("BARYCENTER_LISTEN", "environment:2"),
        ("BARYCENTER_BRAND", "environment"),
    ]);
    let config = read(text, &environment, &flags(&[("brand", "flag")])).expect("no faults");
    assert_eq!(config.doors.brand, "flag");
    assert_eq!(config.listen, "environment:2");
    assert_eq!(config.engine.shell, "/file");
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let environment = Environment::from([("HOME", "/home/somebody"), ("BARYCENTER_LISTEN", "")]);
    let config = read("", &environment, &Flags::default()).expect("no faults");
    assert_eq!(config.listen, "127.0.0.1:8080");
}

#[test]
fn paths_are_relative_to_the_file_that_holds_them() {
    let config = from_file(
        "data_dir = 'data'\nplugins = 'p.toml'\ntool_dirs = ['tools', '/usr/share/tools']\n\
         database_url = 'sqlite://db.sqlite'",
    );
    assert_eq!(config.data_dir, Path::new("/etc/barycenter/data"));
    assert_eq!(
        config.plugins,
        PluginsFile::Named("/etc/barycenter/p.toml".into())
    );
    assert_eq!(
        config.database,
        DatabaseUrl::Sqlite("/etc/barycenter/db.sqlite".into())
    );
    let tools = ["/etc/barycenter/tools", "/usr/share/tools"].map(PathBuf::from);
    assert_eq!(config.tool_dirs, tools);
}

#[test]
fn paths_of_flags_and_variables_are_relative_to_where_one_is() {
    let environment =
        Environment::from([("HOME", "/home/somebody"), ("BARYCENTER_TOOL_DIRS", "a::b")]);
    let config = read("", &environment, &flags(&[("data_dir", "here")])).expect("no faults");
    assert_eq!(config.data_dir, Path::new("here"));
    assert_eq!(
        config.database,
        DatabaseUrl::Sqlite("here/barycenter.sqlite".into())
    );
    assert_eq!(config.tool_dirs, ["a", "b"].map(PathBuf::from));
}

#[test]
fn plugins_toml_is_looked_for_beside_the_configuration() {
    let config = from_file("");
    assert_eq!(
        config.plugins,
        PluginsFile::Default("/etc/barycenter/plugins.toml".into())
    );
}

#[test]
fn galaxys_options_keep_their_names_and_meanings() {
    let config = from_file(
        "maximum_workflow_invocation_duration = -1\nhistory_local_serial_workflow_scheduling = true\n\
         force_beta_workflow_scheduled_min_steps = 40\nenable_beta_workflow_modules = true\n\
         job_time_limit_seconds = 0",
    );
    assert_eq!(config.engine.maximum_workflow_invocation_duration, -1);
    assert!(config.engine.history_local_serial_workflow_scheduling);
    assert_eq!(config.engine.job_time_limit_seconds, None);
    assert_eq!(config.workflows.force_beta_workflow_scheduled_min_steps, 40);
    assert!(config.workflows.enable_beta_workflow_modules);
}

#[test]
fn users_may_define_tools_where_only_this_machine_reaches_or_the_operator_says_so() {
    for (file, allowed) in [
        ("", true),
        ("listen = '[::1]:0'", true),
        ("listen = 'localhost:80'", true),
        ("public_url = 'https://flows.example.org'", false),
        ("listen = '0.0.0.0:80'", false),
        ("listen = '192.0.2.1:80'", false),
        (
            "listen = '0.0.0.0:80'\nenable_user_defined_tools = true",
            true,
        ),
        ("enable_user_defined_tools = false", false),
    ] {
        assert_eq!(
            from_file(file).doors.enable_user_defined_tools,
            allowed,
            "{file}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once_with_line_and_remedy() {
    let faults =
        faults_of("listen = 'nowhere'\n\nlisen = 'x'\nupload_max_bytes = '5'\ntool_dirs = 3");
    assert_eq!(faults.len(), 4, "{faults:#?}");
    assert!(
        faults[0].starts_with("/etc/barycenter/barycenter.toml line 1: "),
        "{}",
        faults[0]
    );
    assert!(faults[0].contains("127.0.0.1:8080"), "{}", faults[0]);
    assert!(
        faults
            .iter()
            .any(|f| f.contains("line 3") && f.contains("did you mean `listen`?"))
    );
    assert!(
        faults
            .iter()
            .any(|f| f.contains("line 4") && f.contains("whole number"))
    );
    assert!(
        faults
            .iter()
            .any(|f| f.contains("line 5") && f.contains("list of paths"))
    );
}

#[test]
fn a_wrong_variable_or_flag_is_named() {
    let environment = Environment::from([
        ("HOME", "/home/somebody"),
        ("BARYCENTER_LOG_FORMAT", "xml"),
        ("BARYCENTER_ENABLE_BETA_WORKFLOW_MODULES", "perhaps"),
    ]);
    let faults = read(
        "",
        &environment,
        &flags(&[("data_dir", "x"), ("listen", "y")]),
    );
    let text = faults.expect_err("three faults").to_string();
    for place in [
        "BARYCENTER_LOG_FORMAT: ",
        "BARYCENTER_ENABLE_BETA_WORKFLOW_MODULES: ",
        "--listen: ",
    ] {
        assert!(text.contains(place), "{text}");
    }
}

#[test]
fn broken_toml_is_one_fault_with_its_line() {
    let faults = faults_of("brand = 'a'\nlisten = = 3\n");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("line 2"), "{}", faults[0]);
}

#[test]
fn a_postgres_url_is_kept_and_never_shown_with_its_password() {
    let config = from_file("database_url = 'postgres://ada:sesame@db.example.org:5433/galaxy'");
    assert_eq!(
        config.database.to_string(),
        "postgres://ada:***@db.example.org:5433/galaxy"
    );
    assert!(!format!("{config:?}").contains("sesame"));
    for url in [
        "sqlite://",
        "sqlite::memory:",
        "mysql://x",
        "plain",
        "postgres://ada:sesame@host:port/x",
        "postgres://ada:sesame@host",
    ] {
        let faults = faults_of(&format!("database_url = '{url}'"));
        assert_eq!(faults.len(), 1, "{url}");
        assert!(!faults[0].contains("sesame"), "{}", faults[0]);
    }
}

#[test]
fn database_urls_are_read_with_and_without_slashes() {
    let check = |url: &str, path: &str| {
        let config = from_file(&format!("database_url = '{url}'"));
        assert_eq!(config.database, DatabaseUrl::Sqlite(path.into()), "{url}");
    };
    check("sqlite:///var/db", "/var/db");
    check("sqlite:/var/db", "/var/db");
    check("sqlite:db", "/etc/barycenter/db");
}

#[test]
fn a_fault_about_the_bootstrap_key_does_not_show_it() {
    let faults = faults_of("bootstrap_admin_api_key = 'hunter2'");
    assert_eq!(faults.len(), 1);
    assert!(!faults[0].contains("hunter2"), "{}", faults[0]);
}

#[test]
fn without_a_home_a_data_directory_must_be_named() {
    let nothing = Environment::default();
    let text = Config::assemble(None, &nothing, &Flags::default())
        .expect_err("nowhere to put data")
        .to_string();
    assert!(text.contains("--data-dir"), "{text}");
    assert!(Config::assemble(None, &nothing, &flags(&[("data_dir", "d")])).is_ok());
}

#[test]
fn a_variable_that_is_nearly_an_option_is_warned_of() {
    let environment = Environment::from([
        ("HOME", "/home/somebody"),
        ("BARYCENTER_LISTN", "x"),
        ("BARYCENTER_CRASH_AT", "before:x:1"),
        ("BARYCENTER_CLOCK_SHIFT_FILE", "/x"),
        ("BARYCENTER_CONFIG", "x"),
    ]);
    let config = read("", &environment, &Flags::default()).expect("no faults");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("did you mean `BARYCENTER_LISTEN`?"));
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let named = Path::new("/nonexistent/barycenter.toml");
    let faults = Config::read(Some(named), &HOME.into(), &Flags::default());
    let text = faults.expect_err("no file").to_string();
    assert!(text.contains("/nonexistent/barycenter.toml"), "{text}");
}

#[test]
fn a_log_level_that_is_none_is_refused_naming_the_levels() {
    for wrong in ["loud", "info,loud", "plugin=loud", ""] {
        let faults = faults_of(&format!("log_level = {wrong:?}"));
        assert_eq!(faults.len(), 1, "{wrong}: {faults:?}");
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(faults[0].contains(level), "{wrong}: {faults:?}");
        }
    }
    for right in [
        "warn",
        "OFF",
        "info,plugin=debug",
        "barycenter::store=trace",
    ] {
        assert!(
            faults_of(&format!("log_level = {right:?}")).is_empty(),
            "{right}"
        );
    }
}
