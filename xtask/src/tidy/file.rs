//! The files of the repository, as the rules see them.
//!
//! Promises: every file that git tracks or would track, in order of its path. Refuses: binary files
//! and golden data under `testdata/` are listed but carry no text for the rules to judge.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::scan::Scan;

/// One file of the repository.
pub(crate) struct File {
    /// Its path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// Its text; empty for binary files and golden data.
    pub(crate) text: String,
    /// Taken apart, when it is Rust.
    pub(crate) rust: Option<Scan>,
}

impl File {
    /// A file with this path and text.
    pub(crate) fn new(path: &str, text: &str) -> File {
        let rust = path.ends_with(".rs").then(|| Scan::new(text));
        File { path: path.to_owned(), text: text.to_owned(), rust }
    }

    /// Whether it only exists for tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// The name without folders and without what follows the first dot.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.split('.').next().unwrap_or(name)
    }
}

/// Every file of the repository at `root`.
pub(crate) fn all(root: &Path) -> Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split_terminator('\0') {
        // A file that is deleted but not committed yet is still listed.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        let golden = path.starts_with("testdata/") || path.contains("/testdata/");
        let text = if golden { String::new() } else { String::from_utf8(bytes).unwrap_or_default() };
        files.push(File::new(path, &text));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
