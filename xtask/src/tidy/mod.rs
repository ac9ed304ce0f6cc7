//! `cargo xtask tidy`: taste as a failing test.
//!
//! Promises: every rule of [`rules::RULES`] over every file of the repository, the links of the
//! documentation, the proofs of docs/parity.md, and the parameter names that code, configuration and
//! documentation must share; each violation on one line with its place. Every rule has an example that it
//! must reject and one that it must accept.
//!
//! Refuses: anything rustfmt or clippy already says.

mod file;
mod links;
mod parameters;
mod parity;
mod rules;
mod scan;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

pub(crate) use file::{File, all as all_files};
pub(crate) use parameters::check as check_parameters;

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.path, self.line, self.text, self.rule)
    }
}

/// Checks everything that can be checked without building the program.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = all_files(root)?;
    let machine = rules::machine_paths(root);
    let mut found: Vec<Violation> = files
        .iter()
        .flat_map(|file| rules::RULES.iter().flat_map(move |rule| rule.violations(file)))
        .chain(files.iter().flat_map(|file| rules::machine_path_violations(file, &machine)))
        .chain(links::check(&files))
        .chain(parity::check(&files))
        .collect();
    found.sort();
    for violation in &found {
        eprintln!("{violation}");
    }
    if !found.is_empty() {
        bail!("{} of {} files are not tidy: {} violations", paths(&found), files.len(), found.len());
    }
    println!("tidy: {} files, {} rules", files.len(), rules::RULES.len() + 3);
    Ok(())
}

fn paths(found: &[Violation]) -> usize {
    let mut paths: Vec<&str> = found.iter().map(|v| v.path.as_str()).collect();
    paths.dedup();
    paths.len()
}
