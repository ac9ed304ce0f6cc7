//! Values as they are written: read from TOML, from an environment variable or from the command line,
//! and checked against what the key takes.

use mail::{parse_duration, parse_size};
use toml::de::DeValue;

use super::schema::{Key, Kind};

/// A checked value, still as written, so that it can be shown again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// A scalar: `300s`, `20`, `yes`.
    Scalar(String),
    /// A list of words.
    Words(Vec<String>),
    /// Rows of `route.map`.
    Rules(Vec<Rule>),
}

/// One row of `route.map` as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    /// `user@domain`, `domain`, `.domain` or `*`.
    pub(crate) matches: String,
    /// `transport:nexthop`.
    pub(crate) to: String,
}

impl Value {
    /// Reads a value that a TOML parser has found.
    pub(crate) fn of_toml(key: &Key, value: &DeValue<'_>) -> Result<Value, String> {
        let read = match (key.kind, value) {
            (Kind::Rules, DeValue::Array(rows)) => {
                Value::Rules(rows.iter().map(|row| rule(row.get_ref())).collect::<Result<_, _>>()?)
            }
            (_, DeValue::Array(items)) if takes_words(key.kind) => {
                let word = |item: &toml::Spanned<DeValue<'_>>| {
                    item.get_ref().as_str().map(str::to_owned).ok_or("each entry must be a string in quotes")
                };
                Value::Words(items.iter().map(word).collect::<Result<_, _>>()?)
            }
            (_, DeValue::String(text)) if takes_words(key.kind) => Value::Words(words(text)),
            (kind, value) => Value::Scalar(scalar(kind, value)?),
        };
        read.check(key)?;
        Ok(read)
    }

    /// Reads a value of an environment variable or of `-o`: TOML where a list or quotes open it, plain
    /// text otherwise.
    pub(crate) fn of_text(key: &Key, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if text.starts_with(['[', '"', '\'']) && !is_address_literal(key, text) {
            let parsed = DeValue::parse(text).map_err(|error| error.message().to_owned())?;
            return Value::of_toml(key, parsed.get_ref());
        }
        let read = match key.kind {
            Kind::Rules => return Err(RULES_EXPECTED.to_owned()),
            kind if takes_words(kind) => Value::Words(words(text)),
            _ => Value::Scalar(text.to_owned()),
        };
        read.check(key)?;
        Ok(read)
    }

    fn check(&self, key: &Key) -> Result<(), String> {
        match (key.kind, self) {
            (Kind::Engine(parameter), value) => {
                let mut scratch = qmgr::Config::default();
                let checked = scratch.set(parameter.name, &value.plain());
                checked.map_err(|error| without_name(&error.to_string(), parameter.name))
            }
            (kind, Value::Scalar(text)) => check_scalar(kind, text),
            _ => Ok(()),
        }
    }

    /// The text as the engine and typed settings read it; words are joined by blanks.
    pub(crate) fn plain(&self) -> String {
        match self {
            Value::Scalar(text) => text.clone(),
            Value::Words(words) => words.join(" "),
            Value::Rules(_) => String::new(),
        }
    }

    /// The value as TOML that reads back the same.
    pub(crate) fn to_toml(&self, key: &Key) -> String {
        match self {
            Value::Scalar(text) if matches!(key.kind, Kind::Flag) => {
                (if is_yes(text) { "true" } else { "false" }).to_owned()
            }
            Value::Scalar(text) if !matches!(key.kind, Kind::Text) && is_plain_number(text) => text.clone(),
            Value::Scalar(text) => quoted(text),
            Value::Words(words) => {
                format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
            }
            Value::Rules(rules) => {
                let row = |rule: &Rule| {
                    format!("{{ match = {}, to = {} }}", quoted(&rule.matches), quoted(&rule.to))
                };
                format!("[{}]", rules.iter().map(row).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

const RULES_EXPECTED: &str =
    "rows are expected: [ { match = \"example.com\", to = \"lmtp:[127.0.0.1]:2424\" } ]";

fn takes_words(kind: Kind) -> bool {
    match kind {
        Kind::Words => true,
        Kind::Engine(parameter) => matches!(parameter.kind, qmgr::Kind::Names),
        _ => false,
    }
}

/// `[192.0.2.1]:25` opens with a bracket and is no list.
fn is_address_literal(key: &Key, text: &str) -> bool {
    matches!(key.kind, Kind::Text) && text.starts_with('[')
}

/// Yes in one of its spellings.
pub(crate) fn is_yes(text: &str) -> bool {
    matches!(text, "yes" | "true")
}

fn is_plain_number(text: &str) -> bool {
    text == "0"
        || (text.starts_with(|c: char| c != '0')
            && text.len() < 19
            && text.bytes().all(|b| b.is_ascii_digit()))
}

fn words(text: &str) -> Vec<String> {
    let separator = |c: char| c == ',' || c.is_whitespace();
    text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn rule(row: &DeValue<'_>) -> Result<Rule, String> {
    let table = row.as_table().ok_or(RULES_EXPECTED)?;
    let mut rule = Rule { matches: String::new(), to: String::new() };
    for (name, value) in table.iter() {
        let text =
            value.get_ref().as_str().ok_or_else(|| format!("`{}` must be a string", name.get_ref()))?;
        match name.get_ref().as_ref() {
            "match" => rule.matches = text.to_owned(),
            "to" => rule.to = text.to_owned(),
            other => return Err(format!("unknown key `{other}` in a row: only `match` and `to` are known")),
        }
    }
    if rule.matches.is_empty() || rule.to.is_empty() {
        return Err("a row needs both `match` and `to`".to_owned());
    }
    Ok(rule)
}

fn scalar(kind: Kind, value: &DeValue<'_>) -> Result<String, String> {
    let numbers = match kind {
        Kind::Duration(_) | Kind::Size | Kind::Count(..) => true,
        Kind::Engine(parameter) => !matches!(parameter.kind, qmgr::Kind::Flag),
        _ => false,
    };
    let flags = match kind {
        Kind::Flag => true,
        Kind::Engine(parameter) => matches!(parameter.kind, qmgr::Kind::Flag),
        _ => false,
    };
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if numbers => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map(|number| number.to_string()).map_err(|_| "the number is too large".to_owned())
        }
        DeValue::Float(number) if numbers => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) if flags => Ok((if *flag { "yes" } else { "no" }).to_owned()),
        DeValue::Table(_) => Err(format!("{} is expected, not a table", expected(kind))),
        other => Err(format!("{} is expected, not {}", expected(kind), article(other.type_str()))),
    }
}

fn article(word: &str) -> String {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {word}") } else { format!("a {word}") }
}

/// What a key takes, in words.
pub(crate) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Duration(_) => "a duration such as \"30s\"".to_owned(),
        Kind::Size => "a size such as \"50MiB\"".to_owned(),
        Kind::Count(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Flag => "true or false".to_owned(),
        Kind::Text => "a string in quotes".to_owned(),
        Kind::Words => "a list of strings".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Rules => "a list of rows".to_owned(),
        Kind::Engine(parameter) => match parameter.kind {
            qmgr::Kind::Duration { .. } => "a duration such as \"300s\"".to_owned(),
            qmgr::Kind::Count => "a whole number".to_owned(),
            qmgr::Kind::Percent => "a percentage such as \"50%\"".to_owned(),
            qmgr::Kind::Flag => "true or false".to_owned(),
            qmgr::Kind::Feedback => "a feedback such as \"1\" or \"1/concurrency\"".to_owned(),
            qmgr::Kind::Names => "a list of names".to_owned(),
            qmgr::Kind::Word => "one word".to_owned(),
            qmgr::Kind::Choice(words) => format!("one of {}", words.join(", ")),
        },
    }
}

fn check_scalar(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Duration(bare) => parse_duration(text, bare).map(drop).map_err(|error| bad(text, &error)),
        Kind::Size => parse_size(text).map(drop).map_err(|error| bad(text, &error)),
        Kind::Count(least, most) => match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            _ => Err(format!("bad value \"{text}\": {} is expected", expected(kind))),
        },
        Kind::Flag if matches!(text, "yes" | "no" | "true" | "false") => Ok(()),
        Kind::Choice(words) if words.contains(&text) => Ok(()),
        Kind::Flag | Kind::Choice(_) | Kind::Words | Kind::Rules => {
            Err(format!("bad value \"{text}\": {} is expected", expected(kind)))
        }
        Kind::Text if text.contains(char::is_control) => Err("control characters are not allowed".to_owned()),
        Kind::Text | Kind::Engine(_) => Ok(()),
    }
}

fn bad(text: &str, error: &mail::UnitError) -> String {
    format!("bad value \"{text}\": {error}")
}

/// The engine names the parameter in its message; the place in front of ours names it already.
fn without_name(text: &str, name: &str) -> String {
    text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text).to_owned()
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{find, keys};

    fn key(place: &str) -> &'static Key {
        let (section, name) = place.rsplit_once('.').unwrap_or(("", place));
        find(section, name).expect(place)
    }

    #[test]
    fn text_from_the_environment_reads_as_toml_or_plain() {
        let listen = key("smtp.listen");
        let two = Value::Words(vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()]);
        assert_eq!(Value::of_text(listen, "127.0.0.1:0, [::1]:0"), Ok(two.clone()));
        assert_eq!(Value::of_text(listen, "[\"127.0.0.1:0\", \"[::1]:0\"]"), Ok(two));
        assert_eq!(Value::of_text(listen, "[]"), Ok(Value::Words(Vec::new())));
        let literal = Value::Scalar("[127.0.0.1]:2526".to_owned());
        assert_eq!(Value::of_text(key("route.relayhost"), "[127.0.0.1]:2526"), Ok(literal.clone()));
        assert_eq!(Value::of_text(key("route.relayhost"), "\"[127.0.0.1]:2526\""), Ok(literal));
        assert!(Value::of_text(key("route.map"), "a:b").is_err());
        let rows = Value::of_text(key("route.map"), "[{ match = \"a.test\", to = \"discard:\" }]");
        assert!(matches!(rows, Ok(Value::Rules(rows)) if rows.len() == 1));
    }

    #[test]
    fn bad_values_are_named() {
        for (place, text, part) in [
            ("smtp.message_size_limit", "50mb", "unknown unit"),
            ("smtp.command_timeout", "soon", "a number is expected"),
            ("smtp.recipient_limit", "0", "whole number from 1"),
            ("log.format", "xml", "one of text, json"),
            ("qmgr.minimal_backoff_time", "5 parsecs", "unit"),
            ("qmgr.soft_bounce", "maybe", "yes or no"),
        ] {
            let error = Value::of_text(key(place), text).expect_err(place);
            assert!(error.contains(part), "{place}: {error}");
        }
    }

    #[test]
    fn every_default_is_good_and_reads_back() {
        for key in keys() {
            let value = Value::of_text(key, key.default).unwrap_or_else(|e| panic!("{}: {e}", key.name));
            let again = value.to_toml(key);
            let parsed = DeValue::parse(&again).unwrap_or_else(|e| panic!("{}: {e}", key.name));
            let reread =
                Value::of_toml(key, parsed.get_ref()).unwrap_or_else(|e| panic!("{}: {e}", key.name));
            assert_eq!(reread.to_toml(key), again, "{}", key.name);
        }
    }
}
