//! Licences: every package's expression against the allow list of deny.toml.
//!
//! Promises: the same list and exceptions cargo-deny reads, checked without installing it; a package
//! without a licence, from an unknown source or with an expression that nothing allowed satisfies is
//! named. An exception that no package needs any more is named too.
//!
//! Refuses: reading licence texts.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use super::metadata::{Metadata, Package};

/// What deny.toml allows.
struct Policy {
    allow: BTreeSet<String>,
    /// Package and the licence allowed for it alone.
    exceptions: Vec<(String, String)>,
    registries: Vec<String>,
}

/// Every package of `metadata` that deny.toml in `root` does not allow.
pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let policy = Policy::read(&std::fs::read_to_string(root.join("deny.toml")).context("deny.toml")?)?;
    let mut problems: Vec<String> =
        metadata.packages().filter_map(|package| policy.problem(package)).collect();
    for (name, _) in &policy.exceptions {
        if !metadata.packages().any(|package| package.name == *name) {
            problems.push(format!("deny.toml makes an exception for {name}, which is not used"));
        }
    }
    Ok(problems)
}

impl Policy {
    fn read(text: &str) -> Result<Policy> {
        let file: toml::Table = text.parse().context("deny.toml")?;
        let licences = file.get("licenses").context("deny.toml has no [licenses]")?;
        let mut exceptions = Vec::new();
        for exception in licences.get("exceptions").and_then(toml::Value::as_array).into_iter().flatten() {
            let name = exception
                .get("crate")
                .and_then(toml::Value::as_str)
                .context("an exception names no crate")?;
            exceptions.extend(strings(exception.get("allow")).map(|allowed| (name.to_owned(), allowed)));
        }
        let sources = file.get("sources").context("deny.toml has no [sources]")?;
        Ok(Policy {
            allow: strings(licences.get("allow")).collect(),
            exceptions,
            registries: strings(sources.get("allow-registry")).collect(),
        })
    }

    fn problem(&self, package: &Package) -> Option<String> {
        let Package { name, version, licence, source } = package;
        if let Some(source) = source
            && !self.registries.iter().any(|known| source.ends_with(known.as_str()))
        {
            return Some(format!("{name} {version} comes from {source}, which deny.toml does not allow"));
        }
        let Some(licence) = licence else {
            return Some(format!("{name} {version} states no licence"));
        };
        let allowed = |one: &str| {
            self.allow.contains(one) || self.exceptions.iter().any(|(who, what)| who == name && what == one)
        };
        (!satisfied(licence, &allowed))
            .then(|| format!("{name} {version}: {licence} is not allowed by deny.toml"))
    }
}

fn strings(value: Option<&toml::Value>) -> impl Iterator<Item = String> + '_ {
    let list = value.and_then(toml::Value::as_array).into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned))
}

/// Whether an SPDX expression is satisfied by the licences `allowed` says yes to. `AND` binds tighter
/// than `OR`; the old way of writing a slash for `OR` is read too; what cannot be read is not allowed.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Expression { words: &words, at: 0, allowed };
    reader.either() && reader.at == words.len()
}

struct Expression<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Expression<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn either(&mut self) -> bool {
        let mut value = self.both();
        while self.take("OR") {
            value |= self.both();
        }
        value
    }

    fn both(&mut self) -> bool {
        let mut value = self.one();
        while self.take("AND") {
            value &= self.one();
        }
        value
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let value = self.either();
            return self.take(")") && value;
        }
        let Some(name) = self.words.get(self.at) else { return false };
        self.at += 1;
        if !self.take("WITH") {
            return (self.allowed)(name);
        }
        let Some(exception) = self.words.get(self.at) else { return false };
        self.at += 1;
        (self.allowed)(&format!("{name} WITH {exception}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_says() {
        let allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        for good in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "GPL-3.0 OR MIT AND ISC"]
        {
            assert!(satisfied(good, &allowed), "{good}");
        }
        assert!(satisfied("Apache-2.0 WITH LLVM-exception", &allowed));
        for bad in
            ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "", "MIT ISC", "(MIT", "(MIT OR ISC) AND GPL-3.0"]
        {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn exceptions_hold_for_one_crate_and_one_registry() {
        let policy = Policy::read(
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"a\", allow = [\"MPL-2.0\"] }]\n\
             [sources]\nallow-registry = [\"https://registry.test/index\"]\n",
        )
        .expect("a policy");
        let package = |name: &str, licence: Option<&str>, source: Option<&str>| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let registry = Some("registry+https://registry.test/index");
        assert_eq!(policy.problem(&package("a", Some("MPL-2.0"), registry)), None);
        assert_eq!(policy.problem(&package("b", Some("MIT"), None)), None);
        assert!(policy.problem(&package("b", Some("MPL-2.0"), registry)).is_some());
        assert!(policy.problem(&package("b", None, registry)).is_some());
        assert!(policy.problem(&package("b", Some("MIT"), Some("git+https://e.test/x"))).is_some());
    }
}
