//! The options of the measuring commands: pairs of a name and a value.
//!
//! Promises: a name that is not known, a missing value and a value that is no number are refused with
//! the names that are known. Refuses: flags, positions, defaults; the command has them.

use anyhow::{Context, Result, bail};

/// What was given on the command line.
pub(crate) struct Options {
    given: Vec<(String, String)>,
}

impl Options {
    /// Reads pairs; only `known` names are allowed.
    pub(crate) fn read(known: &[&str], words: &[&str]) -> Result<Options> {
        let mut given = Vec::new();
        for pair in words.chunks(2) {
            match pair {
                [name, value] if known.contains(name) => given.push(((*name).into(), (*value).into())),
                [name, ..] if known.contains(name) => bail!("{name} needs a value"),
                _ => bail!("{} is not known here; known are {}", pair[0], known.join(", ")),
            }
        }
        Ok(Options { given })
    }

    /// The last value given for `name`.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The last number given for `name`.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize> {
        let Some(word) = self.word(name) else { return Ok(default) };
        word.replace('_', "").parse().with_context(|| format!("{name} {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_mistakes_refused() {
        let known = &["--rounds", "--json"];
        let read =
            Options::read(known, &["--rounds", "1_000", "--json", "f", "--rounds", "7"]).expect("good");
        assert_eq!(read.word("--json"), Some("f"));
        assert_eq!(read.number("--rounds", 1).ok(), Some(7));
        assert_eq!(Options::read(known, &[]).expect("good").number("--rounds", 3).ok(), Some(3));
        for wrong in [&["--rouns", "1"][..], &["--rounds"], &["engine"]] {
            assert!(Options::read(known, wrong).is_err(), "{wrong:?}");
        }
        assert!(Options::read(known, &["--rounds", "x"]).expect("a pair").number("--rounds", 1).is_err());
    }
}
