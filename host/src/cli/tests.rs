use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Arguments, ErrorKind> {
    Arguments::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
}

#[test]
fn the_definitions_hold_together() {
    Arguments::command().debug_assert();
}

#[test]
fn commands_that_scripts_rely_on_are_understood() {
    for line in [
        "barycenter serve",
        "barycenter serve --config c.toml --plugins p.toml --listen 127.0.0.1:0 --data-dir d \
         --database-url sqlite://x --bootstrap-admin-api-key 12345678 --tool-dir a --tool-dir b",
        "barycenter plugin list --json",
        "barycenter plugin check --plugins p.toml",
        "barycenter admin create-user a@example.org --username a --admin --json --data-dir d",
        "barycenter admin create-key a@example.org --json",
        "barycenter admin list-users --json",
        "barycenter db migrate --database-url postgres://u@h/d",
        "barycenter db status --json --data-dir d",
        "barycenter db check --json --no-files",
        "barycenter db backup file --database-url sqlite://x",
        "barycenter db restore file --database-url sqlite://x",
        "barycenter db copy --from sqlite://x --to postgres://u@h/d --json",
        "barycenter completions bash",
        "barycenter run w.ga -i a=b -i c=d --inputs job.yml -o out --yes --json --keep --tool-dir t --plugins p.toml",
        "barycenter run w.ga --data-dir d --any-tool-version",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn wrong_usage_is_told_from_asking_for_help() {
    assert_eq!(
        parse("barycenter serve --lisen x").err(),
        Some(ErrorKind::UnknownArgument)
    );
    assert_eq!(
        parse("barycenter admin create-user").err(),
        Some(ErrorKind::MissingRequiredArgument)
    );
    assert_eq!(
        parse("barycenter --version").err(),
        Some(ErrorKind::DisplayVersion)
    );
    let usage = Arguments::try_parse_from(["barycenter", "nonsense"]).expect_err("no command");
    assert_eq!(usage.exit_code(), 2);
}

#[test]
fn the_version_names_the_contract_with_plugins() {
    assert!(VERSION.contains("plugin-api 1."), "{}", *VERSION);
}

#[test]
fn help_lists_every_option_of_the_file() {
    let mut command = Arguments::command();
    let serve = command.find_subcommand_mut("serve").expect("a command");
    let help = serve.render_long_help().to_string();
    for key in crate::config::KEYS {
        assert!(help.contains(key.name), "{}", key.name);
    }
}

#[test]
fn help_tells_the_exit_codes_of_a_run() {
    let mut command = Arguments::command();
    let overview = command.render_help().to_string();
    assert!(
        overview.contains("Run one workflow here and now"),
        "{overview}"
    );
    let run = command.find_subcommand_mut("run").expect("a command");
    let help = run.render_long_help().to_string();
    assert!(help.contains("3 a review was refused"), "{help}");
}
