//! The language of `.expect` files: facts a trace must show, one a line.
//!
//! ```text
//! # a comment
//! order A b A×5 c                                   the selection order, runs compressed
//! has {"event":"dead","site":"x.test"}              some event has all these fields; a text that ends
//!                                                   in * is the beginning of the value
//! lacks {"event":"select","t":0}                    no event has
//! count 3 {"event":"select"}                        so many have
//! values t {"event":"select"} = 2 600 1200 ...      this field of all of them, in order; ... for more
//! gaps t {"event":"done"} = 3 3                     differences of such values
//! most recipients {"event":"read"} = 5000           no such value is greater
//! sum recipients {"event":"select"} = 120           of such values
//! rounds 3 transport {"event":"select"}             any three in a row, counted in threes, differ
//! ```

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Every line of `expectations` that the trace does not meet, with what was found instead.
pub(crate) fn unmet(expectations: &str, trace: &[Map<String, Value>], order: &str) -> Vec<String> {
    let lines = expectations.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|(number, line)| {
            check(line, trace, order).err().map(|e| format!("{number}: {line}: {e}"))
        })
        .collect()
}

fn check(line: &str, trace: &[Map<String, Value>], order: &str) -> Result<(), String> {
    let (verb, rest) = line.split_once(' ').ok_or("a verb and its pattern are expected")?;
    if verb == "order" {
        return equal(order, rest.trim());
    }
    let opening = rest.find('{').ok_or("a pattern in braces is expected")?;
    let closing = rest.rfind('}').ok_or("a pattern in braces is expected")?;
    let pattern: Map<String, Value> =
        serde_json::from_str(&rest[opening..=closing]).map_err(|error| error.to_string())?;
    let arguments: Vec<&str> = rest[..opening].split_whitespace().collect();
    let wanted = rest[closing + 1..].trim().trim_start_matches('=').trim();
    let matching: Vec<_> = trace.iter().filter(|event| matches(event, &pattern)).collect();
    let numbers = |field: &str| -> Vec<f64> {
        matching.iter().filter_map(|event| event.get(field).and_then(Value::as_f64)).collect()
    };
    match (verb, arguments.as_slice()) {
        ("has", []) if matching.is_empty() => Err("there is no such event".into()),
        ("has", []) => Ok(()),
        ("lacks", []) => match matching.first() {
            Some(event) => Err(format!("there is {}", Value::Object((*event).clone()))),
            None => Ok(()),
        },
        ("count", [number]) => equal(&matching.len().to_string(), number),
        ("values", [field]) => {
            let found: Vec<String> =
                matching.iter().filter_map(|event| event.get(*field).map(word)).collect();
            sequence(&found, wanted)
        }
        ("gaps", [field]) => {
            let found = numbers(field);
            let gaps: Vec<String> = found.windows(2).map(|pair| (pair[1] - pair[0]).to_string()).collect();
            sequence(&gaps, wanted)
        }
        ("most", [field]) => {
            let greatest = numbers(field).into_iter().fold(f64::MIN, f64::max);
            let bound: f64 = wanted.parse().map_err(|_| "a number is expected")?;
            if greatest <= bound { Ok(()) } else { Err(format!("found {greatest}")) }
        }
        ("sum", [field]) => equal(&numbers(field).iter().sum::<f64>().to_string(), wanted),
        ("rounds", [size, field]) => {
            let found: Vec<String> =
                matching.iter().filter_map(|event| event.get(*field).map(word)).collect();
            let size: usize = size.parse().map_err(|_| "a number is expected")?;
            match found.chunks_exact(size).find(|round| round.iter().collect::<BTreeSet<_>>().len() < size) {
                Some(round) => Err(format!("found {}", round.join(" "))),
                None if found.len() < size => Err("there are too few".into()),
                None => Ok(()),
            }
        }
        _ => Err("no such expectation".into()),
    }
}

fn matches(event: &Map<String, Value>, pattern: &Map<String, Value>) -> bool {
    pattern.iter().all(|(name, wanted)| match (event.get(name), wanted) {
        (Some(Value::String(found)), Value::String(wanted)) => match wanted.strip_suffix('*') {
            Some(beginning) => found.starts_with(beginning),
            None => found == wanted,
        },
        (Some(found), wanted) => found == wanted,
        (None, _) => false,
    })
}

/// A value as one word.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn sequence(found: &[String], wanted: &str) -> Result<(), String> {
    let mut words: Vec<&str> = wanted.split_whitespace().collect();
    let open = words.last() == Some(&"...");
    words.truncate(words.len() - usize::from(open));
    let enough = if open { found.get(..words.len()).unwrap_or(found) } else { found };
    equal(&enough.join(" "), &words.join(" "))
}

fn equal(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("found {found}")) }
}
