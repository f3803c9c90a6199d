//! Evaluating templates: plain references in Rust, everything else as JavaScript ([`crate::javascript`]).

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use thiserror::Error;

use super::template::{PathPart, Script, Segment, Template, UnfinishedExpression};
use crate::javascript::{self, Failure};

pub use crate::javascript::Limits;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    #[error("the expression {expression} failed: {message}")]
    Failed { expression: String, message: String },
    #[error("the expression {expression} did not finish within {} ms", limit.as_millis())]
    TooSlow { expression: String, limit: Duration },
    #[error("the expression {expression} needs more than {limit_mb} MiB of memory")]
    TooLarge { expression: String, limit_mb: usize },
    #[error("the JavaScript engine did not start: {0}")]
    Engine(String),
    #[error("{0}")]
    Unfinished(#[from] UnfinishedExpression),
}

impl ExpressionError {
    /// Whether it says nothing of the expression: the machine has no process for it just now, and may have one again.
    pub fn is_passing(&self) -> bool {
        matches!(self, ExpressionError::Engine(_))
    }
}

/// What waits because of an error that [passes](ExpressionError::is_passing) says so to its owner: a word for machines and a
/// sentence. Why it is so is in the log.
pub const AWAY_CODE: &str = "javascript_away";
pub const AWAY_TEXT: &str =
    "JavaScript cannot be evaluated on the server at the moment; this waits until it can.";
/// When it is tried again.
pub const AWAY_AGAIN_MS: i64 = 2_000;

/// The names that expressions know: `inputs`, `runtime`, `self` (always null), and the functions
/// of the tool's own library.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub inputs: &'a Value,
    pub runtime: &'a Value,
    pub library: &'a [String],
}

/// Evaluates the templates of one job.
pub struct Evaluator<'a> {
    scope: Scope<'a>,
    limits: Limits,
}

impl<'a> Evaluator<'a> {
    pub fn new(scope: Scope<'a>, limits: Limits) -> Self {
        Evaluator { scope, limits }
    }

    /// The value of a template that is one expression as it is, else the text.
    pub fn value(&self, template: &Template) -> Result<Value, ExpressionError> {
        match template.segments() {
            [single @ (Segment::Reference(_) | Segment::Script(_))] => self.segment(single),
            _ => self.text(template).map(Value::String),
        }
    }

    /// The template with every value inserted: strings bare, anything else as JSON.
    pub fn text(&self, template: &Template) -> Result<String, ExpressionError> {
        let mut text = String::with_capacity(template.source().len() + 64);
        for segment in template.segments() {
            match segment {
                Segment::Text(literal) => text.push_str(literal),
                Segment::Reference(reference) => match resolve(&reference.path, self.scope) {
                    Some(Value::String(string)) => text.push_str(string),
                    Some(value) => write_json(value, &mut text),
                    None => insert(&self.script(&reference.script)?, &mut text),
                },
                Segment::Script(script) => insert(&self.script(script)?, &mut text),
            }
        }
        Ok(text)
    }

    fn segment(&self, segment: &Segment) -> Result<Value, ExpressionError> {
        match segment {
            Segment::Text(text) => Ok(Value::String(text.clone())),
            Segment::Reference(reference) => match resolve(&reference.path, self.scope) {
                Some(value) => Ok(value.clone()),
                None => self.script(&reference.script),
            },
            Segment::Script(script) => self.script(script),
        }
    }

    fn script(&self, script: &Script) -> Result<Value, ExpressionError> {
        let globals = [
            ("inputs", self.scope.inputs),
            ("runtime", self.scope.runtime),
            ("self", &Value::Null),
        ];
        self.run(script.code(), &script.as_function(), &globals)
    }

    fn run(
        &self,
        shown: &str,
        function_call: &str,
        globals: &[(&str, &Value)],
    ) -> Result<Value, ExpressionError> {
        let patience = PATIENCE.get();
        let left = patience.map_or(self.limits.time, |patience| patience.left);
        let limits = Limits {
            time: self.limits.time.min(left),
            ..self.limits
        };
        let too_slow = || ExpressionError::TooSlow {
            expression: excerpt(shown),
            limit: limits.time,
        };
        if limits.time.is_zero() {
            return Err(too_slow());
        }
        let begun = Instant::now();
        let length: usize = self.scope.library.iter().map(String::len).sum();
        let mut source = String::with_capacity(length + function_call.len() + 64);
        source.push_str("\"use strict\";\n");
        for part in self.scope.library {
            source.push_str(part);
            source.push_str("\n;\n");
        }
        source.push_str("JSON.stringify(");
        source.push_str(function_call);
        source.push(')');
        let globals = globals
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_string()));
        let script = javascript::Script {
            source,
            globals: globals.collect(),
            limits,
        };
        let value = javascript::evaluate(&script);
        // That there is no engine took no time of whoever wrote the script.
        let is_theirs = !matches!(value, Err(Failure::Unavailable(_)));
        if let Some(patience) = patience.filter(|_| is_theirs) {
            let spent = begun.elapsed();
            PATIENCE.set(Some(Patience {
                left: patience.left.saturating_sub(spent),
                spent: patience.spent + spent,
            }));
        }
        value.map_err(|failure| match failure {
            Failure::TooSlow => too_slow(),
            Failure::TooLarge => ExpressionError::TooLarge {
                expression: excerpt(shown),
                limit_mb: limits.memory_bytes >> 20,
            },
            Failure::Failed(message) => ExpressionError::Failed {
                expression: excerpt(shown),
                message: excerpt_of(&message, 200),
            },
            Failure::Unavailable(why) => ExpressionError::Engine(why),
        })
    }
}

/// One line of at most 80 characters for a message.
fn excerpt(code: &str) -> String {
    format!("$({})", excerpt_of(code, 80))
}

fn excerpt_of(text: &str, most: usize) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > most {
        line = line.chars().take(most).collect::<String>() + "…";
    }
    line
}

/// What a path names, or `None` if only JavaScript can say (a missing key, `.length` of a string).
fn resolve<'v>(path: &[PathPart], scope: Scope<'v>) -> Option<&'v Value> {
    let (root, rest) = path.split_first()?;
    let mut value = match root {
        PathPart::Key(name) if name == "inputs" => scope.inputs,
        PathPart::Key(name) if name == "runtime" => scope.runtime,
        _ => return None,
    };
    for part in rest {
        value = match (value, part) {
            (Value::Object(object), PathPart::Key(key)) => object.get(key)?,
            (Value::Array(items), PathPart::Index(index)) => items.get(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

fn insert(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(string),
        other => write_json(other, text),
    }
}

/// JSON as Python's `json.dumps(value, sort_keys=True)` writes it.
pub fn write_json(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_json(item, text);
            }
            text.push(']');
        }
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_json_string(key, text);
                text.push_str(": ");
                write_json(&object[key], text);
            }
            text.push('}');
        }
        Value::String(string) => write_json_string(string, text),
        other => text.push_str(&other.to_string()),
    }
}

fn write_json_string(string: &str, text: &mut String) {
    use std::fmt::Write as _;
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text.push('"');
}

/// The value of a step's `when`: `$(inputs.when)`, or `${inputs.when}` taken as the same
/// (behaviour spec 4.8). The caller decides what a value that is not a boolean means.
pub fn evaluate_when(expression: &str, inputs: &Value) -> Result<Value, ExpressionError> {
    let mut template = Template::parse(expression.trim())?;
    if let [Segment::Script(Script::Body(body))] = template.segments() {
        let as_expression = Template::parse(&format!("$({})", body.trim()));
        if let Ok(reference) = as_expression
            && matches!(reference.segments(), [Segment::Reference(_)])
        {
            template = reference;
        }
    }
    let scope = Scope {
        inputs,
        runtime: &Value::Null,
        library: &[],
    };
    Evaluator::new(scope, Limits::default()).value(&template)
}

#[derive(Clone, Copy)]
struct Patience {
    left: Duration,
    spent: Duration,
}

thread_local! {
    /// What the scripts of what this thread works on may take, and have taken.
    static PATIENCE: Cell<Option<Patience>> = const { Cell::new(None) };
}

/// Does `work`, in which all scripts together may take `time`; each has its own limit as well. Also returns what they took.
pub fn with_patience<T>(time: Duration, work: impl FnOnce() -> T) -> (T, Duration) {
    let before = PATIENCE.replace(Some(Patience {
        left: time,
        spent: Duration::ZERO,
    }));
    let done = work();
    let patience = PATIENCE.replace(before);
    (
        done,
        patience.map_or(Duration::ZERO, |patience| patience.spent),
    )
}

/// Runs an expression tool's body, in which `$job` is the tool's inputs, and returns its object.
///
/// A string under `__error_message` fails the job with that sentence (tools spec, section 3).
pub fn evaluate_expression_tool(
    script: &str,
    inputs: &Value,
    library: &[String],
) -> Result<Map<String, Value>, ExpressionError> {
    let scope = Scope {
        inputs,
        runtime: &Value::Null,
        library,
    };
    let call = Script::Body(script.to_owned()).as_function();
    let globals = [("inputs", inputs), ("$job", inputs)];
    let value = Evaluator::new(scope, Limits::default()).run(script, &call, &globals)?;
    let failed = |message: String| ExpressionError::Failed {
        expression: excerpt(script),
        message,
    };
    match value {
        Value::Object(object) => match object.get("__error_message") {
            Some(Value::String(message)) => Err(failed(message.clone())),
            _ => Ok(object),
        },
        _ => Err(failed("it did not return an object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn evaluate(text: &str, inputs: Value) -> Result<Value, ExpressionError> {
        evaluate_with(text, inputs, &[], Limits::default())
    }

    fn evaluate_with(
        text: &str,
        inputs: Value,
        library: &[String],
        limits: Limits,
    ) -> Result<Value, ExpressionError> {
        let runtime = json!({"outdir": "/job", "tmpdir": "/tmp"});
        let scope = Scope {
            inputs: &inputs,
            runtime: &runtime,
            library,
        };
        Evaluator::new(scope, limits).value(&Template::parse(text)?)
    }

    #[test]
    fn a_whole_text_expression_keeps_its_type() {
        assert_eq!(evaluate(" $(inputs.n) \n", json!({"n": 3})), Ok(json!(3)));
        assert_eq!(evaluate("$(inputs.n + 1)", json!({"n": 3})), Ok(json!(4)));
        assert_eq!(
            evaluate("${ return [inputs.n]; }", json!({"n": 3})),
            Ok(json!([3]))
        );
    }

    #[test]
    fn values_are_inserted_bare_or_as_sorted_json() {
        let inputs =
            json!({"s": "it's", "l": ["a", 1, null], "o": {"b": 1.5, "a": true}, "é": ["é"]});
        assert_eq!(
            evaluate(
                "<$(inputs.s)> $(inputs.l) $(inputs.o) $(inputs['é'])",
                inputs
            ),
            Ok(json!(
                r#"<it's> ["a", 1, null] {"a": true, "b": 1.5} ["\u00e9"]"#
            ))
        );
    }

    #[test]
    fn plain_references_and_scripts_agree() {
        let inputs = json!({"a": {"b": [{"c d": "x"}]}, "n": null, "s": "four"});
        for reference in [
            "inputs.a.b[0]['c d']",
            "inputs.a.missing",
            "inputs.n",
            "inputs.s.length",
            "inputs.a.b.length",
            "inputs.a",
            "self",
            "runtime.outdir",
        ] {
            let plain = evaluate(&format!("$({reference})"), inputs.clone());
            let script = evaluate(&format!("$( {reference})"), inputs.clone());
            assert_eq!(plain, script, "{reference}");
            assert!(plain.is_ok(), "{reference}");
        }
    }

    #[test]
    fn a_failing_expression_says_which_and_why() {
        let error = evaluate("$(inputs.x.path)", json!({"x": null})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the expression $(inputs.x.path) failed: TypeError: cannot read property 'path' of null"
        );
        let error = evaluate("${ throw 'no such \\n line'; }", json!({})).unwrap_err();
        assert!(
            error.to_string().ends_with("failed: no such line"),
            "{error}"
        );
        let error = evaluate("$(undeclared = 1)", json!({})).unwrap_err();
        assert!(error.to_string().contains("ReferenceError"), "{error}");
        assert!(evaluate("$(1 +)", json!({})).is_err());
    }

    #[test]
    fn expressions_do_not_see_each_other() {
        let text = "${ globalThis.left = 1; inputs.n = 9; Array.prototype.map = null; return 1; } \
                    $(typeof left) $( inputs.n) $(typeof [].map)";
        assert_eq!(
            evaluate(text, json!({"n": 3})),
            Ok(json!("1 undefined 3 function"))
        );
    }

    #[test]
    fn the_library_is_in_scope_and_sees_inputs() {
        let library = vec!["function twice() { return inputs.n * 2; } // two".to_owned()];
        assert_eq!(
            evaluate_with("$(twice())", json!({"n": 4}), &library, Limits::default()),
            Ok(json!(8))
        );
    }

    #[test]
    fn endless_scripts_are_stopped() {
        let limits = Limits {
            time: Duration::from_millis(50),
            ..Limits::default()
        };
        for code in [
            "${ while (true) {} }",
            "${ while (true) { try { (function f() { while (true) {} })(); } catch (e) {} } }",
            "$( /(a+)+$/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'))",
        ] {
            let error = evaluate_with(code, json!({}), &[], limits).unwrap_err();
            assert!(matches!(error, ExpressionError::TooSlow { .. }), "{error}");
        }
    }

    #[test]
    fn that_there_is_no_engine_passes_and_takes_nobodys_time() {
        let patience = Duration::from_secs(1);
        let (error, spent) = with_patience(patience, || {
            javascript::testing::without_engine(|| evaluate("$(1 + 1)", json!({})))
        });
        assert!(error.unwrap_err().is_passing());
        assert_eq!(spent, Duration::ZERO);
        let plain =
            javascript::testing::without_engine(|| evaluate("$(inputs.n)", json!({"n": 3})));
        assert_eq!(plain, Ok(json!(3)), "no script");
        assert!(!evaluate("$(nothing)", json!({})).unwrap_err().is_passing());
    }

    #[test]
    fn memory_and_stack_are_bounded() {
        let error = evaluate(
            "${ var a = []; while (true) a.push(new Array(1000).fill(7)); }",
            json!({}),
        )
        .unwrap_err();
        assert!(matches!(error, ExpressionError::TooLarge { .. }), "{error}");
        let error = evaluate(
            "${ function f() { return f() + 1; } return f(); }",
            json!({}),
        )
        .unwrap_err();
        assert!(matches!(error, ExpressionError::Failed { .. }), "{error}");
        assert!(
            evaluate(
                "${ var a = []; for (var i = 0; i < 5000; i++) a = [a]; return a; }",
                json!({})
            )
            .is_err()
        );
    }

    #[test]
    fn a_script_reaches_nothing_outside() {
        let text = "$([typeof require, typeof process, typeof std, typeof os, typeof fetch, typeof print].join())";
        assert_eq!(
            evaluate(text, json!({})),
            Ok(json!(
                "undefined,undefined,undefined,undefined,undefined,undefined"
            ))
        );
    }

    #[test]
    fn when_accepts_both_spellings() {
        let inputs = json!({"when": false, "n": 3});
        assert_eq!(evaluate_when("$(inputs.when)", &inputs), Ok(json!(false)));
        assert_eq!(
            evaluate_when(" ${inputs.when}\n", &inputs),
            Ok(json!(false))
        );
        assert_eq!(evaluate_when("$(inputs.n > 2)", &inputs), Ok(json!(true)));
        assert_eq!(
            evaluate_when("${ return inputs.n == 2; }", &inputs),
            Ok(json!(false))
        );
        assert_eq!(evaluate_when("yes", &inputs), Ok(json!("yes")));
        assert_eq!(evaluate_when("$(inputs.missing)", &inputs), Ok(Value::Null));
    }

    #[test]
    fn an_expression_tool_returns_its_object() {
        let made = evaluate_expression_tool("{ return {out: $job.n + 1}; }", &json!({"n": 1}), &[]);
        assert_eq!(Value::Object(made.unwrap()), json!({"out": 2}));
        let refused =
            evaluate_expression_tool("return {__error_message: 'too few'};", &json!({}), &[]);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .ends_with("failed: too few")
        );
        assert!(evaluate_expression_tool("return 3;", &json!({}), &[]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn evaluation_never_panics(text in "[$(){}\\\\'\"inputs.a-c0\\[\\]+; ]{0,30}") {
            let limits = Limits { time: Duration::from_millis(200), ..Limits::default() };
            let _ = evaluate_with(&format!("$({text})"), json!({"a": [1]}), &[], limits);
        }
    }
}
