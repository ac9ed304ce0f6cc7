//! Layers: what one source says, each value with its origin, and how layers are laid over each other.
//!
//! The strict reading happens before (file.rs); merging key by key is left to the `config` crate, which
//! also carries the origin of each value along.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, Value as Merged, ValueKind};

use super::problem::{Problem, Problems, nearest};
use super::refused;
use super::schema::{Key, Place, SECTIONS, TRANSPORT, keys};
use super::value::{Rule, Value};

/// A value and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Effective {
    /// The value.
    pub(crate) value: Value,
    /// `built-in default`, `preset postfix`, `FILE:LINE:COLUMN`, `environment NAME` or `-o PLACE`.
    pub(crate) origin: String,
}

/// Values by place.
pub(crate) type Values = BTreeMap<Place, Effective>;

/// What one source says. Every place has a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) values: Values,
}

impl Layer {
    /// Adds a value.
    pub(crate) fn insert(&mut self, place: Place, value: Value, origin: impl Into<String>) {
        self.values.insert(place, Effective { value, origin: origin.into() });
    }

    /// Adds a value given as text; the place and the value are checked.
    fn insert_text(&mut self, place: Place, text: &str, origin: String) -> Result<(), Problem> {
        let key = known_key(&place).map_err(|text| Problem::new(&origin, text))?;
        let value = Value::of_text(key, text).map_err(|text| Problem::new(&origin, text))?;
        self.insert(place, value, origin);
        Ok(())
    }

    /// The built-in defaults, with the transports that exist without being configured.
    pub(crate) fn defaults() -> Layer {
        let mut layer = Layer::default();
        for key in keys().iter().filter(|key| key.section != TRANSPORT) {
            layer.insert_default(Place::new(key.section, key.name), key.default);
        }
        for (name, kind) in BUILT_IN_TRANSPORTS {
            layer.insert_default(Place::new(format!("{TRANSPORT}.{name}"), "kind"), kind);
        }
        layer
    }

    /// What a preset says differently.
    pub(crate) fn preset(preset: &str) -> Layer {
        let mut layer = Layer::default();
        if preset != "postfix" {
            return layer;
        }
        for key in keys().iter().filter(|key| key.section != TRANSPORT) {
            let super::schema::Kind::Engine(parameter) = key.kind else { continue };
            if let Some(text) = parameter.postfix {
                let value = Value::of_text(key, text).expect("presets are good values");
                layer.insert(Place::new(key.section, key.name), value, "preset postfix");
            }
        }
        layer
    }

    fn insert_default(&mut self, place: Place, text: &str) {
        let key = place.key().expect("defaults have keys");
        let value = Value::of_text(key, text).expect("defaults are good values");
        self.insert(place, value, DEFAULT_ORIGIN);
    }

    /// The environment: `POSTRIDER__SECTION__KEY`, letter case ignored.
    pub(crate) fn environment(variables: impl Iterator<Item = (String, String)>) -> Result<Layer, Problems> {
        let mut layer = Layer::default();
        let mut problems = Vec::new();
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let place = Place::parse(&path.to_ascii_lowercase().replace("__", "."));
            problems.extend(layer.insert_text(place, &text, format!("environment {name}")).err());
        }
        if problems.is_empty() { Ok(layer) } else { Err(Problems(problems)) }
    }

    /// The command line: `section.key=value`, the last one of a key wins.
    pub(crate) fn overrides(settings: &[String]) -> Result<Layer, Problems> {
        let mut layer = Layer::default();
        let mut problems = Vec::new();
        for setting in settings {
            let Some((path, text)) = setting.split_once('=') else {
                problems.push(Problem::new(format!("-o {setting}"), "section.key=value is expected"));
                continue;
            };
            let place = Place::parse(path.trim());
            problems.extend(layer.insert_text(place, text, format!("-o {}", path.trim())).err());
        }
        if problems.is_empty() { Ok(layer) } else { Err(Problems(problems)) }
    }
}

/// Where a default comes from.
pub(crate) const DEFAULT_ORIGIN: &str = "built-in default";

const ENVIRONMENT_PREFIX: &str = "POSTRIDER__";

/// Transports that exist without being configured, with their kinds.
pub(crate) const BUILT_IN_TRANSPORTS: [(&str, &str); 7] = [
    ("smtp", "smtp"),
    ("relay", "smtp"),
    ("lmtp", "lmtp"),
    ("maildir", "maildir"),
    ("discard", "discard"),
    ("error", "error"),
    ("retry", "retry"),
];

/// A problem of the value at a place, told where it was written.
pub(crate) fn problem_at(values: &Values, place: &Place, text: impl std::fmt::Display) -> Problem {
    let origin = values.get(place).map_or(DEFAULT_ORIGIN, |effective| effective.origin.as_str());
    let named = origin.starts_with("-o ") || origin.starts_with("environment ");
    Problem::new(origin, if named { text.to_string() } else { format!("{place}: {text}") })
}

/// The key at a place, or one line that says why there is none.
pub(crate) fn known_key(place: &Place) -> Result<&'static Key, String> {
    if let Some(transport) = place.transport() {
        check_transport_name(transport)?;
    }
    if let Some(key) = place.key().filter(|_| place.section != TRANSPORT) {
        return Ok(key);
    }
    if place.section == TRANSPORT {
        return Err(format!("`{}` needs a transport's name: [transport.NAME]", place.name));
    }
    let kind = place.kind_of_section();
    if !SECTIONS.contains(&kind) {
        let hint = nearest(kind, SECTIONS[1..].iter().copied()).map_or_else(
            || format!("known are {}", SECTIONS[1..].join(", ")),
            |near| format!("did you mean [{near}]?"),
        );
        return Err(format!("unknown section [{}]: {hint}", place.section));
    }
    Err(unknown(place, kind))
}

fn unknown(place: &Place, kind: &str) -> String {
    let whereabouts =
        if kind.is_empty() { "above all sections".to_owned() } else { format!("in [{}]", place.section) };
    let name = &place.name;
    let start = format!("unknown key `{name}` {whereabouts}");
    if kind.is_empty() && SECTIONS[1..].contains(&name.as_str()) {
        return format!("{start}: it is a section, whose keys stand below {}", section_title(name));
    }
    if let Some(advice) = refused::advice(name) {
        return format!("{start}: {advice}");
    }
    let elsewhere: Vec<String> =
        keys().iter().filter(|key| key.name == *name).map(|key| section_title(key.section)).collect();
    if !elsewhere.is_empty() {
        return format!("{start}: it belongs in {}", elsewhere.join(" or "));
    }
    let here = keys().iter().filter(|key| key.section == kind).map(|key| key.name);
    if let Some(near) = nearest(name, here) {
        return format!("{start}: did you mean `{near}`?");
    }
    let anywhere = keys().iter().map(|key| key.name);
    match nearest(name, anywhere).and_then(|near| keys().iter().find(|key| key.name == near)) {
        Some(key) => format!("{start}: did you mean `{}` in {}?", key.name, section_title(key.section)),
        None => format!("{start}: `postrider config defaults` prints every key"),
    }
}

fn section_title(section: &str) -> String {
    match section {
        "" => "the top of the file".to_owned(),
        TRANSPORT => "[transport.NAME]".to_owned(),
        section => format!("[{section}]"),
    }
}

fn check_transport_name(name: &str) -> Result<(), String> {
    if name == "hold" {
        return Err("`hold` is no name for a transport: it has a meaning of its own in route.map".to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(good) {
        return Ok(());
    }
    Err(format!("`{name}` is no name for a transport: letters, digits, hyphens and underscores are expected"))
}

/// Lays the layers over each other, later ones on top.
pub(crate) fn merge(layers: &[Layer]) -> Values {
    let merged = layers
        .iter()
        .fold(Config::builder(), |builder, layer| builder.add_source(layer.clone()))
        .build()
        .expect("layers hold checked values only");
    let mut values = Values::new();
    collect(&mut values, "", &merged.cache);
    values
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Merged>, ConfigError> {
        let mut root = Map::new();
        for (place, effective) in &self.values {
            let path = place.section.split('.').filter(|part| !part.is_empty());
            insert(&mut root, path, &place.name, to_merged(effective));
        }
        Ok(root)
    }
}

fn insert<'p>(
    table: &mut Map<String, Merged>,
    mut path: impl Iterator<Item = &'p str>,
    name: &str,
    value: Merged,
) {
    let Some(first) = path.next() else {
        table.insert(name.to_owned(), value);
        return;
    };
    let inner =
        table.entry(first.to_owned()).or_insert_with(|| Merged::new(None, Map::<String, Merged>::new()));
    if let ValueKind::Table(inner) = &mut inner.kind {
        insert(inner, path.collect::<Vec<_>>().into_iter(), name, value);
    }
}

fn to_merged(effective: &Effective) -> Merged {
    let origin = Some(&effective.origin);
    let text = |text: &String| Merged::new(None, text.clone());
    match &effective.value {
        Value::Scalar(scalar) => Merged::new(origin, scalar.clone()),
        Value::Words(words) => Merged::new(origin, words.iter().map(text).collect::<Vec<_>>()),
        Value::Rules(rules) => {
            let row = |rule: &Rule| Merged::new(None, vec![text(&rule.matches), text(&rule.to)]);
            Merged::new(origin, rules.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn collect(values: &mut Values, section: &str, merged: &Merged) {
    let ValueKind::Table(table) = &merged.kind else { return };
    for (name, value) in table {
        if matches!(value.kind, ValueKind::Table(_)) {
            let inner = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            collect(values, &inner, value);
            continue;
        }
        let place = Place::new(section, name);
        let key = place.key().expect("layers hold known keys only");
        let origin = value.origin().unwrap_or(DEFAULT_ORIGIN).to_owned();
        values.insert(place, Effective { value: from_merged(key, value), origin });
    }
}

fn from_merged(key: &Key, value: &Merged) -> Value {
    let text = |value: &Merged| value.kind.to_string();
    match &value.kind {
        ValueKind::Array(rows) if matches!(key.kind, super::schema::Kind::Rules) => {
            let row = |row: &Merged| match &row.kind {
                ValueKind::Array(pair) if pair.len() == 2 => {
                    Some(Rule { matches: text(&pair[0]), to: text(&pair[1]) })
                }
                _ => None,
            };
            Value::Rules(rows.iter().filter_map(row).collect())
        }
        ValueKind::Array(items) => Value::Words(items.iter().map(text).collect()),
        _ => Value::Scalar(text(value)),
    }
}
