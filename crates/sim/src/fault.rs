//! What is wrong with a scenario file, and where.
//!
//! Promises: one line a person can act on: file, line, column (both from 1, columns in characters),
//! what was found, and the nearest valid name when a name was mistyped.

use std::ops::Range;

/// A scenario that does not parse. Prints as `FILE:LINE:COLUMN: what; did you mean "name"?`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}:{line}:{column}: {what}{}", suggestion(.nearest))]
pub struct ParseError {
    /// The file as it was named by the caller.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// The valid name that looks most like the one found.
    pub nearest: Option<String>,
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// A fault inside a text, before it is known which file the text came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// Byte offset in the text.
    pub(crate) at: usize,
    pub(crate) what: String,
    pub(crate) nearest: Option<String>,
}

impl Fault {
    pub(crate) fn new(at: usize, what: impl Into<String>) -> Fault {
        Fault { at, what: what.into(), nearest: None }
    }

    /// A name that is none of `known`.
    pub(crate) fn unknown<'k>(
        at: usize,
        kind: &str,
        found: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Fault {
        let nearest = nearest(found, known).map(str::to_owned);
        Fault { at, what: format!("unknown {kind} {found:?}"), nearest }
    }

    /// What the TOML reader refused. An unknown field carries the list of the valid ones in its text;
    /// the list is replaced by the one name that was probably meant.
    pub(crate) fn from_toml(error: &toml::de::Error) -> Fault {
        let at = error.span().map_or(0, |Range { start, .. }| start);
        let message = error.message();
        if !message.starts_with("unknown field") {
            return Fault::new(at, message.lines().next().unwrap_or("unreadable"));
        }
        let mut names = message.split('`').skip(1).step_by(2);
        let found = names.next().unwrap_or_default();
        Fault::unknown(at, "key", found, names)
    }

    pub(crate) fn into_error(self, path: &str, text: &str) -> ParseError {
        let before = text.get(..self.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ParseError {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: self.what,
            nearest: self.nearest,
        }
    }
}

/// The name with the fewest edits from `found`, when they are few enough to be a slip of the hand: at
/// most a third of the name.
fn nearest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|name| (edits(found, name), name))
        .filter(|(edits, name)| *edits <= name.len().div_ceil(3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Insertions, deletions and substitutions between two names (Levenshtein distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let error = Fault::new(6, "x").into_error("f", "a\néö b");
        assert_eq!((error.line, error.column), (2, 3));
        assert_eq!(error.to_string(), "f:2:3: x");
        assert_eq!(Fault::new(99, "x").into_error("f", "a").line, 1);
    }

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        let known = ["takes", "answers", "transport"];
        assert_eq!(nearest("answer", known), Some("answers"));
        assert_eq!(nearest("trasnport", known), Some("transport"));
        assert_eq!(nearest("colour", known), None);
    }
}
