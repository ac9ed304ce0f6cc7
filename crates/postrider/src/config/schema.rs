//! Which keys there are. One table: reading, refusing, printing, comparing and documenting all walk it.
//!
//! Keys of the engine come from `qmgr::parameters`; everything else is stated in `keys.rs`.

use std::sync::LazyLock;
use std::time::Duration;

use qmgr::{Parameter, Section as EngineSection};

use super::keys::own_keys;

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A duration; a bare number counts in this unit.
    Duration(Duration),
    /// Bytes.
    Size,
    /// A whole number in this range.
    Count(u64, u64),
    /// Yes or no.
    Flag,
    /// Any text.
    Text,
    /// A list of words.
    Words,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The rows of `route.map`.
    Rules,
    /// A parameter of the engine, which reads its value itself.
    Engine(&'static Parameter),
}

/// Whether a running engine can take a new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reload {
    /// Yes, at the next SIGHUP.
    Live,
    /// Only at the next start.
    Restart,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// `smtp`, …; empty for keys above all sections; `transport` for those of every `[transport.NAME]`.
    pub(crate) section: &'static str,
    /// The name in its section.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// The default as TOML.
    pub(crate) default: &'static str,
    /// When a change takes effect.
    pub(crate) reload: Reload,
    /// One line.
    pub(crate) meaning: &'static str,
}

/// The name of the section whose tables are named by the operator.
pub(crate) const TRANSPORT: &str = "transport";

/// Every key, sections in the order in which they are printed.
pub(crate) fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let engine = qmgr::parameters().iter().flat_map(engine_keys);
        let mut keys: Vec<Key> = own_keys().copied().chain(engine).collect();
        keys.sort_by_key(|key| SECTIONS.iter().position(|section| *section == key.section));
        keys
    });
    &KEYS
}

/// The sections in the order in which they are printed; the first is the top of the file.
pub(crate) const SECTIONS: &[&str] =
    &["", "spool", "smtp", "lmtp", "route", TRANSPORT, "qmgr", "bounce", "flush", "control", "log"];

/// A parameter under each name that it has.
fn engine_keys(parameter: &'static Parameter) -> Vec<Key> {
    let key = |section, name| Key {
        section,
        name,
        kind: Kind::Engine(parameter),
        default: parameter.default,
        reload: Reload::Live,
        meaning: parameter.meaning,
    };
    match parameter.section {
        EngineSection::Qmgr => vec![key("qmgr", parameter.name)],
        EngineSection::Flush => vec![key("flush", parameter.name)],
        EngineSection::Transport => {
            vec![key("qmgr", parameter.name), key(TRANSPORT, parameter.short_name)]
        }
    }
}

/// The key of this name in this section.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.section == section && key.name == name)
}

/// Where a value stands: `smtp.listen`, `transport.smtp.kind`, `preset`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// `smtp`, `transport.lists`, or nothing.
    pub(crate) section: String,
    /// The key.
    pub(crate) name: String,
}

impl Place {
    /// The place of a key.
    pub(crate) fn new(section: impl Into<String>, name: impl Into<String>) -> Place {
        Place { section: section.into(), name: name.into() }
    }

    /// Reads `section.key`, `transport.NAME.key` or `key`.
    pub(crate) fn parse(text: &str) -> Place {
        match text.rsplit_once('.') {
            Some((section, name)) => Place::new(section, name),
            None => Place::new("", text),
        }
    }

    /// The section without a transport's name.
    pub(crate) fn kind_of_section(&self) -> &str {
        if self.transport().is_some() { TRANSPORT } else { &self.section }
    }

    /// The transport's name inside `[transport.NAME]`.
    pub(crate) fn transport(&self) -> Option<&str> {
        self.section.strip_prefix(TRANSPORT)?.strip_prefix('.')
    }

    /// The key that stands here, if there is one.
    pub(crate) fn key(&self) -> Option<&'static Key> {
        find(self.kind_of_section(), &self.name)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.section.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.section, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_stated_once_in_a_known_section() {
        let mut seen = BTreeSet::new();
        for key in keys() {
            assert!(SECTIONS.contains(&key.section), "{}", key.section);
            assert!(seen.insert((key.section, key.name)), "{}.{} twice", key.section, key.name);
            assert!(!key.meaning.is_empty() && !key.meaning.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn places_read_back() {
        for text in ["preset", "smtp.listen", "transport.lists.kind"] {
            let place = Place::parse(text);
            assert_eq!(place.to_string(), text);
            assert!(place.key().is_some(), "{text}");
        }
        assert_eq!(Place::parse("transport.lists.kind").transport(), Some("lists"));
        assert!(Place::parse("transport.kind").key().is_some_and(|key| key.name == "kind"));
    }
}
