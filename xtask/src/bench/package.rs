//! What the peers are made of, and how it comes here.
//!
//! Promises: nothing is downloaded or installed without consent, which is `--install yes`; what is missing is
//! named with the command that brings it. Exim and OpenSMTPD are unpacked below `target/peers` and never
//! installed, as each would take the place of the machine's mail system.
//!
//! Refuses: other systems than Debian and what is made of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::e2e::debian::find;

/// The consent, as it is given.
const CONSENT: &str = "yes";
/// While this file is there, Debian starts no service of what it installs.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether the user has agreed to downloads.
pub(crate) fn consent(word: Option<&str>) -> Result<bool> {
    match word {
        None => Ok(false),
        Some(CONSENT) => Ok(true),
        Some(other) => bail!("--install {other}: `--install {CONSENT}` is the only consent there is"),
    }
}

/// Makes sure of the load tools and of Postfix.
pub(crate) fn postfix(install: bool) -> Result<()> {
    let tools = ["smtp-source", "smtp-sink", "postfix", "postqueue"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| find(tool).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    if !install {
        bail!(
            "{missing} not found; they are in Debian's postfix. `--install {CONSENT}` installs it without \
             starting or configuring it; by hand: apt-get install -y --no-install-recommends postfix"
        );
    }
    installed("postfix", Some("postfix postfix/main_mailer_type select No configuration\n"))
}

/// Makes sure of strace; `false` when it is not there and may not be installed.
pub(crate) fn strace(install: bool) -> Result<bool> {
    match (find("strace"), install) {
        (Some(_), _) => Ok(true),
        (None, false) => Ok(false),
        (None, true) => installed("strace", None).map(|()| true),
    }
}

/// Installs a package; its services stay stopped.
fn installed(package: &str, answers: Option<&str>) -> Result<()> {
    ensure!(testkit::engine::runs_as_root(), "only root can install {package}");
    let policy = (!Path::new(POLICY).exists()).then(StoppedServices::new).transpose()?;
    if let Some(answers) = answers {
        let line = format!("printf '%s' '{answers}' | debconf-set-selections");
        succeed(Command::new("sh").args(["-c", &line]))?;
    }
    succeed(Command::new("apt-get").args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-q", "-y", "--no-install-recommends", package]);
    let done = succeed(install.env("DEBIAN_FRONTEND", "noninteractive"));
    drop(policy);
    done
}

/// As long as it lives, no service is started.
struct StoppedServices;

impl StoppedServices {
    fn new() -> Result<StoppedServices> {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
        succeed(Command::new("chmod").args(["+x", POLICY]))?;
        Ok(StoppedServices)
    }
}

impl Drop for StoppedServices {
    fn drop(&mut self) {
        // Fails only when somebody has removed it already.
        let _ = fs::remove_file(POLICY);
    }
}

/// A peer that is unpacked beside the machine's own programs.
pub(crate) struct Unpacked {
    /// As `--peers` takes it.
    pub(crate) name: &'static str,
    /// Of Debian.
    pub(crate) packages: &'static [&'static str],
    /// What has to be there afterwards.
    pub(crate) program: &'static str,
}

impl Unpacked {
    /// Where it is unpacked; `None` when it is not there and may not be downloaded.
    pub(crate) fn find(&self, target: &Path, install: bool) -> Result<Option<PathBuf>> {
        let folder = target.join("peers").join(self.name);
        let program = folder.join(self.program);
        if program.is_file() {
            return Ok(Some(folder));
        }
        if !install {
            return Ok(None);
        }
        let packages = folder.join("packages");
        fs::create_dir_all(&packages)?;
        let mut download = Command::new("apt-get");
        succeed(download.args(["download", "-q"]).args(self.packages).current_dir(&packages))?;
        for package in fs::read_dir(&packages)? {
            succeed(Command::new("dpkg").arg("-x").arg(package?.path()).arg(&folder))?;
        }
        ensure!(program.is_file(), "{} is not in {}", self.program, self.packages.join(", "));
        Ok(Some(folder))
    }

    /// Why it is not measured, and what to do about it.
    pub(crate) fn left_out(&self) -> String {
        format!(
            "{} is left out: it is not unpacked here. `--peers {} --install {CONSENT}` downloads {} and \
             unpacks them below target/peers; nothing is installed.",
            self.name,
            self.name,
            self.packages.join(", ")
        )
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_fetched_without_consent() {
        assert_eq!(consent(None).ok(), Some(false));
        assert_eq!(consent(Some("yes")).ok(), Some(true));
        assert!(consent(Some("no")).is_err());
        let folder = tempfile::tempdir().expect("a folder");
        let peer = Unpacked { name: "x", packages: &["no-such-package"], program: "usr/sbin/x" };
        assert_eq!(peer.find(folder.path(), false).ok(), Some(None));
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0, "not even a folder is made");
        assert!(peer.left_out().contains("--install yes"));
    }
}
