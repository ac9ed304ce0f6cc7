//! What cargo knows about packages and who uses whom.
//!
//! Promises: the resolved graph of this machine's platform, from the lock file, without a network.
//! Refuses: development dependencies as edges; their packages are listed all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One package of the lock file that is used on this platform.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
    /// Whether it comes from a registry; ours come from a path.
    pub(super) source: Option<String>,
}

/// The graph of packages.
pub(super) struct Metadata {
    /// By package id.
    packages: BTreeMap<String, Package>,
    /// Ordinary and build dependencies, by package id.
    edges: BTreeMap<String, Vec<String>>,
    own: BTreeSet<String>,
}

impl Metadata {
    /// Asks cargo about the workspace at `root`.
    pub(super) fn read(root: &Path) -> Result<Metadata> {
        let host = host_triple()?;
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &host])
            .current_dir(root)
            .output()
            .context("cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let value: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let mut metadata =
            Metadata { packages: BTreeMap::new(), edges: BTreeMap::new(), own: BTreeSet::new() };
        for id in list(&value["workspace_members"]) {
            metadata.own.insert(text(id)?);
        }
        let mut all: BTreeMap<String, Package> = BTreeMap::new();
        for package in list(&value["packages"]) {
            all.insert(text(&package["id"])?, read_package(package)?);
        }
        for node in list(&value["resolve"]["nodes"]) {
            let id = text(&node["id"])?;
            metadata.edges.insert(id.clone(), shipped_dependencies(node)?);
            let package = all.remove(&id).context("a resolved package that is not listed")?;
            metadata.packages.insert(id, package);
        }
        Ok(metadata)
    }

    /// Every package, ours included.
    pub(super) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Our crates and which of our crates each uses, both by name and in order.
    pub(super) fn own_edges(&self) -> BTreeMap<&str, Vec<String>> {
        let used = |id: &String| {
            let own = self.edges[id].iter().filter(|used| self.own.contains(*used));
            own.map(|used| self.packages[used].name.clone()).collect()
        };
        self.own.iter().map(|id| (self.packages[id].name.as_str(), used(id))).collect()
    }

    /// The names of everything our crate `name` is made of, itself included; empty when it is unknown.
    pub(super) fn reachable(&self, name: &str) -> BTreeSet<&str> {
        let mut open: Vec<&String> = self.own.iter().filter(|id| self.packages[*id].name == name).collect();
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(&self.edges[id]);
            }
        }
        seen.into_iter().map(|id| self.packages[id].name.as_str()).collect()
    }
}

fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn read_package(value: &Value) -> Result<Package> {
    Ok(Package {
        name: text(&value["name"])?,
        version: text(&value["version"])?,
        licence: value["license"].as_str().map(str::to_owned),
        source: value["source"].as_str().map(str::to_owned),
    })
}

fn shipped_dependencies(node: &Value) -> Result<Vec<String>> {
    let shipped = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
    list(&node["deps"]).iter().filter(shipped).map(|dep| text(&dep["pkg"])).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).context("cargo metadata: a text is expected")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A graph of packages named after themselves.
    pub(in super::super) fn sample(graph: &[(&str, &[&str])]) -> Metadata {
        let package = |name: &str| Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: None,
            source: None,
        };
        Metadata {
            packages: graph.iter().map(|(name, _)| ((*name).to_owned(), package(name))).collect(),
            edges: graph
                .iter()
                .map(|(name, used)| ((*name).to_owned(), used.iter().map(|u| (*u).to_owned()).collect()))
                .collect(),
            own: BTreeSet::new(),
        }
    }

    impl Metadata {
        /// The same with these packages as ours.
        pub(in super::super) fn with_own(mut self, own: &[&str]) -> Metadata {
            self.own = own.iter().map(|name| (*name).to_owned()).collect();
            self
        }
    }
}
