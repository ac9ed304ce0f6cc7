//! `cargo xtask deps`: the layers, the fences around single crates, and the licences.
//!
//! Promises: fails on an edge between our crates that [`LAYERS`] does not list, on a crate or a name
//! of the standard library that a layer must never contain, on a fenced name outside its one file, on
//! a licence that deny.toml does not allow, and when the shipped program grows past its budget.
//!
//! Refuses: development dependencies are free, except that nothing shipped may use `testkit`.

mod licence;
mod metadata;
mod names;

use std::path::Path;

use anyhow::{Result, bail};

use metadata::Metadata;

/// One of our crates: what it may use, and what it must never contain.
struct Layer {
    name: &'static str,
    /// Our crates it may use.
    uses: &'static [&'static str],
    /// Crates that may not be reached from it, however indirectly.
    never: &'static [&'static str],
    /// Whether it must be free of sockets, files, clocks, threads and random order.
    pure: bool,
}

const RUNTIME: &[&str] =
    &["tokio", "mio", "socket2", "rustls", "dashmap", "rustix", "nix", "rand", "getrandom"];
const NO_TOKIO: &[&str] = &["tokio", "mio", "rustls", "dashmap", "smtp"];
const OUTWARD: &[&str] = &["tokio", "mio", "rustls", "dashmap"];

const fn pure(name: &'static str, uses: &'static [&'static str]) -> Layer {
    Layer { name, uses, never: RUNTIME, pure: true }
}

/// The layers, lowest first. Every crate of ours has a row; a crate may use what its row lists.
const LAYERS: &[Layer] = &[
    pure("mail", &[]),
    pure("smtp", &["mail"]),
    pure("flush", &["mail"]),
    pure("dsn", &["mail"]),
    pure("qmgr", &["mail", "flush"]),
    Layer { name: "spool", uses: &["mail"], never: NO_TOKIO, pure: false },
    Layer {
        name: "control",
        uses: &["mail"],
        never: &["tokio", "dashmap", "qmgr", "spool", "smtp"],
        pure: false,
    },
    Layer { name: "sim", uses: &["mail", "qmgr", "flush", "spool"], never: OUTWARD, pure: false },
    Layer { name: "ingress", uses: &["mail", "smtp", "spool"], never: &["qmgr"], pure: false },
    Layer { name: "delivery", uses: &["mail", "smtp", "spool"], never: &["qmgr"], pure: false },
    Layer {
        name: "postrider",
        uses: &["mail", "smtp", "qmgr", "flush", "dsn", "spool", "control", "sim", "ingress", "delivery"],
        never: &["testkit", "proptest", "probe"],
        pure: false,
    },
    Layer {
        name: "probe",
        uses: &["mail", "smtp", "spool", "control", "sim", "postrider"],
        never: &["testkit"],
        pure: false,
    },
    Layer { name: "testkit", uses: &["mail", "smtp", "spool"], never: &["qmgr"], pure: false },
    Layer { name: "xtask", uses: &["mail", "spool", "testkit"], never: &["qmgr"], pure: false },
];

/// The most packages the shipped program may be made of, ours included.
const SHIPPED_PACKAGES_MAX: usize = 250;

/// Checks the workspace at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let metadata = Metadata::read(root)?;
    let mut problems = edges(&metadata);
    problems.extend(reach(&metadata));
    problems.extend(names::check(root, &|name| LAYERS.iter().any(|l| l.pure && l.name == name))?);
    problems.extend(licence::check(root, &metadata)?);
    let shipped = metadata.reachable("postrider").len();
    if shipped > SHIPPED_PACKAGES_MAX {
        problems.push(format!("postrider is made of {shipped} packages, {SHIPPED_PACKAGES_MAX} at most"));
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} dependencies break the rules", problems.len());
    }
    println!("deps: {} crates in layers, {shipped} packages shipped, licences allowed", LAYERS.len());
    Ok(())
}

/// Edges between our crates that no row lists, and crates without a row.
fn edges(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, uses) in metadata.own_edges() {
        match LAYERS.iter().find(|layer| layer.name == name) {
            None => problems.push(format!("{name} has no row in the table of layers")),
            Some(layer) => {
                let wrong = uses.iter().filter(|used| !layer.uses.contains(&used.as_str()));
                problems
                    .extend(wrong.map(|used| format!("{name} must not use {used}: layers only look down")));
            }
        }
    }
    problems
}

/// Crates that can be reached from where they must never be.
fn reach(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for layer in LAYERS {
        let reached = metadata.reachable(layer.name);
        let wrong = layer.never.iter().filter(|never| reached.contains(**never));
        problems.extend(wrong.map(|never| format!("{} must never contain {never}", layer.name)));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_only_looks_down() {
        for (at, layer) in LAYERS.iter().enumerate() {
            for used in layer.uses {
                assert!(LAYERS[..at].iter().any(|below| below.name == *used), "{} uses {used}", layer.name);
            }
        }
    }

    #[test]
    fn wrong_edges_are_found() {
        let metadata = metadata::tests::sample(&[
            ("mail", &["tokio"]),
            ("tokio", &[]),
            ("smtp", &["mail", "spool"]),
            ("spool", &["mail"]),
            ("other", &[]),
        ]);
        let metadata = metadata.with_own(&["mail", "smtp", "spool", "other"]);
        assert_eq!(
            edges(&metadata),
            ["other has no row in the table of layers", "smtp must not use spool: layers only look down"]
        );
        let reached = reach(&metadata);
        assert!(reached.contains(&"mail must never contain tokio".to_owned()), "{reached:?}");
        assert!(reached.contains(&"spool must never contain tokio".to_owned()), "{reached:?}");
    }
}
