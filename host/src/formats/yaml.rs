//! YAML text to and from JSON values, reading plain scalars the way Galaxy's reader (PyYAML,
//! YAML 1.1) does where that decides what a workflow means:
//!
//! - `yes`, `no`, `on`, `off` are booleans, but `y` and `n` are text;
//! - a float needs a point, and a signed exponent if it has one, so `1e-5` and `12e34` are text;
//! - `0755` and `1_000` stay text, where PyYAML would make other numbers of them.
//!
//! A key that occurs twice is an error. Aliases, nesting and size are bounded.

use super::error::ImportError;
use super::validate::{BYTES_MAX, TREE_DEPTH_MAX};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};

/// Generous for any real workflow; what an alias bomb runs into.
const EVENTS_MAX: usize = 8_000_000;
const REPLAYED_EVENTS_MAX: usize = 100_000;

/// The reader recurses with fat frames; nesting up to the limit needs more than a worker's stack.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// Reads one YAML document.
pub(super) fn parse(text: &str) -> Result<Value, ImportError> {
    let parsed = std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        let parser = parser.spawn_scoped(scope, || parse_here(text));
        parser.map(std::thread::ScopedJoinHandle::join)
    });
    match parsed {
        Ok(Ok(result)) => result,
        _ => Err(ImportError::malformed(
            "The YAML reader gave up on this file.",
        )),
    }
}

fn parse_here(text: &str) -> Result<Value, ImportError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: TREE_DEPTH_MAX,
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
            max_total_scalar_bytes: BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_EVENTS_MAX,
        },
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| ImportError::malformed(format!("The YAML cannot be read: {error}.")))?;
    node_to_value(node, text)
}

/// Writes `value` as block YAML that YAML 1.1 and 1.2 readers understand alike.
pub(super) fn emit(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        // Never fold: a folded line is hard to compare and easy to break by hand.
        folded_wrap_chars: usize::MAX / 2,
        compact_list_indent: true,
    };
    let mut text = String::new();
    match serde_saphyr::to_fmt_writer_with_options(&mut text, value, options) {
        Ok(()) => text,
        // JSON is YAML; better unlovely than nothing.
        Err(_) => value.to_string(),
    }
}

enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

fn node_to_value(node: Spanned<Node>, source: &str) -> Result<Value, ImportError> {
    let span = node.defined.span();
    let raw = || {
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let len = usize::try_from(span.byte_len()?).ok()?;
        source.get(start..start.checked_add(len)?).map(str::trim)
    };
    Ok(match node.value {
        Node::Null => Value::Null,
        Node::Bool(truth) => match raw() {
            Some(letter @ ("y" | "Y" | "n" | "N")) => Value::from(letter),
            _ => Value::Bool(truth),
        },
        Node::Number(number) => Value::Number(number),
        Node::Float(float) => match raw() {
            // JSON has no infinity and no NaN: those keep their spelling.
            Some(raw) if !is_yaml_1_1_float(raw) || !float.is_finite() => Value::from(raw),
            _ => Value::from(float),
        },
        Node::Text(text) => Value::String(text),
        Node::List(items) => {
            let items = items.into_iter().map(|item| node_to_value(item, source));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Node::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, item) in entries {
                let value = node_to_value(item, source)?;
                map.insert(key, value);
            }
            Value::Object(map)
        }
    })
}

/// Whether PyYAML would read `raw`, which some reader took for a float, as a float too.
fn is_yaml_1_1_float(raw: &str) -> bool {
    if raw.starts_with("!!float") || raw.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        // The second is an integer too large for 64 bits.
        return true;
    }
    let Some(exponent) = raw.find(['e', 'E']) else {
        return raw.contains('.');
    };
    raw[..exponent].contains('.') && raw[exponent + 1..].starts_with(['+', '-'])
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Node, E> {
        Ok(Node::Float(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Node, E> {
        Err(E::custom("binary values have no place in a workflow"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        if entries.len() > EVENTS_MAX {
            return Err(A::Error::custom("a mapping has too many keys"));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_mean_what_galaxy_takes_them_for() {
        let text = "a: yes\nb: y\nc: 'yes'\nd: 1e-5\ne: 1.5e-3\nf: 0755\ng: 12e999\nh: 1.50\ni: ~\n\
                    j: -3\nk: 2020-01-01\nl: on\nm: N\nn: 1.0e5\no: [y, 'y', 1_000]\non: p\n1: q\n";
        let expected = json!({
            "a": true, "b": "y", "c": "yes", "d": "1e-5", "e": 0.0015, "f": "0755",
            "g": "12e999", "h": 1.5, "i": null, "j": -3, "k": "2020-01-01", "l": true,
            "m": "N", "n": "1.0e5", "o": ["y", "y", "1_000"], "on": "p", "1": "q",
        });
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let text = "a: &x {k: 1, f: 1e3}\nb: *x\nc: {<<: *x, l: 2}\n";
        let expected = json!({
            "a": {"k": 1, "f": "1e3"}, "b": {"k": 1, "f": "1e3"}, "c": {"k": 1, "f": "1e3", "l": 2},
        });
        let mut parsed = parse(text).unwrap();
        parsed["c"].sort_all_objects();
        let mut sorted = expected;
        sorted["c"].sort_all_objects();
        assert_eq!(parsed, sorted);
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused() {
        let error = parse("steps: {}\nsteps: {}\n").unwrap_err();
        assert_eq!(error.code.err_code(), 400_013);
        assert!(error.message.contains("steps"), "{}", error.message);
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let below = format!("*a{}", level - 1);
            let list = vec![below; 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_without_overflowing() {
        for text in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            "{a: ".repeat(50_000),
        ] {
            assert!(parse(&text).is_err());
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("yes".to_owned()),
            Just("1e-5".to_owned()),
            Just("null".to_owned()),
            Just("1_000".to_owned()),
            Just(" x\n  y\n\n".to_owned()),
            Just("#".to_owned()),
            Just("- a".to_owned()),
            Just("!t".to_owned()),
            Just("a: b".to_owned()),
            any::<String>(),
            "[ \\t\\n\\ra:#'\"-]{0,12}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..5)
                    .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in any_value()) {
            let text = emit(&value);
            prop_assert_eq!(parse(&text), Ok(value), "{}", text);
        }

        #[test]
        fn reading_any_text_never_panics(text in any::<String>(), yamlish in "[-a:&*<\\[\\]{}!|> \n\"'#,]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&yamlish);
        }
    }
}
