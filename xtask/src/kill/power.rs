//! A disk that loses power: a file system whose device, with a cache of its own, can be made to crash.
//!
//! Promises: after [`Power::cut`] the device has what it was told to flush, and of the rest whatever the
//! kernel had written back by chance; nothing reaches it any more. After [`Power::back`] the file system
//! has recovered from its journal, as after a power cut.
//!
//! The device is a loop device on a file of a second file system. A flush of the device syncs that file, and
//! what was not synced is lost when the second file system goes down, which it does first.
//!
//! Refuses: a device that tears a block, or lies about a flush.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::program::poll;

/// Room for the engine, and for the file system that holds its device. No more is taken than is written.
const BYTES: u64 = 1 << 30;
const DEVICE_BYTES: u64 = BYTES + (BYTES >> 2);
/// Tells file systems to go down at once (EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH). The call is a
/// line of Python, because nothing here may be unsafe.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
for top in sys.argv[1:]: fcntl.ioctl(os.open(top, os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
/// How long somebody may still have a file open where the power is off.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file system under test, and below it the one that holds its device.
pub(super) struct Power {
    files: Layer,
    device: Layer,
}

impl Power {
    /// Whether this machine allows it: tried on a device of its own.
    pub(super) fn tried() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let power = Power::on(folder.path())?;
        power.cut()?;
        power.back()
    }

    /// Makes and mounts one below `folder`.
    pub(super) fn on(folder: &Path) -> Result<Power> {
        let device = Layer::new(folder, "device", folder.join("image"));
        device.make(DEVICE_BYTES)?;
        let files = Layer::new(folder, "files", device.top.join("image"));
        // Whole from here on, so that both are unmounted should the second fail.
        let power = Power { files, device };
        power.files.make(BYTES)?;
        Ok(power)
    }

    /// Where the engine keeps its spool, and nobody anything that matters to the test.
    pub(super) fn folder(&self) -> &Path {
        &self.files.top
    }

    /// The power goes off: first for the device, so that the file system cannot save anything.
    pub(super) fn cut(&self) -> Result<()> {
        told(Command::new("python3").args(["-c", SHUTDOWN]).args([&self.device.top, &self.files.top]))
    }

    /// The power is back. The engine may have no file open there any more.
    pub(super) fn back(&self) -> Result<()> {
        self.files.unmount()?;
        self.device.unmount()?;
        self.device.mount()?;
        self.files.mount()
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        // Either may have failed to come up or back.
        for Layer { top, .. } in [&self.files, &self.device] {
            let _ = Command::new("umount").arg("--lazy").arg(top).output();
        }
    }
}

/// One file system in a file.
struct Layer {
    image: PathBuf,
    /// Where it is mounted.
    top: PathBuf,
}

impl Layer {
    fn new(folder: &Path, name: &str, image: PathBuf) -> Layer {
        Layer { image, top: folder.join(name) }
    }

    fn make(&self, bytes: u64) -> Result<()> {
        std::fs::create_dir(&self.top)?;
        let image = File::create(&self.image)?;
        image.set_len(bytes)?;
        told(Command::new("mkfs.ext4").arg("-q").arg(&self.image))?;
        // That it exists is no part of the test.
        image.sync_all()?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        told(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.top))
    }

    fn unmount(&self) -> Result<()> {
        let mut last = None;
        poll("a file system that nobody uses any more", PATIENCE, || {
            last = told(Command::new("umount").arg(&self.top)).err();
            Ok(last.is_none().then_some(()))
        })
        .with_context(|| format!("{last:?}"))
    }
}

/// Runs a tool of the system.
fn told(command: &mut Command) -> Result<()> {
    let needs = "this needs root, loop devices, mkfs.ext4, mount, umount and python3";
    let output = command.output().with_context(|| format!("{command:?}: {needs}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} ({needs})", said.trim());
    Ok(())
}
