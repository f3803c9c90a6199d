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

/// Every command with its name, but not those that the server starts for itself.
fn commands() -> Vec<(String, clap::Command)> {
    fn below(name: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            let name = format!("{name} {}", one.get_name());
            below(&name, one, found);
            found.push((name, one.clone()));
        }
    }
    let mut found = Vec::new();
    below("barycenter", &Arguments::command(), &mut found);
    found
}

/// A capital, or the first letter of a name, and no full stop: as the first line of every help is written.
fn is_in_our_voice(help: &str) -> bool {
    let first = help.chars().next();
    first.is_some_and(|first| first.is_uppercase() || !first.is_alphabetic())
        && !help.ends_with('.')
        && !help.contains('\n')
}

#[test]
fn every_command_and_flag_says_what_it_is_in_one_voice() {
    let commands = commands();
    assert!(commands.len() > 25, "{}", commands.len());
    for (name, command) in commands {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        assert!(is_in_our_voice(&about), "{name}: {about:?}");
        for flag in command.get_arguments() {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(is_in_our_voice(&help), "{name} {}: {help:?}", flag.get_id());
        }
    }
}

#[test]
fn json_is_there_wherever_the_manual_says() {
    const WITHOUT: [&str; 8] = [
        "barycenter serve",
        "barycenter completions",
        "barycenter plugin",
        "barycenter admin",
        "barycenter db",
        "barycenter admin stub-tools",
        "barycenter plugin lock",
        "barycenter plugin new",
    ];
    for (name, command) in commands() {
        let has = command.get_arguments().any(|flag| flag.get_id() == "json");
        assert_eq!(has, !WITHOUT.contains(&name.as_str()), "{name}");
    }
}

/// The words of a simple command of a shell.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        let word = words.last_mut().expect("one");
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (_, c) => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The commands of ours in the shell examples of a page.
fn examples(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let mut found = Vec::new();
    for line in shell.flat_map(|block| {
        block
            .replace("\\\n", " ")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }) {
        let line = line.split(" #").next().unwrap_or_default().to_owned();
        for part in line
            .replace("$(", ";")
            .replace(')', ";")
            .split([';', '|', '&'])
        {
            let mut words = words(part);
            while words
                .first()
                .is_some_and(|word| word == "export" || word.contains('='))
            {
                words.remove(0);
            }
            let is_ours = |word: &String| word == "barycenter" || word.ends_with("/barycenter");
            if words.first().is_some_and(is_ours) {
                found.push(words);
            }
        }
    }
    found
}

#[test]
fn the_commands_in_the_manual_are_understood() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).expect("the manual");
    let mut pages: Vec<_> = docs.flatten().map(|entry| entry.path()).collect();
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.extend(
        [
            "README.md",
            "examples/penguins/README.md",
            "examples/lambda/README.md",
        ]
        .map(|name| root.join(name)),
    );
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        for words in examples(&text) {
            let read = Arguments::try_parse_from(&words);
            assert!(
                read.is_ok(),
                "{}: {words:?}: {}",
                page.display(),
                read.unwrap_err()
            );
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} commands were found");
}

#[test]
fn a_path_that_text_cannot_hold_is_refused_instead_of_another_one_being_used() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    for flag in [
        "--data-dir",
        "--config",
        "--plugins",
        "--tool-dir",
        "--record",
    ] {
        for path in [&b""[..], b"/tmp/\xff"] {
            let words = [
                OsStr::new("barycenter"),
                OsStr::new("serve"),
                OsStr::new(flag),
                OsStr::from_bytes(path),
            ];
            let read = Arguments::try_parse_from(words);
            assert_eq!(read.err().map(|error| error.exit_code()), Some(2), "{flag}");
        }
    }
}
