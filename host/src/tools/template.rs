//! Text with CWL-style expressions in it: `$(expression)` and `${ function body }`.
//!
//! A template is scanned once, when its tool loads. The scanner follows cwl-utils (tools spec,
//! section 3): brackets are balanced, quoted strings are respected, `\$(` and `\${` are literal,
//! `\\` is one backslash, and a text without `$(` or `${` is left alone altogether.

use thiserror::Error;

/// A text whose expressions were found and, where they only name a value, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Text(String),
    /// `$(inputs.a.b[0])`: resolved without JavaScript when the value is there.
    Reference(Reference),
    Script(Script),
}

/// A dotted path into the names in scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub path: Vec<PathPart>,
    /// The same as JavaScript, for the cases that only JavaScript can answer.
    pub script: Script,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// What stood between `$(` and `)`.
    Expression(String),
    /// What stood between `${` and `}`.
    Body(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the expression that begins at line {line}, column {column} is never closed")]
pub struct UnfinishedExpression {
    pub line: usize,
    pub column: usize,
}

impl Template {
    /// Finds the expressions of `text`.
    pub fn parse(text: &str) -> Result<Template, UnfinishedExpression> {
        let mut segments = Vec::new();
        if text.contains("$(") || text.contains("${") {
            scan(text, &mut segments)?;
        } else if !text.is_empty() {
            segments.push(Segment::Text(text.to_owned()));
        }
        Ok(Template {
            source: text.to_owned(),
            segments,
        })
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether evaluation can change anything.
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|s| matches!(s, Segment::Text(_)))
    }

    /// The names `x` of every `inputs.x` that an expression mentions.
    pub fn input_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Text(_) => {}
                Segment::Reference(reference) => {
                    if let [PathPart::Key(root), PathPart::Key(name), ..] = &reference.path[..]
                        && root == "inputs"
                    {
                        names.push(name.clone());
                    }
                }
                Segment::Script(script) => names.extend(script.input_names()),
            }
        }
        names
    }
}

impl Script {
    /// An expression or a function body, as JavaScript that yields the value.
    pub fn as_function(&self) -> String {
        match self {
            Script::Expression(code) => format!("(function(){{return ({code}\n);}})()"),
            Script::Body(code) => format!("(function(){{{code}\n}})()"),
        }
    }

    pub fn code(&self) -> &str {
        match self {
            Script::Expression(code) | Script::Body(code) => code,
        }
    }

    /// The names `x` of every `inputs.x` outside of string literals and comments.
    pub fn input_names(&self) -> Vec<String> {
        input_names(self.code())
    }
}

/// Finds `inputs.name` in JavaScript, skipping strings and comments.
pub fn input_names(code: &str) -> Vec<String> {
    let bytes = code.as_bytes();
    let mut names = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = skip_string(bytes, at, quote),
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = find(bytes, at, b"\n").unwrap_or(bytes.len());
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = find(bytes, at + 2, b"*/").map_or(bytes.len(), |end| end + 2);
            }
            byte if is_word(byte) || byte == b'$' => {
                let end = word_end(bytes, at);
                let standalone = at == 0 || bytes[at - 1] != b'.';
                if &bytes[at..end] == b"inputs" && standalone && bytes.get(end) == Some(&b'.') {
                    let name_end = word_end(bytes, end + 1);
                    if name_end > end + 1 {
                        names.push(code[end + 1..name_end].to_owned());
                    }
                    at = name_end;
                } else {
                    at = end;
                }
            }
            _ => at += 1,
        }
    }
    names
}

fn skip_string(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(needle.len())
        .position(|window| window == needle)
        .map(|offset| from + offset)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < bytes.len() && (is_word(bytes[end]) || bytes[end] == b'$') {
        end += 1;
    }
    end
}

fn scan(text: &str, segments: &mut Vec<Segment>) -> Result<(), UnfinishedExpression> {
    let skipped = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    let mut literal = String::new();
    // Everything searched for is ASCII, so `start..at` always lies on character boundaries.
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied();
        match (bytes[at], next) {
            (b'\\', Some(b'\\')) => {
                literal.push_str(&trimmed[start..at + 1]);
                at += 2;
                start = at;
            }
            (b'\\', Some(b'$')) if matches!(bytes.get(at + 2), Some(b'(' | b'{')) => {
                literal.push_str(&trimmed[start..at]);
                literal.push_str(&trimmed[at + 1..at + 3]);
                at += 3;
                start = at;
            }
            (b'$', Some(open @ (b'(' | b'{'))) => {
                let end =
                    closing(bytes, at + 1, open).ok_or_else(|| unfinished(text, skipped + at))?;
                literal.push_str(&trimmed[start..at]);
                if !literal.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut literal)));
                }
                segments.push(segment(&trimmed[at + 2..end], open));
                at = end + 1;
                start = at;
            }
            _ => at += 1,
        }
    }
    literal.push_str(&trimmed[start..]);
    if !literal.is_empty() {
        segments.push(Segment::Text(literal));
    }
    Ok(())
}

fn unfinished(text: &str, at: usize) -> UnfinishedExpression {
    let before = &text[..at];
    UnfinishedExpression {
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
    }
}

/// Where the bracket opened at `open_at` closes, strings left aside.
fn closing(bytes: &[u8], open_at: usize, open: u8) -> Option<usize> {
    let close = if open == b'(' { b')' } else { b'}' };
    let mut depth = 0usize;
    let mut at = open_at;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                let end = skip_string(bytes, at, quote);
                if bytes.get(end - 1) != Some(&quote) || end == at + 1 {
                    return None;
                }
                at = end;
                continue;
            }
            b'\\' => at += 1,
            byte if byte == open => depth += 1,
            byte if byte == close => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn segment(code: &str, open: u8) -> Segment {
    if open == b'{' {
        return Segment::Script(Script::Body(code.to_owned()));
    }
    let script = Script::Expression(code.to_owned());
    match reference_path(code) {
        Some(path) => Segment::Reference(Reference { path, script }),
        None => Segment::Script(script),
    }
}

/// `a.b[0]['c']` taken apart, or `None` if the code is anything else.
fn reference_path(code: &str) -> Option<Vec<PathPart>> {
    let bytes = code.as_bytes();
    let first = word_end_plain(bytes, 0);
    if first == 0 || bytes[0].is_ascii_digit() {
        return None;
    }
    let mut path = vec![PathPart::Key(code[..first].to_owned())];
    let mut at = first;
    while at < bytes.len() {
        match bytes[at] {
            b'.' => {
                let end = word_end_plain(bytes, at + 1);
                if end == at + 1 {
                    return None;
                }
                path.push(PathPart::Key(code[at + 1..end].to_owned()));
                at = end;
            }
            b'[' => {
                let close = at + code[at..].find(']')?;
                let inside = &code[at + 1..close];
                path.push(bracket(inside)?);
                at = close + 1;
            }
            _ => return None,
        }
    }
    Some(path)
}

fn bracket(inside: &str) -> Option<PathPart> {
    for quote in ['\'', '"'] {
        if let Some(key) = inside
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            let plain = !key.contains(['\'', '"', '\\']);
            return plain.then(|| PathPart::Key(key.to_owned()));
        }
    }
    let digits = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| inside.parse().ok().map(PathPart::Index))
        .flatten()
}

fn word_end_plain(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < bytes.len() && is_word(bytes[end]) {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(text: &str) -> Vec<String> {
        Template::parse(text)
            .unwrap()
            .segments()
            .iter()
            .map(|segment| match segment {
                Segment::Text(text) => format!("text {text}"),
                Segment::Reference(reference) => format!("ref {}", reference.script.code()),
                Segment::Script(Script::Expression(code)) => format!("js {code}"),
                Segment::Script(Script::Body(code)) => format!("body {code}"),
            })
            .collect()
    }

    #[test]
    fn a_text_without_expressions_is_left_alone() {
        assert_eq!(shape("  a \\\\ \\$ $VAR \n"), ["text   a \\\\ \\$ $VAR \n"]);
    }

    #[test]
    fn references_scripts_and_bodies_are_told_apart() {
        assert_eq!(
            shape(" x $(inputs.a[0]['b']) ${ return {a: 1}; } $(a + 1)\n"),
            [
                "text x ",
                "ref inputs.a[0]['b']",
                "text  ",
                "body  return {a: 1}; ",
                "text  ",
                "js a + 1"
            ]
        );
    }

    #[test]
    fn escapes_follow_cwl() {
        assert_eq!(
            shape(r#"\$((n + 1)) \${x} \\ \n \$HOME $(a)"#),
            [r#"text $((n + 1)) ${x} \ \n \$HOME "#, "ref a"]
        );
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(shape(r#"$(f(")", '\')'))"#), [r#"js f(")", '\')')"#]);
    }

    #[test]
    fn an_open_expression_is_reported_with_its_place() {
        let error = Template::parse("a\n  b $(inputs.x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the expression that begins at line 2, column 5 is never closed"
        );
        assert!(Template::parse("$(\"").is_err());
        assert!(Template::parse("$('a)").is_err());
    }

    #[test]
    fn names_of_inputs_are_found_outside_of_strings() {
        let code = r#"inputs.a + "inputs.b" + my.inputs.c /* inputs.d */ + inputs.e.f // inputs.g"#;
        assert_eq!(input_names(code), ["a", "e"]);
        let template = Template::parse("$(inputs.one.two) $(inputs.three + 1)").unwrap();
        assert_eq!(template.input_names(), ["one", "three"]);
    }

    proptest! {
        #[test]
        fn scanning_never_panics(text in "[$(){}\\\\'\"a-cé.\\[\\]0-9 /*\n]{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                template.input_names();
            }
        }
    }
}
