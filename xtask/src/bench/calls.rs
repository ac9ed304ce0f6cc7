//! `calls`: system calls for each message, counted by Debian's strace.
//!
//! Promises: accept and deliver over 10 connections, in a run of its own that nobody times; every process and
//! thread of the peer is traced, those it starts meanwhile too; what happens before the first message of
//! the count (starting, first connections) is not counted.
//!
//! Known to be wrong: a traced peer is slow, so that more messages share a commit or a wake-up than
//! otherwise, or fewer, as it happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::load::Sink;
use super::measured::{Measured, Unit};
use super::peer::{Peer, Plan};
use super::usage::processes;
use super::works::source;
use crate::e2e::debian::{closed_port, find};
use crate::interrupt;
use crate::program::{Workplace, poll};

/// How long strace may take to attach to everything.
const ATTACH: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 10;

/// A running strace; dropping it lets go of the peer.
struct Strace {
    child: Child,
    summary: PathBuf,
}

impl Strace {
    /// Attaches to these processes and follows what they start.
    fn attach(processes: &[u32], folder: &Path) -> Result<Strace> {
        let (summary, said) = (folder.join("summary"), folder.join("said"));
        let mut command = Command::new(find("strace").context("strace not found")?);
        interrupt::apart(&mut command).args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&summary);
        for process in processes {
            command.args(["-p", &process.to_string()]);
        }
        let child = command.stderr(File::create(&said)?).spawn().context("strace")?;
        let strace = Strace { child, summary };
        let attached = || {
            // One that has ended since it was looked up is named with what did not work.
            let said = fs::read_to_string(&said)?;
            let answers = said.matches(" attached").count() + said.matches("PTRACE_SEIZE").count();
            Ok((answers >= processes.len()).then_some(()))
        };
        poll("strace attached", ATTACH, attached)?;
        Ok(strace)
    }

    /// Lets go; the system calls since it attached.
    fn end(mut self) -> Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        self.child.wait()?;
        let summary = fs::read_to_string(&self.summary)?;
        total(&summary).with_context(|| format!("strace counted nothing:\n{summary}"))
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Both fail only when it has ended already. Killed, the kernel lets go of what it traced.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The count in the last line of a summary.
fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().rev().find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Counts the system calls of `messages` messages.
pub(crate) fn measure(peer: &dyn Peer, place: &Workplace, messages: usize) -> Result<Vec<Measured>> {
    let next_hop = closed_port()?;
    let sink = Sink::start(next_hop, &place.folder("sink", 0o755)?)?;
    let Some(running) = peer.start(place, Plan::Relay(next_hop))? else { return Ok(Vec::new()) };
    let Some(root) = running.process() else { return Ok(Vec::new()) };
    let warm = messages.div_ceil(5);
    source(CONNECTIONS, warm, 1).send(running.server())?;
    sink.wait_for(warm)?;
    let strace = Strace::attach(&processes(root), &place.folder("strace", 0o755)?)?;
    source(CONNECTIONS, messages, 1).send(running.server())?;
    sink.wait_for(warm + messages)?;
    let calls = strace.end()?;
    ensure!(calls > 0, "no system calls at all");
    Ok(vec![Measured::plain("system calls, accept and deliver", calls as f64 / messages as f64, Unit::Calls)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_the_last_line() {
        let summary = "    calls syscall\n--------- ----------------\n       12 write\n        3 read\n\
            --------- ----------------\n       15 total\n";
        assert_eq!(total(summary), Some(15));
        assert_eq!(total("nothing"), None);
    }
}
