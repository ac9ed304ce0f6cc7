//! What Ctrl-C and `kill` do to a command that has started foreign programs.
//!
//! Promises: after [`listen`], the first SIGINT, SIGTERM or SIGHUP only sets a flag. Every wait that looks
//! at it fails soon, so that whatever was started is ended and removed on the way out, by the same code as
//! after any other failure. A second signal ends the command at once.
//!
//! Refuses: SIGKILL, which nobody can notice.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The status of a command that a second signal ended.
const STATUS: i32 = 130;

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Takes the signals from now on.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let take = |kind: fn() -> SignalKind| signal(kind());
    let mut signals = (take(SignalKind::interrupt)?, take(SignalKind::terminate)?, take(SignalKind::hangup)?);
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            any(&mut signals).await;
            HAPPENED.store(true, Ordering::Relaxed);
            eprintln!("interrupted: ending what was started; once more to leave it behind");
            any(&mut signals).await;
            std::process::exit(STATUS);
        });
    });
    Ok(())
}

async fn any(signals: &mut (Signal, Signal, Signal)) {
    tokio::select! {
        _ = signals.0.recv() => {}
        _ = signals.1.recv() => {}
        _ = signals.2.recv() => {}
    }
}

/// Whether a signal came.
pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Fails once a signal came.
pub(crate) fn check() -> Result<()> {
    ensure!(!happened(), "interrupted");
    Ok(())
}

/// Keeps a program from hearing the terminal's Ctrl-C: it is ended in order and not before us.
pub(crate) fn apart(command: &mut Command) -> &mut Command {
    command.process_group(0)
}
