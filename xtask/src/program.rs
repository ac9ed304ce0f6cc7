//! The program under test, and the folder a check works in.
//!
//! Promises: [`build`] gives the `postrider` of this source; a [`Workplace`] goes away when the check
//! succeeded or was interrupted, and stays, with its name printed, when it failed.
//!
//! Refuses: proofs by a release build. What is proved must hold with the assertions of a debug build on, and
//! the tests have built that already.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use testkit::engine::Engine;

use crate::interrupt;

/// Builds `postrider` and says where it is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace", "--bins"])
        .current_dir(root)
        .status()
        .context("cargo build")?;
    ensure!(status.success(), "cargo build failed");
    built(root, "debug")
}

/// Where cargo has put the `postrider` of this profile.
pub(crate) fn built(root: &Path, profile: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join(profile).join("postrider");
    ensure!(program.is_file(), "cargo build left no {}", program.display());
    Ok(program)
}

/// A folder of its own for one check.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// Runs `check` in a fresh folder.
    pub(crate) fn run(name: &str, check: impl FnOnce(&Workplace) -> Result<()>) -> Result<()> {
        let folder = tempfile::Builder::new().prefix(&format!("postrider-{name}-")).tempdir()?;
        // smtp-sink gives up its privileges and must still reach its folder.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let place = Workplace { folder };
        let checked = check(&place);
        if checked.is_err() && !interrupt::happened() {
            eprintln!("{name}: everything is left in {} for you to look at", place.folder.keep().display());
        }
        checked
    }

    /// A folder below, made if it is not there.
    pub(crate) fn folder(&self, name: &str, mode: u32) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path)
    }
}

/// Asks again and again until `answer` gives something; fails after `patience`.
pub(crate) fn poll<T>(
    what: &str,
    patience: Duration,
    mut answer: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = answer()? {
            return Ok(answer);
        }
        interrupt::check()?;
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", patience.as_secs());
        }
        // Foreign programs tell nobody when they are ready; asking is the only way to find out.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until none of these processes is left; not longer than `patience`, whatever comes.
pub(crate) fn gone(processes: &[u32], patience: Duration) {
    let deadline = Instant::now() + patience;
    let alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    while processes.iter().any(alive) && Instant::now() < deadline {
        // They are not our children; the system tells only their parent.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many messages the engine lists in `queue` (all of them when `None`).
pub(crate) fn queued(engine: &Engine, queue: Option<&str>) -> Result<usize> {
    let mut arguments = vec!["queue", "list", "--json"];
    arguments.extend(queue.into_iter().flat_map(|queue| ["--queue", queue]));
    let output = engine.ask(&arguments)?;
    // 1 says that nothing matched.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "queue list: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count())
}

/// Waits until the engine has no message left.
pub(crate) fn wait_until_empty(engine: &Engine, patience: Duration) -> Result<()> {
    let empty = poll("an empty queue", patience, || Ok((queued(engine, None)? == 0).then_some(())));
    empty.with_context(|| {
        let output = engine.ask(&["queue", "list", "--limit", "5"]).map(|output| output.stdout);
        let listed = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
        format!("still queued, the first five:\n{listed}")
    })
}
