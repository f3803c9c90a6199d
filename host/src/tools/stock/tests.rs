//! Every stock tool is run for real, with `sh` in a directory of its own.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::tools::command::{RenderInputs, render};
use crate::tools::expression::evaluate_expression_tool;
use crate::tools::inputs_json::{DataRef, DataSource, DataView, DatasetView};
use crate::tools::model::Action;
use crate::tools::outputs::collect;
use crate::tools::parameters::normalise_state;

/// What is put into parameters to see whether any of it runs.
const HOSTILE: &[&str] = &[
    "'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "\"; touch pwned; \"",
    "a\ntouch pwned\n",
    "| touch pwned",
    "\\'; touch pwned #",
    "-e x -f /etc/passwd; touch pwned",
];

fn tool(id: &str) -> Arc<Tool> {
    tools().into_iter().find(|tool| tool.id == id).unwrap()
}

/// Runs a tool; `{"file": "text"}` anywhere in the state is a dataset of that content.
fn run(id: &str, mut state: Value) -> Result<String, String> {
    let place = tempfile::tempdir().unwrap();
    let mut data = HashMap::new();
    put_files(&mut state, place.path(), &mut data);
    let tool = tool(id);
    let work = place.path().join("work");
    fs::create_dir(&work).unwrap();
    let state = normalise_state(&tool, &state).map_err(|errors| format!("{errors:?}"))?;
    let inputs = RenderInputs {
        params: &state,
        data: &data,
        cores: 1,
        outdir: work.to_str().unwrap(),
        tmpdir: "/tmp",
    };
    let rendered = render(&tool, &inputs).map_err(|error| error.to_string())?;
    for (name, content) in &rendered.files {
        fs::write(work.join(name), content).unwrap();
    }
    let ran = Command::new("sh")
        .arg("-c")
        .arg(&rendered.script)
        .current_dir(&work)
        .output()
        .unwrap();
    let names: Vec<_> = fs::read_dir(&work)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        names.iter().all(|name| name != "pwned"),
        "{id} ran {}",
        rendered.script
    );
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    if !ran.status.success() {
        assert!(
            !stderr.trim().is_empty(),
            "{id} failed without a word: {}",
            rendered.script
        );
        return Err(stderr);
    }
    let collected = collect(&tool, &work, &state, &data).map_err(|error| error.to_string())?;
    Ok(fs::read_to_string(&collected.datasets[0].path).unwrap())
}

fn put_files(state: &mut Value, place: &Path, data: &mut HashMap<DataRef, DataView>) {
    match state {
        Value::Object(object) if object.contains_key("file") => {
            let id = data.len() as i64 + 1;
            let path = place.join(format!("dataset_{id}.dat"));
            fs::write(&path, object["file"].as_str().unwrap()).unwrap();
            let reference = DataRef::new(DataSource::Hda, id);
            let view = DatasetView {
                path: path.to_str().unwrap().to_owned(),
                ext: "txt".to_owned(),
                name: format!("data {id}"),
                ..DatasetView::default()
            };
            data.insert(reference, DataView::Dataset(view));
            *state = reference.to_json();
        }
        Value::Object(object) => object
            .values_mut()
            .for_each(|inner| put_files(inner, place, data)),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|inner| put_files(inner, place, data)),
        _ => {}
    }
}

fn check(id: &str, state: Value, wanted: &str) {
    assert_eq!(
        run(id, state.clone()).as_deref(),
        Ok(wanted),
        "{id} {state}"
    );
}

fn file(text: &str) -> Value {
    json!({"file": text})
}

#[test]
fn every_stock_tool_parses() {
    for (name, text) in SOURCES {
        if let Err(error) = yaml::parse(text, name) {
            panic!("{error}");
        }
    }
    let older: usize = OLDER.iter().map(|(_, versions)| versions.len()).sum();
    assert_eq!(tools().len(), SOURCES.len() + older);
}

#[test]
fn files_are_joined_end_to_end_and_side_by_side() {
    for id in ["cat1", "cat"] {
        check(id, json!({"input1": file("a\n")}), "a\n");
        let queries = json!([{"input2": file("b\n")}, {"input2": file("c\n")}]);
        check(
            id,
            json!({"input1": file("a\n"), "queries": queries}),
            "a\nb\nc\n",
        );
    }
    check(
        "tp_cat",
        json!({"inputs": [file("a\n"), file("b\n")], "queries": [{"inputs2": [file("c\n")]}]}),
        "a\nb\nc\n",
    );
    for (delimiter, between) in [
        ("T", "\t"),
        ("Dt", "."),
        ("C", ","),
        ("D", "-"),
        ("U", "_"),
        ("P", "|"),
        ("Sp", " "),
    ] {
        let state =
            json!({"input1": file("a\nb\n"), "input2": file("1\n2\n"), "delimiter": delimiter});
        check("Paste1", state, &format!("a{between}1\nb{between}2\n"));
    }
}

#[test]
fn columns_are_cut_in_the_order_asked_for() {
    let cut = |columns: &str, delimiter: &str, text: &str| {
        run(
            "Cut1",
            json!({"columnList": columns, "delimiter": delimiter, "input": file(text)}),
        )
    };
    assert_eq!(cut("c3,c1", "T", "a\tb\tc\n").as_deref(), Ok("c\ta\n"));
    assert_eq!(
        cut("c1-c3, 1", "C", "a,b,c\n").as_deref(),
        Ok("a\tb\tc\ta\n")
    );
    assert_eq!(cut("c3-c1", "P", "a|b|c\n").as_deref(), Ok("c\tb\ta\n"));
    assert_eq!(cut("c2", "Dt", "a.b\n").as_deref(), Ok("b\n"));
    assert_eq!(cut("c9", "T", "a\n").as_deref(), Ok(".\n"));
    assert!(
        cut("c0", "T", "a\n")
            .unwrap_err()
            .contains("numbered from 1")
    );
    assert!(
        cut("x", "T", "a\n")
            .unwrap_err()
            .contains("'x' is not a column")
    );
    let state = json!({"input": file("a\tb\tc\n"), "complement": "--complement", "cut_type_options":
        {"cut_element": "-f", "delimiter": "", "colnames_option": {"header": "N", "list": ["3"]}}});
    check("tp_cut_tool", state, "a\tb\n");
}

#[test]
fn lines_are_chosen_by_position() {
    let text = "h\n1\n2\n3\n";
    check(
        "Show beginning1",
        json!({"lineNum": 1, "input": file(text)}),
        "h\n",
    );
    check(
        "Show beginning1",
        json!({"lineNum": "2", "input": file(text), "header": true}),
        "h\n1\n2\n",
    );
    check(
        "Show tail1",
        json!({"lineNum": 1, "input": file(text), "header": "true"}),
        "h\n3\n",
    );
    check(
        "Show tail1",
        json!({"lineNum": 2, "input": file(text)}),
        "2\n3\n",
    );
    check(
        "Remove beginning1",
        json!({"num_lines": 3, "input": file(text)}),
        "3\n",
    );
    check(
        "tp_head_tool",
        json!({"infile": file(text), "complement": "-", "count": 3}),
        "h\n",
    );
    check(
        "tp_tail_tool",
        json!({"infile": file(text), "complement": "+", "num_lines": "2"}),
        "1\n2\n3\n",
    );
}

#[test]
fn random_lines_follow_their_seed() {
    let lines: String = (0..200).map(|n| format!("{n}\n")).collect();
    let choose = |wanted: u32, seed: Value| {
        run(
            "random_lines1",
            json!({"num_lines": wanted, "input": file(&lines), "seed_source": seed}),
        )
    };
    let seeded = |seed: &str| json!({"seed_source_selector": "set_seed", "seed": seed});
    let first = choose(10, seeded("asdf")).unwrap();
    assert_eq!(first.lines().count(), 10);
    assert_eq!(choose(10, seeded("asdf")).unwrap(), first);
    assert_ne!(choose(10, seeded("other")).unwrap(), first);
    let free = json!({"seed_source_selector": "no_seed"});
    assert_eq!(choose(200, free.clone()).unwrap(), lines);
    assert_eq!(choose(3, free.clone()).unwrap().lines().count(), 3);
    assert!(choose(201, free).unwrap_err().contains("200 lines and 201"));
}

#[test]
fn lines_are_chosen_by_pattern() {
    let state = |pattern: &str, invert: &str, header: bool| json!({"input": file("name\nchr1\nscaffold\n"), "pattern": pattern, "invert": invert, "keep_header": header});
    check("Grep1", state("^chr[0-9]", "", false), "chr1\n");
    check("Grep1", state("^chr", "-v", true), "name\nscaffold\n");
    check("Grep1", state("nothing", "", false), "");
    assert!(run("Grep1", state("(", "", false)).is_err());
    check(
        "tp_grep_tool",
        json!({"infile": file("#A\nb\n"), "url_paste": "^#a"}),
        "#A\n",
    );
}

#[test]
fn tables_are_sorted_and_made_unique() {
    let text = "h\tv\na\t10\nb\t9\nc\t10\n";
    check(
        "sort1",
        json!({"input": file(text), "column": "2", "style": "num", "order": "ASC", "header_lines": "1"}),
        "h\tv\nb\t9\na\t10\nc\t10\n",
    );
    let more = json!([{"other_column": "c1", "other_style": "alpha", "other_order": "DESC"}]);
    check(
        "sort1",
        json!({"input": file(text), "column": "2", "style": "num", "order": "DESC", "column_set": more, "header_lines": 1}),
        "h\tv\nc\t10\na\t10\nb\t9\n",
    );
    check(
        "tp_sort_header_tool",
        json!({"infile": file(text), "header": "1", "sortkeys": [{"column": "2", "order": "r", "style": "g"}]}),
        "h\tv\na\t10\nc\t10\nb\t9\n",
    );
    check(
        "tp_sorted_uniq",
        json!({"infile": file("b\na\nb\n")}),
        "a\nb\n",
    );
    let state = json!({"infile": file("x\t1\ny\t1\n"), "adv_opts": {"adv_opts_selector": "advanced", "column_start": "2", "column_end": "2"}});
    check("tp_sorted_uniq", state, "x\t1\n");
    assert!(run("sort1", json!({"input": file(text), "column": "0"})).is_err());
}

#[test]
fn tables_are_joined_and_compared() {
    let (one, two) = ("a\t1\nb\t2\n", "a\tx\na\ty\n");
    let join = |more: Value| {
        let mut state =
            json!({"input1": file(one), "input2": file(two), "field1": "1", "field2": "1"});
        state
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        run("join1", state)
    };
    assert_eq!(join(json!({})).as_deref(), Ok("a\t1\ta\tx\na\t1\ta\ty\n"));
    assert_eq!(
        join(json!({"unmatched": "-u"})).as_deref(),
        Ok("a\t1\ta\tx\na\t1\ta\ty\nb\t2\n")
    );
    let fill = json!({"fill_empty_columns_switch": "fill_empty", "do_fill_empty_columns": {"fill_value": "?"}});
    assert_eq!(
        join(json!({"unmatched": "-u", "fill_empty_columns": fill})).as_deref(),
        Ok("a\t1\ta\tx\na\t1\ta\ty\nb\t2\t?\t?\n")
    );
    assert_eq!(join(json!({"header": "-H"})).as_deref(), Ok("a\t1\ta\tx\n"));
    let compare = |mode: &str, second: &str| {
        run(
            "comp1",
            json!({"input1": file(one), "input2": file(second), "mode": mode}),
        )
    };
    assert_eq!(compare("N", two).as_deref(), Ok("a\t1\n"));
    assert_eq!(compare("V", two).as_deref(), Ok("b\t2\n"));
    assert_eq!(compare("V", "").as_deref(), Ok(one));
}

#[test]
fn tables_are_counted_and_grouped() {
    let text = "a\t1\nb\t2\na\t3.5\n";
    check(
        "Count1",
        json!({"input": file(text), "column": "1", "sorting": "value"}),
        "2\ta\n1\tb\n",
    );
    check(
        "Count1",
        json!({"input": file(text), "column": ["1"], "sorting": "key"}),
        "2\ta\n1\tb\n",
    );
    let group = |optype: &str| {
        run(
            "Grouping1",
            json!({"input1": file(text), "groupcol": "1", "operations": [{"optype": optype, "opcol": "2"}]}),
        )
    };
    assert_eq!(group("sum").as_deref(), Ok("a\t4.5\nb\t2\n"));
    assert_eq!(group("mean").as_deref(), Ok("a\t2.25\nb\t2\n"));
    assert_eq!(group("max").as_deref(), Ok("a\t3.5\nb\t2\n"));
    assert_eq!(group("length").as_deref(), Ok("a\t2\nb\t1\n"));
    assert_eq!(group("cat").as_deref(), Ok("a\t1,3.5\nb\t2\n"));
    assert_eq!(group("unique").as_deref(), Ok("a\t2\nb\t1\n"));
    let words = json!({"input1": file("a\tx\n"), "groupcol": "1", "operations": [{"optype": "sum", "opcol": "2"}]});
    assert!(
        run("Grouping1", words)
            .unwrap_err()
            .contains("'x' in column 2 is not a number")
    );
    check(
        "wc_gnu",
        json!({"input1": file("a b\nc\n"), "options": ["lines"], "include_header": false}),
        "2\n",
    );
    check(
        "wc_gnu",
        json!({"input1": file("a b\nc\n")}),
        "#lines\twords\tcharacters\n2\t3\t6\n",
    );
}

#[test]
fn texts_are_changed_line_by_line() {
    check(
        "Convert characters1",
        json!({"convert_from": "C", "input": file(" a,,b \n"), "condense": true, "strip": true}),
        "a\tb\n",
    );
    check(
        "Convert characters1",
        json!({"convert_from": "s", "input": file("a  b\n"), "condense": false, "strip": false}),
        "a\t\tb\n",
    );
    check(
        "addValue",
        json!({"exp": "5", "input": file("a\nb\n"), "iterate": "yes"}),
        "a\t5\nb\t6\n",
    );
    check(
        "addValue",
        json!({"exp": "x y", "input": file("a\n"), "iterate": "no"}),
        "a\tx y\n",
    );
    assert!(
        run(
            "addValue",
            json!({"exp": "x", "input": file("a\n"), "iterate": "yes"})
        )
        .is_err()
    );
    check(
        "trimmer",
        json!({"input1": file("abcdef\n"), "col": "0", "start": "2", "end": "0", "ignore": null}),
        "bcdef\n",
    );
    check(
        "trimmer",
        json!({"input1": file(">abc\nx\tabcd\n"), "col": 2, "start": 2, "end": 3, "ignore": ["62"]}),
        ">abc\nx\tbc\n",
    );
    check(
        "tp_sed_tool",
        json!({"infile": file("foo/1\n"), "code": "s/foo\\/(.)/\\1-$(x)/"}),
        "1-$(x)\n",
    );
    let replace = json!([{"find_pattern": "([a-z])/", "replace_pattern": "<\\1>"}, {"find_pattern": "1", "replace_pattern": "/&", "sed_options": null}]);
    check(
        "tp_replace_in_line",
        json!({"infile": file("a/1 b/1\n"), "replacements": replace}),
        "<a>/1 <b>/1\n",
    );
    check(
        "tp_awk_tool",
        json!({"infile": file("1\t2\n"), "code": "$2 > 1 || /a|b/ { gsub(/[ |]/, \"|\"); print $2, $1 \"$(x)\" }"}),
        "2\t1$(x)\n",
    );
    check(
        "tp_awk_tool",
        json!({"infile": file("a/]\n"), "code": "/[\\/\"]/ && /[[:alpha:]#]/ && /[]x]/ { sub(/[^\\/]+$/, \"\"); print \\\n $1 }"}),
        "a/\n",
    );
    check(
        "tp_awk_tool",
        json!({"infile": file("1\n3\n"), "code": "$1 > VAR1", "variables": [{"val": "2"}]}),
        "3\n",
    );
    check(
        "tp_awk_tool",
        json!({"infile": file("1\n2\n"), "code": "NR == 1 { while (getline) print }"}),
        "2\n",
    );
}

#[test]
fn checksums_are_those_of_the_content() {
    check(
        "secure_hash_message_digest",
        json!({"input1": file("a\n"), "algorithms": ["md5", "sha1"]}),
        "#md5\tsha1\n60b725f10c9c85c70d97880dfe8191b3\t3f786850e387550fdab836ed7e6dc881de23001b\n",
    );
}

#[test]
fn values_are_mapped_to_others() {
    let mapper = tool("map_param_value");
    let Action::Expression(script) = &mapper.action else {
        panic!("it runs a command")
    };
    let map = |source: Value, wanted: &str, unmapped: Value| {
        let mappings = json!([{"from": "low", "to": "1"}, {"from": "none", "to": "false"}]);
        let state = json!({"input_param_type": {"input_param": source, "mappings": mappings},
            "output_param_type": wanted, "unmapped": unmapped});
        evaluate_expression_tool(script, &state, &[]).map(|made| made["output"].clone())
    };
    let as_it_is = || json!({"on_unmapped": "input"});
    let dataset = || json!({"class": "File", "path": "x"});
    for (source, wanted, made) in [
        (json!("low"), "integer", json!(1)),
        (json!("low"), "text", json!("1")),
        (json!("none"), "boolean", json!(false)),
        (json!("other"), "boolean", json!(true)),
        // Whether something was given at all.
        (Value::Null, "boolean", json!(false)),
        (dataset(), "boolean", json!(true)),
        (Value::Null, "text", Value::Null),
    ] {
        let found = map(source.clone(), wanted, as_it_is()).expect("a value");
        assert_eq!(found, made, "{source} as {wanted}");
    }
    assert!(map(dataset(), "text", as_it_is()).is_err());
    assert!(map(json!("other"), "text", json!({"on_unmapped": "fail"})).is_err());
}

#[test]
fn programs_cannot_leave_their_sandbox() {
    for code in [
        "{ system(\"touch pwned\") }",
        "{ print | \"touch pwned\" }",
        "{ print \"x\" > \"pwned\" }",
        "{ print(\"x\") > \"pwned\" }",
        "{ \"touch pwned\" | getline }",
        "{ a = 1 / 2; print \"/\" | \"touch pwned\" }",
        "{ while ((getline line < \"/etc/passwd\") > 0) print line }",
        "{ getline a[length(\"b\")] < \"/etc/passwd\"; print a[1] }",
        "{ sys\\\ntem(\"touch pwned\") }",
        "{ printf \"x\" >> \"pwned\" }",
        "{ print \"a\",\n\"b\" > \"pwned\" }",
        "{ print ((\"a\")) (\"b\") > \"pwned\" }",
        "{ if (1) /\"/; print \"x\" | \"touch pwned\" #\"\n }",
        "{ if (1) /#/; print \"x\" | \"touch pwned\"\n }",
        "{ x++ / 1; print \"x\" | \"touch pwned\" #/\n }",
        "{ print $1 in /\"/; print | \"touch pwned #\" }",
        "/[/\"]/ || 1 { system(\"touch pwned\") } #\"",
        "/[^]/\"]/ || 1 { system(\"touch pwned\") } #\"",
        "/[[:alpha:]/\"]/ || 1 { system(\"touch pwned\") } #\"",
        "{ y = x \\ \n / 2; system(\"touch pwned\"); z = 1 / 2 }",
        "{ y = x \\\r\n / 2; system(\"touch pwned\"); z = 1 / 2 }",
        "BEGIN { ARGV[1] = \"/etc/passwd\"; ARGC = 2 } { print }",
        "{ print ENVIRON[\"HOME\"] }",
    ] {
        let outcome = run("tp_awk_tool", json!({"infile": file("a\n"), "code": code}));
        assert!(outcome.is_err(), "{code}");
    }
    for code in [
        "w pwned",
        "s/a/b/w pwned",
        "e touch pwned",
        "s/a/touch pwned/e",
        "r /etc/passwd",
    ] {
        assert!(
            run("tp_sed_tool", json!({"infile": file("a\n"), "code": code})).is_err(),
            "{code}"
        );
        let replace = json!([{"find_pattern": "a", "replace_pattern": format!("b\n{code}")}]);
        let _ = run(
            "tp_replace_in_line",
            json!({"infile": file("a\n"), "replacements": replace}),
        );
    }
}

#[test]
fn hostile_text_runs_nothing() {
    for text in HOSTILE {
        let one = || file("a\tb\n");
        for (id, state) in [
            ("Cut1", json!({"columnList": text, "input": one()})),
            ("Grep1", json!({"pattern": text, "input": one()})),
            ("sort1", json!({"column": text, "input": one()})),
            ("Count1", json!({"column": text, "input": one()})),
            (
                "join1",
                json!({"field1": text, "input1": one(), "input2": one()}),
            ),
            (
                "join1",
                json!({"input1": one(), "input2": one(), "unmatched": "-u", "fill_empty_columns":
                {"fill_empty_columns_switch": "fill_empty", "do_fill_empty_columns": {"fill_value": text}}}),
            ),
            (
                "comp1",
                json!({"field2": text, "input1": one(), "input2": one()}),
            ),
            (
                "addValue",
                json!({"exp": text, "input": one(), "iterate": "no"}),
            ),
            (
                "random_lines1",
                json!({"input": one(), "seed_source": {"seed_source_selector": "set_seed", "seed": text}}),
            ),
            ("Grouping1", json!({"groupcol": text, "input1": one()})),
            ("tp_grep_tool", json!({"infile": one(), "url_paste": text})),
            (
                "tp_sort_header_tool",
                json!({"infile": one(), "sortkeys": [{"column": text}]}),
            ),
            (
                "tp_cut_tool",
                json!({"input": one(), "cut_type_options": {"cut_element": "-c", "list": text}}),
            ),
            ("tp_awk_tool", json!({"infile": one(), "code": text})),
            (
                "tp_awk_tool",
                json!({"infile": one(), "code": "{ print VAR1 }", "variables": [{"val": text}]}),
            ),
            ("tp_sed_tool", json!({"infile": one(), "code": text})),
            (
                "tp_replace_in_line",
                json!({"infile": one(), "replacements": [{"find_pattern": text, "replace_pattern": text}]}),
            ),
        ] {
            // Whether the value makes sense is the tool's business; `run` looks for what it left.
            let _ = run(id, state);
        }
    }
    check(
        "addValue",
        json!({"exp": HOSTILE[0], "input": file("a\n"), "iterate": "no"}),
        "a\t'; touch pwned; '\n",
    );
}
