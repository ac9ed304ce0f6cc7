//! One look at the engine, and the next hop it delivers to.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::engine::{Engine, address_after};

use crate::bench::usage::memory_kib;

/// What goes wrong at the next hop: at which stage, how often.
const TROUBLE: [&str; 14] = [
    "--refuse",
    "450 4.2.1 later@rcpt:10%",
    "--refuse",
    "550 5.1.1 never@rcpt:2%",
    "--refuse",
    "421 4.3.2 not now@helo:1%",
    "--refuse",
    "451 4.3.0 broken@message:1%",
    "--drop",
    "connect:1%",
    "--drop",
    "data:1%",
    "--drop",
    "message:1%",
];

/// The counters, and what the engine uses.
#[derive(Clone, Default)]
pub(super) struct Look {
    pub(super) found: u64,
    pub(super) accepted: u64,
    pub(super) ended: u64,
    pub(super) stored: u64,
    /// Deleted, and can be taken back.
    pub(super) deleted: u64,
    pub(super) incoming: u64,
    pub(super) active: u64,
    /// In all queues.
    pub(super) queued: u64,
    pub(super) memory_kib: u64,
    pub(super) descriptors: usize,
    /// How long it took until the counts were even.
    pub(super) settled: Duration,
}

impl Look {
    pub(super) fn at(engine: &Engine) -> Result<Look> {
        let output = engine.ask(&["status", "--json"])?;
        ensure!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr).trim());
        let status: Value = serde_json::from_slice(&output.stdout).context("status --json")?;
        let number = |value: &Value| value.as_u64().context("a counter of status --json");
        let total = |name: &str| number(&status["totals"][name]);
        let queues = status["queues"].as_object().context("queues of status --json")?;
        let process = engine.process();
        Ok(Look {
            found: total("found")?,
            accepted: total("accepted")?,
            ended: total("ended")?,
            stored: total("stored")?,
            deleted: total("deleted")?,
            incoming: number(&queues["incoming"])?,
            active: number(&queues["active"])?,
            queued: queues.values().filter_map(Value::as_u64).sum(),
            memory_kib: memory_kib(process),
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
            settled: Duration::ZERO,
        })
    }

    /// Whether nothing came from nowhere, and nothing went without having ended.
    pub(super) fn is_even(&self) -> bool {
        self.found + self.accepted == self.ended + self.stored && self.stored == self.queued + self.deleted
    }

    /// Whether all that can be done now is done.
    pub(super) fn is_idle(&self) -> bool {
        self.incoming + self.active == 0
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Look { found, accepted, ended, queued, deleted, memory_kib, descriptors, .. } = self;
        write!(f, "{accepted:>8} accepted")?;
        if *found > 0 {
            write!(f, " (and {found} found)")?;
        }
        write!(f, " = {ended} ended + {queued} queued + {deleted} deleted of late")?;
        write!(f, ", even after {} ms", self.settled.as_millis())?;
        write!(f, "; {:.1} MiB, {descriptors} descriptors", *memory_kib as f64 / 1024.0)
    }
}

/// `postrider sink` with trouble: only it can take this much mail and remember nothing.
pub(super) struct NextHop {
    sink: Child,
    address: SocketAddr,
}

impl NextHop {
    pub(super) fn start(program: &Path, seed: u64) -> Result<NextHop> {
        let mut command = Command::new(program);
        command.args(["sink", "--listen", "127.0.0.1:0", "--seed", &seed.to_string()]).args(TROUBLE);
        let mut sink =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("postrider sink")?;
        let mut lines = BufReader::new(sink.stdout.take().context("its output")?).lines();
        let first = lines.next().context("postrider sink says nothing")??;
        let address = address_after(&first, "listening on ").with_context(|| first.clone())?;
        // It tells of every message, and would wait for somebody to hear it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(NextHop { sink, address })
    }

    /// As a next hop without MX lookup.
    pub(super) fn next_hop(&self) -> String {
        format!("[{}]:{}", self.address.ip(), self.address.port())
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        // Both fail only when it has ended before.
        let _ = self.sink.kill();
        let _ = self.sink.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_even_only_when_nothing_is_missing() {
        let even =
            Look { found: 2, accepted: 10, ended: 7, stored: 5, queued: 4, deleted: 1, ..Look::default() };
        assert!(even.is_even());
        assert!(!Look { ended: 6, ..even.clone() }.is_even(), "one vanished from the log");
        assert!(!Look { queued: 3, ..even.clone() }.is_even(), "the engine forgot one");
        assert!(even.to_string().contains("(and 2 found)"));
    }
}
