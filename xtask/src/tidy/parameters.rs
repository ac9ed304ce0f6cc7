//! Code, configuration and documentation name the same parameters.
//!
//! Promises: docs/config.md is what `postrider config page` prints, and its keys are exactly those of
//! `postrider config defaults`. Code cannot differ: both commands print the table that the code reads.
//!
//! Refuses: judging what is written about a key.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where the parameters are described.
const PAGE: &str = "docs/config.md";

/// Compares what `postrider` (a built program) prints with the page in `root`.
pub(crate) fn check(root: &Path, postrider: &Path) -> Result<()> {
    let printed = keys_of_toml(&print(postrider, "defaults")?);
    ensure!(!printed.is_empty(), "config defaults prints no key");
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let described = keys_of_page(&page);
    let lacking = list("is not described in docs/config.md", printed.difference(&described));
    let unknown = list("is described, but config defaults does not print it", described.difference(&printed));
    let problems = [lacking, unknown].concat();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} parameters differ between code and documentation", problems.len());
    }
    ensure!(page == print(postrider, "page")?, "{PAGE} is old: postrider config page > {PAGE}");
    println!("parameters: {} keys, the same in code and {PAGE}", printed.len());
    Ok(())
}

fn print(postrider: &Path, what: &str) -> Result<String> {
    let output = Command::new(postrider).args(["config", what]).output().context("postrider config")?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "postrider config {what}: {error}");
    Ok(String::from_utf8(output.stdout)?)
}

fn list<'a>(what: &str, keys: impl Iterator<Item = &'a String>) -> Vec<String> {
    keys.map(|key| format!("{key} {what}")).collect()
}

/// `section.key` for each line `key = …`, commented out or not.
fn keys_of_toml(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if is_key(name.0) {
                section = format!("{}.", name.0);
            }
        } else if let Some((key, _)) = line.split_once(" = ")
            && is_key(key)
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

/// `section.key` for each heading `[section]` and each table row that begins with a quoted key.
fn keys_of_page(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('#') {
            section = match title.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
                Some((name, _)) => format!("{name}."),
                None => String::new(),
            };
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_both() {
        let toml = "# Preset = a word\npreset = \"x\"\n[smtp]\n# Where.\n# listen = []\n[transport.smtp]\nkind = \"smtp\"\n";
        let page = "| `preset` | x |\n## `[smtp]`\n| `listen` | y |\n## `[transport.smtp]`\n| `kind` | z |\n";
        let keys = keys_of_page(page);
        assert_eq!(keys.iter().collect::<Vec<_>>(), ["preset", "smtp.listen", "transport.smtp.kind"]);
        assert!(keys_of_toml(toml).is_superset(&keys));
    }
}
