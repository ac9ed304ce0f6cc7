//! The fuzz targets stay compilable.
//!
//! Promises: every target of `fuzz/` is checked by the compiler with its own lock file, without building
//! the fuzzer's run-time library. Refuses: fuzzing; fuzz/README.md says how.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::ci::cargo;

/// Checks all targets.
pub(crate) fn check(root: &Path) -> Result<()> {
    let manifest: toml::Table = std::fs::read_to_string(root.join("fuzz/Cargo.toml"))?.parse()?;
    let listed = manifest.get("bin").and_then(toml::Value::as_array).map_or(0, Vec::len);
    let files = std::fs::read_dir(root.join("fuzz/fuzz_targets"))?.count();
    ensure!(listed == files, "fuzz/Cargo.toml lists {listed} targets, fuzz/fuzz_targets has {files}");
    cargo(
        root,
        &[
            "check",
            "--quiet",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--bins",
            "--no-default-features",
        ],
    )?;
    println!("fuzz: {files} targets compile");
    Ok(())
}
