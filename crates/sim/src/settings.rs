//! The parameters of a scenario: `preset`, `[qmgr]`, `[flush]`, `[transport.NAME]`, `[route]`.
//!
//! Promises: names, units and ranges are those of the engine's own table; a parameter that does not
//! exist in its section is refused with the nearest one that does.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::DomainList;
use qmgr::{Config, ParameterError, Preset, Section};
use toml::{Spanned, Value};

use crate::fault::Fault;
use crate::file::{File, Settings};

/// Transports that exist without being described: those of the daemon, and the one with other defaults.
pub(crate) const TRANSPORTS: [&str; 8] =
    ["smtp", "relay", "lmtp", "local", "maildir", "discard", "error", "retry"];

/// What `kind` of a transport may say. In a simulated world agents of each kind do as their sites say.
const KINDS: [&str; 7] = ["smtp", "lmtp", "pipe", "maildir", "discard", "error", "retry"];

/// The configuration of the engine.
pub(crate) fn config(file: &File) -> Result<Config, Fault> {
    let mut config = Config::new(preset(&file.preset)?);
    for (key, value) in &file.qmgr {
        let written = text(value)?;
        let known = names(|section| section != Section::Flush, |parameter| parameter.name);
        set(key, value, known, |name| config.set(name, &written))?;
    }
    for (key, value) in file.flush.iter().filter(|(key, _)| key.get_ref() != "fast_flush_domains") {
        let written = text(value)?;
        let mut known = names(|section| section == Section::Flush, |parameter| parameter.name);
        known.push("fast_flush_domains");
        set(key, value, known, |name| config.set(name, &written))?;
    }
    for (transport, settings) in &file.transport {
        transport_settings(&mut config, transport.get_ref(), settings)?;
    }
    domains(&mut config, file)?;
    Ok(config)
}

fn preset(preset: &Option<Spanned<String>>) -> Result<Preset, Fault> {
    let Some(name) = preset else { return Ok(Preset::default()) };
    match name.get_ref().as_str() {
        "postrider" => Ok(Preset::Postrider),
        "postfix" => Ok(Preset::Postfix),
        other => Err(Fault::unknown(name.span().start + 1, "preset", other, ["postrider", "postfix"])),
    }
}

fn transport_settings(config: &mut Config, transport: &str, settings: &Settings) -> Result<(), Fault> {
    for (key, value) in settings {
        if key.get_ref() == "kind" {
            match value.get_ref().as_str() {
                Some(kind) if KINDS.contains(&kind) => continue,
                other => {
                    let found = other.unwrap_or_default();
                    return Err(Fault::unknown(value.span().start, "kind of transport", found, KINDS));
                }
            }
        }
        let written = text(value)?;
        let mut known = names(|section| section == Section::Transport, |parameter| parameter.short_name);
        known.push("kind");
        set(key, value, known, |name| config.set_for_transport(transport, name, &written))?;
    }
    Ok(())
}

fn names(
    here: impl Fn(Section) -> bool,
    name: impl Fn(&qmgr::Parameter) -> &'static str,
) -> Vec<&'static str> {
    qmgr::parameters().iter().filter(|parameter| here(parameter.section)).map(name).collect()
}

/// Sets one parameter; the fault is placed at the name when there is no such parameter in this section,
/// at the value otherwise.
fn set(
    key: &Spanned<String>,
    value: &Spanned<Value>,
    known: Vec<&'static str>,
    set: impl FnOnce(&str) -> Result<(), ParameterError>,
) -> Result<(), Fault> {
    if !known.contains(&key.get_ref().as_str()) {
        return Err(Fault::unknown(key.span().start, "parameter", key.get_ref(), known));
    }
    set(key.get_ref()).map_err(|error| Fault::new(value.span().start, error.to_string()))
}

/// Whether `set-limit NAME VALUE` can be done: each with its offset.
pub(crate) fn check_limit(
    config: &Config,
    transports: &BTreeSet<Arc<str>>,
    (at, name): (usize, &str),
    (of_value, value): (usize, &str),
) -> Result<(), Fault> {
    let transport = Config::transport_in(name).map_err(|_| unknown_limit(at, name, transports))?;
    if transport.is_some_and(|transport| !transports.contains(transport)) {
        return Err(unknown_limit(at, name, transports));
    }
    config.clone().set_any(name, value).map_err(|error| Fault::new(of_value, error.to_string()))
}

/// A name that no parameter and no parameter of a transport of the scenario has.
fn unknown_limit(at: usize, name: &str, transports: &BTreeSet<Arc<str>>) -> Fault {
    let mut known: Vec<String> =
        qmgr::parameters().iter().map(|parameter| parameter.name.to_owned()).collect();
    for parameter in qmgr::parameters().iter().filter(|parameter| parameter.section == Section::Transport) {
        known.extend(transports.iter().map(|transport| format!("{transport}_{}", parameter.short_name)));
    }
    Fault::unknown(at, "parameter", name, known.iter().map(String::as_str))
}

/// A value as the engine's table reads it.
fn text(value: &Spanned<Value>) -> Result<String, Fault> {
    match value.get_ref() {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(true) => Some("yes".to_owned()),
        Value::Boolean(false) => Some("no".to_owned()),
        Value::Array(list) => {
            list.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|words| words.join(" "))
        }
        _ => None,
    }
    .ok_or_else(|| {
        Fault::new(value.span().start, "a text, a number, true, false or a list of texts is expected")
    })
}

/// The lists of domains: who may be flushed, and where this mail system is at home.
fn domains(config: &mut Config, file: &File) -> Result<(), Fault> {
    let parent_matches = file.route.parent_domain_matches_subdomains.unwrap_or(true);
    let list = |value: &Spanned<Value>, words: Vec<String>| {
        DomainList::parse(&words, parent_matches)
            .map_err(|error| Fault::new(value.span().start, error.to_string()))
    };
    let relayed = file.route.relay_domains.as_ref().map(words).transpose()?.unwrap_or_default();
    if let Some(value) = &file.route.relay_domains {
        config.fast_flush_domains = list(value, relayed.clone())?;
    }
    if let Some((_, value)) = file.flush.iter().find(|(key, _)| key.get_ref() == "fast_flush_domains") {
        let eligible = words(value)?.into_iter().flat_map(|word| match word.as_str() {
            "$relay_domains" => relayed.clone(),
            _ => vec![word],
        });
        config.fast_flush_domains = list(value, eligible.collect())?;
    }
    if let Some(value) = &file.route.local_domains {
        config.local_domains = list(value, words(value)?)?;
    }
    Ok(())
}

fn words(value: &Spanned<Value>) -> Result<Vec<String>, Fault> {
    Ok(text(value)?.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}
