//! The configuration for people: every key with its default, what is in effect and why, what changed.

use std::fmt::Write;

use mail::format_duration;

use super::layer::{BUILT_IN_TRANSPORTS, Values};
use super::schema::{Key, Kind, Place, Reload, SECTIONS, TRANSPORT, keys};
use super::settings::Settings;
use super::value::{Value, expected, quoted};

/// Every key with its meaning, what it takes and its default, as a file that reads back to the
/// defaults. Keys of `[transport.NAME]` stand once, under `[transport.smtp]`; those that fall back to
/// `[qmgr]` are commented out there, because writing them would cut the fallback.
pub(crate) fn defaults() -> String {
    let mut out = String::from(
        "# Every key of the configuration with its default. A file needs only what differs.\n\
         # Over it lie the environment (POSTRIDER__SECTION__KEY) and -o section.key=value.\n",
    );
    for section in SECTIONS {
        let title = if *section == TRANSPORT { "transport.smtp" } else { section };
        if !title.is_empty() {
            let _ = write!(out, "\n[{title}]\n");
        }
        for key in keys().iter().filter(|key| key.section == *section) {
            default_of(&mut out, key);
        }
        if *section == TRANSPORT {
            for (name, kind) in BUILT_IN_TRANSPORTS.iter().filter(|(name, _)| *name != "smtp") {
                let _ = write!(out, "\n[transport.{name}]\nkind = {}\n", quoted(kind));
            }
        }
    }
    out
}

fn default_of(out: &mut String, key: &Key) {
    let value = Value::of_text(key, key.default).expect("defaults are good values").to_toml(key);
    let falls_back = key.section == TRANSPORT && matches!(key.kind, Kind::Engine(_));
    let comment = if falls_back { "# " } else { "" };
    let _ =
        write!(out, "\n# {}.\n# {}\n{comment}{} = {value}\n", capitalised(key.meaning), takes(key), key.name);
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// What the key takes, the unit of a bare number, the preset's value and when a change takes effect.
fn takes(key: &Key) -> String {
    let mut text = capitalised(&expected(key.kind));
    let bare = match key.kind {
        Kind::Duration(bare) => Some(bare),
        Kind::Engine(parameter) => match parameter.kind {
            qmgr::Kind::Duration { bare } => Some(bare),
            _ => None,
        },
        _ => None,
    };
    if let Some(bare) = bare {
        let _ = write!(text, "; a bare number counts in {}", format_duration(bare));
    }
    if let Kind::Engine(parameter) = key.kind {
        if let Some(postfix) = parameter.postfix {
            let _ = write!(text, "; preset postfix: {postfix}");
        }
        if key.section == TRANSPORT {
            let _ = write!(text, "; not set: {} of [qmgr]", parameter.name);
        }
    }
    if key.reload == Reload::Restart {
        text.push_str("; a change needs a restart");
    }
    text
}

/// Everything in effect as TOML, each value with its origin behind it.
pub(crate) fn effective(settings: &Settings) -> String {
    let mut out = String::new();
    let mut section = String::new();
    for (place, key) in in_order(&settings.values) {
        let effective = &settings.values[place];
        if place.section != section {
            let _ = write!(out, "\n[{}]\n", place.section);
            section.clone_from(&place.section);
        }
        let value = effective.value.to_toml(key);
        let _ =
            writeln!(out, "{} = {value}  # {}{}", place.name, effective.origin, computed(settings, place));
    }
    out
}

/// The same as one JSON object a line.
pub(crate) fn effective_json(settings: &Settings) -> String {
    let mut out = String::new();
    for (place, key) in in_order(&settings.values) {
        let effective = &settings.values[place];
        let value = match &effective.value {
            Value::Words(words) => serde_json::Value::from(words.clone()),
            Value::Scalar(text) => serde_json::Value::from(text.clone()),
            Value::Rules(_) => serde_json::Value::from(effective.value.to_toml(key)),
        };
        let object =
            serde_json::json!({ "key": place.to_string(), "value": value, "origin": effective.origin });
        let _ = writeln!(out, "{object}");
    }
    out
}

/// Places with their keys in the order of the sections, transports by name.
fn in_order(values: &Values) -> Vec<(&Place, &'static Key)> {
    let mut places: Vec<_> = values.keys().filter_map(|place| Some((place, place.key()?))).collect();
    let position = |key: &Key| keys().iter().position(|other| std::ptr::eq(other, key));
    let section = |place: &Place| SECTIONS.iter().position(|section| *section == place.kind_of_section());
    places.sort_by_cached_key(|(place, key)| (section(place), place.section.clone(), position(key)));
    places
}

/// What an empty value stands for.
fn computed(settings: &Settings, place: &Place) -> String {
    let empty = settings.values[place].value.plain().is_empty();
    let shown = match place.to_string().as_str() {
        "spool.directory" => settings.spool.directory.display().to_string(),
        "control.socket" => settings.control.socket.display().to_string(),
        "smtp.hostname" => settings.smtp.config.hostname.clone(),
        "lmtp.hostname" => settings.lmtp.config.hostname.clone(),
        _ => return String::new(),
    };
    if empty { format!("; that is {}", quoted(&shown)) } else { String::new() }
}

/// What differs between two settings, one line each, for the log of a reload.
pub(crate) fn diff(old: &Settings, new: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let both = old.values.iter().chain(&new.values).map(|(place, _)| place);
    let places: std::collections::BTreeSet<&Place> = both.collect();
    for place in places {
        let Some(key) = place.key() else { continue };
        let shown = |values: &Values| values.get(place).map(|effective| effective.value.to_toml(key));
        let (before, after) = (shown(&old.values), shown(&new.values));
        if before == after {
            continue;
        }
        let unset = || "not set".to_owned();
        let later = if key.reload == Reload::Restart { " (takes effect at the next start)" } else { "" };
        lines.push(format!(
            "{place}: {} -> {}{later}",
            before.unwrap_or_else(unset),
            after.unwrap_or_else(unset)
        ));
    }
    lines
}

/// docs/config.md, made from the same table.
pub(crate) fn page() -> String {
    let mut out = String::from(PAGE_HEAD);
    for section in SECTIONS {
        let title = match *section {
            "" => "Above all sections".to_owned(),
            TRANSPORT => "`[transport.smtp]`, and any other `[transport.NAME]`".to_owned(),
            section => format!("`[{section}]`"),
        };
        let _ =
            write!(out, "\n## {title}\n\n| key | default | takes | meaning |\n| --- | --- | --- | --- |\n");
        for key in keys().iter().filter(|key| key.section == *section) {
            let value = Value::of_text(key, key.default).expect("defaults are good values").to_toml(key);
            let row =
                format!("| `{}` | `{value}` | {} | {} |\n", key.name, cell(&takes(key)), cell(key.meaning));
            out.push_str(&row);
        }
        if *section == TRANSPORT {
            out.push_str("\nTransports that exist without being configured:\n");
            for (name, kind) in BUILT_IN_TRANSPORTS.iter().filter(|(name, _)| *name != "smtp") {
                let _ = write!(out, "\n### `[transport.{name}]`\n\n| key | default |\n| --- | --- |\n");
                let _ = writeln!(out, "| `kind` | `{}` |", quoted(kind));
            }
        }
    }
    out
}

/// A vertical bar ends a cell, and angle brackets open a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

const PAGE_HEAD: &str = "\
# Configuration

Made from the program's own table of keys by `postrider config page`; do not edit. `postrider config defaults`
prints the same as a file, `postrider config show` what is in effect and where each value comes from, and
`postrider config check` what is wrong, with file, line and column.

The file is the one named by `--config`, else by `POSTRIDER_CONFIG`, else `./postrider.toml`, else
`/etc/postrider/postrider.toml`; without any, the defaults work. Over it lie the environment
(`POSTRIDER__SECTION__KEY`, as in `POSTRIDER__QMGR__MINIMAL_BACKOFF_TIME=60s`) and `-o section.key=value`.
Durations are written `500ms`, `30s`, `5m`, `12h`, `5d`, `1w`; sizes `512KiB`, `50MB` or bare bytes.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::config::layer::{Layer, merge};
    use crate::config::settings::Machine;
    use std::path::Path;

    fn build(layers: &[Layer]) -> Settings {
        Settings::build(merge(layers), &Machine::default()).unwrap()
    }

    #[test]
    fn the_printed_defaults_read_back_to_the_defaults() {
        let layer = file::parse(Path::new("defaults.toml"), &defaults()).unwrap();
        let (plain, printed) = (build(&[Layer::defaults()]), build(&[Layer::defaults(), layer]));
        let differing: Vec<_> = diff(&plain, &printed);
        let restated = |line: &String| line.starts_with("transport.smtp.") && line.contains("not set -> ");
        assert!(differing.iter().all(restated), "{differing:?}");
        assert_eq!(plain.engine, printed.engine);
        assert_eq!(plain.transports, printed.transports);
    }

    #[test]
    fn what_is_shown_is_a_file_that_means_the_same() {
        let settings = build(&[Layer::defaults()]);
        let layer = file::parse(Path::new("shown.toml"), &effective(&settings)).unwrap();
        assert_eq!(diff(&settings, &build(&[layer])), Vec::<String>::new());
    }

    #[test]
    fn a_reload_says_what_changed() {
        let old = build(&[Layer::defaults()]);
        let changes = ["qmgr.minimal_backoff_time=60s", "smtp.listen=127.0.0.1:25", "transport.x.kind=smtp"];
        let layer = Layer::overrides(&changes.map(str::to_owned)).unwrap();
        let new = build(&[Layer::defaults(), layer]);
        let lines = diff(&old, &new);
        assert_eq!(
            lines,
            [
                "qmgr.minimal_backoff_time: \"300s\" -> \"60s\"",
                "smtp.listen: [\"127.0.0.1:2525\"] -> [\"127.0.0.1:25\"] (takes effect at the next start)",
                "transport.x.kind: not set -> \"smtp\"",
            ]
        );
    }

    #[test]
    fn the_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page(), "docs/config.md is stale: postrider config page > docs/config.md");
    }
}
