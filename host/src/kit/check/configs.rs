//! C: options. The schema is the operator's manual and the host's check; the plugin must not trust either.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::{ALL, Context, Test, Verdict, faults_or_passed, left_out, noted, passed, passed_with};
use crate::kit::traces::Dice;
use barycenter_plugin_api::testing::FakeHost;

pub(super) const TESTS: [Test; 6] = [
    Test {
        id: "C.schema",
        text: "the options have a JSON Schema that is valid and describes an object",
        kinds: ALL,
        run: schema,
    },
    Test {
        id: "C.unknown",
        text: "an option that does not exist is refused",
        kinds: ALL,
        run: unknown,
    },
    Test {
        id: "C.defaults",
        text: "without options, or with the defaults that the schema names, an instance is made",
        kinds: ALL,
        run: defaults,
    },
    Test {
        id: "C.examples",
        text: "every example in the schema is valid, and an instance is made of it",
        kinds: ALL,
        run: examples,
    },
    Test {
        id: "C.mutated",
        text: "200 changed sets of options that the schema allows make an instance or an error, never a panic",
        kinds: ALL,
        run: mutated,
    },
    Test {
        id: "C.invalid",
        text: "options that the schema does not allow are an error in `create`, or harmless, never a panic",
        kinds: ALL,
        run: invalid,
    },
];

fn parsed(context: &Context) -> Result<Option<(Value, Validator)>, String> {
    let text = context.schema()?;
    if text.is_empty() {
        return Ok(None);
    }
    let schema: Value =
        serde_json::from_str(&text).map_err(|error| format!("the schema is not JSON: {error}"))?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| format!("the schema is no JSON Schema: {error}"))?;
    Ok(Some((schema, validator)))
}

fn schema(context: &Context) -> Verdict {
    let Some((schema, validator)) = parsed(context)? else {
        return passed_with("it takes no options");
    };
    let mut faults = Vec::new();
    if let Err(error) = jsonschema::meta::validate(&schema) {
        faults.push(format!(
            "the schema breaks the rules of JSON Schema: {error}"
        ));
    }
    if validator.is_valid(&json!([])) || validator.is_valid(&json!("text")) {
        faults.push(
            "the schema allows options that are no table; say \"type\": \"object\"".to_owned(),
        );
    }
    if !validator.is_valid(&context.subject.config) {
        faults.push(format!(
            "the schema does not allow the options that it is checked with: {}",
            context.subject.config
        ));
    }
    faults_or_passed(faults)
}

fn unknown(context: &Context) -> Verdict {
    let Some((_, validator)) = parsed(context)? else {
        return passed();
    };
    let mut config = context.subject.config.clone();
    if let Some(options) = config.as_object_mut() {
        options.insert("no_such_option_of_anybody".to_owned(), json!(1));
    }
    if validator.is_valid(&config) {
        return noted(
            "a misspelled option is taken without a word; say \"additionalProperties\": false in the schema",
        );
    }
    passed()
}

fn created(context: &Context, config: &Value) -> Result<(), String> {
    let host = FakeHost::new().host();
    context
        .subject
        .open_with(config, "inproc", host)
        .map(|_| ())
}

/// The defaults that the schema's top level names.
fn named_defaults(schema: &Value) -> Value {
    let properties = schema["properties"].as_object();
    let named = properties.into_iter().flatten().filter_map(|(name, of)| {
        let default = of.get("default")?;
        Some((name.clone(), default.clone()))
    });
    Value::Object(named.collect::<Map<_, _>>())
}

fn defaults(context: &Context) -> Verdict {
    let Some((schema, validator)) = parsed(context)? else {
        created(context, &json!({})).map_err(|error| format!("without options: {error}"))?;
        return passed();
    };
    let mut faults = Vec::new();
    let named = named_defaults(&schema);
    let mut tried = 0;
    for (what, config) in [
        ("without options", json!({})),
        ("with the schema's defaults", named),
    ] {
        match validator.is_valid(&config) {
            true => {
                tried += 1;
                if let Err(error) = created(context, &config) {
                    faults.push(format!("{what}: {error}"));
                }
            }
            false
                if config
                    .as_object()
                    .is_some_and(|options| !options.is_empty())
                    && schema["required"].is_null() =>
            {
                faults.push(format!("the schema's own defaults are not valid: {config}"));
            }
            false => {}
        }
    }
    if tried == 0 && faults.is_empty() {
        return left_out("some options must be given");
    }
    faults_or_passed(faults)
}

fn examples(context: &Context) -> Verdict {
    let Some((schema, validator)) = parsed(context)? else {
        return left_out("it takes no options");
    };
    let Some(examples) = schema["examples"]
        .as_array()
        .filter(|list| !list.is_empty())
    else {
        return noted("the schema has no \"examples\"; operators copy from them");
    };
    let mut faults = Vec::new();
    for example in examples {
        if let Err(error) = validator.validate(example) {
            faults.push(format!("the example {example} is not valid: {error}"));
        } else if let Err(error) = created(context, example) {
            faults.push(format!("the example {example}: {error}"));
        }
    }
    faults_or_passed(faults)
}

/// A value of the sort that the schema of an option asks for, often at its limits.
fn value(of: &Value, dice: &mut Dice) -> Value {
    if let Some(allowed) = of["enum"].as_array().filter(|list| !list.is_empty()) {
        return allowed[dice.below(allowed.len() as u64) as usize].clone();
    }
    let limits: Vec<Value> = ["minimum", "maximum", "default"]
        .iter()
        .filter_map(|name| of.get(name).cloned())
        .collect();
    if !limits.is_empty() && dice.below(2) == 0 {
        return limits[dice.below(limits.len() as u64) as usize].clone();
    }
    match of["type"].as_str() {
        Some("integer") => [
            json!(0),
            json!(1),
            json!(-1),
            json!(7),
            json!(u64::MAX),
            json!(i64::MIN),
        ][dice.below(6) as usize]
            .clone(),
        Some("number") => [json!(0.0), json!(1e-9), json!(-1.5), json!(1e300), json!(3)]
            [dice.below(5) as usize]
            .clone(),
        Some("boolean") => json!(dice.below(2) == 0),
        Some("string") => [
            json!(""),
            json!("a"),
            json!("ячейка"),
            json!("x".repeat(5000)),
            json!("../../etc"),
        ][dice.below(5) as usize]
            .clone(),
        Some("array") => {
            let items: Vec<Value> = (0..dice.below(4))
                .map(|_| value(&of["items"], dice))
                .collect();
            Value::Array(items)
        }
        Some("object") => options(of, dice),
        _ => [Value::Null, json!(1), json!("x"), json!([]), json!({})][dice.below(5) as usize]
            .clone(),
    }
}

fn options(schema: &Value, dice: &mut Dice) -> Value {
    let properties = schema["properties"].as_object();
    let chosen = properties.into_iter().flatten().filter_map(|(name, of)| {
        let given = dice.below(3) > 0;
        given.then(|| (name.clone(), value(of, dice)))
    });
    Value::Object(chosen.collect())
}

/// Options with each one replaced by something of another sort.
fn nonsense(schema: &Value, dice: &mut Dice) -> Value {
    let Value::Object(mut config) = options(schema, dice) else {
        return json!([]);
    };
    for (_, value) in config.iter_mut() {
        if dice.below(2) == 0 {
            *value = [
                Value::Null,
                json!(-1),
                json!("no"),
                json!([1]),
                json!({ "a": {} }),
                json!(1e308),
            ][dice.below(6) as usize]
                .clone();
        }
    }
    Value::Object(config)
}

fn is_panic(error: &str) -> bool {
    error.contains(".rs:") || error.contains("panick")
}

fn mutated(context: &Context) -> Verdict {
    let Some((schema, validator)) = parsed(context)? else {
        return left_out("it takes no options");
    };
    let mut dice = Dice::new(11);
    let (mut tried, mut made, mut faults) = (0, 0, Vec::new());
    for _ in 0..2000 {
        let config = options(&schema, &mut dice);
        if !validator.is_valid(&config) {
            continue;
        }
        tried += 1;
        match created(context, &config) {
            Ok(()) => made += 1,
            Err(error) if is_panic(&error) => faults.push(format!("{config}: {error}")),
            Err(_) => {}
        }
        if tried == 200 || faults.len() > 3 {
            break;
        }
    }
    if faults.is_empty() {
        return passed_with(format!("{made} of {tried} made"));
    }
    faults_or_passed(faults)
}

/// The host never hands these over; another host, or an older one, might.
fn invalid(context: &Context) -> Verdict {
    let loaded = crate::plugins::load(&context.subject.path, None, None)
        .map_err(|error| error.to_string())?;
    let schema: Value = serde_json::from_str(&loaded.info.config_schema).unwrap_or_default();
    let mut dice = Dice::new(13);
    let mut faults = Vec::new();
    let fixed = [json!(null), json!([]), json!("text"), json!(1)];
    let changed: Vec<Value> = (0..60).map(|_| nonsense(&schema, &mut dice)).collect();
    for config in fixed.iter().chain(&changed) {
        let made = crate::plugins::create_unchecked(
            &loaded,
            context.subject.kind,
            config,
            FakeHost::new().host(),
        );
        if let Err(error) = made
            && error.code == barycenter_plugin_api::ErrorCode::PANICKED
        {
            faults.push(format!("{config}: {error}"));
        }
    }
    faults_or_passed(faults)
}
