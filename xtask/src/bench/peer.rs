//! Who is measured: Postrider, Postfix (in `postfix.rs`), and the load tools by themselves.
//!
//! Promises: each starts in an empty folder, on ports of 127.0.0.1 that were free, with its log in a file,
//! and is gone when it is dropped. Refuses: measuring.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::engine::Setup;

use super::load::Sink;
use super::settings::{SHIPPED, Task};
use crate::e2e::debian::closed_port;
use crate::interrupt;
use crate::program::{Workplace, poll};

/// How long a peer may take to listen.
const START: Duration = Duration::from_secs(60);

/// What a peer is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Mail is taken and kept, in the cheapest durable way the peer has.
    Keep,
    /// Mail goes to one next hop.
    Relay(SocketAddr),
    /// The same, messages of thousands of recipients are taken, and one delivery carries
    /// [`LIST_DELIVERY`] recipients.
    List(SocketAddr),
    /// Mail for these sites is deferred until it is flushed; each is a destination of its own.
    Backlog(Sites),
}

/// Recipients in one delivery of a list.
pub(crate) const LIST_DELIVERY: usize = 5;
/// Recipients of one message that a peer has to take for [`Plan::List`].
pub(crate) const LIST_RECIPIENTS_MAX: usize = 100_000;

/// How many smtp-sinks the sites share. One alone is the limit, at some 9,000 messages a second from a
/// thousand sites: it is one process, and each of its steps looks at the timers of all its sessions.
pub(crate) const SINKS: usize = 4;

/// Sites `s0.test`, `s1.test` and so on, and where each is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sites {
    /// How many.
    pub(crate) number: usize,
    /// Where they listen, in turns.
    pub(crate) ports: [u16; SINKS],
    /// Where the first one listens instead, if it is a black hole.
    pub(crate) hole: Option<u16>,
}

impl Sites {
    /// Where site `number` listens: each has an address of 127.0.0.0/8 for itself, so that no peer takes
    /// two of them for one and nobody needs DNS.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        let low = u32::try_from(number).unwrap_or(u32::MAX) % 0x00ff_0000;
        let [_, a, b, c] = (0x0001_0001 + low).to_be_bytes();
        let port = self.hole.filter(|_| number == 0).unwrap_or(self.ports[number % SINKS]);
        SocketAddr::from(([127, a, b, c], port))
    }
}

/// One who can be measured.
pub(crate) trait Peer {
    /// As in the table.
    fn name(&self) -> &'static str;
    /// What its acknowledgement is not, for the table.
    fn remark(&self) -> Option<&'static str> {
        None
    }
    /// The setting it is measured with.
    fn setting(&self) -> &'static str {
        SHIPPED.name
    }
    /// Itself under each setting worth trying for `task`, as shipped first; none where there is no choice.
    fn candidates(&self, _task: Task) -> Vec<Box<dyn Peer>> {
        Vec::new()
    }
    /// Starts it; `None` when it has nothing to do with this plan.
    fn start(&self, place: &Workplace, plan: Plan) -> Result<Option<Box<dyn Running>>>;
}

/// A peer that runs.
pub(crate) trait Running {
    /// Where it takes mail by SMTP.
    fn server(&self) -> SocketAddr;
    /// The process that started all others of the peer.
    fn process(&self) -> Option<u32>;
    /// How many messages are neither deferred nor on hold yet.
    fn restless(&self) -> Result<usize> {
        Ok(0)
    }
    /// Asks for delivery of everything that is deferred.
    fn flush(&self) -> Result<()>;
    /// The command that lists the queue.
    fn listing(&self) -> Command;
}

/// Waits until somebody listens on `server`.
pub(crate) fn listening(name: &str, server: SocketAddr) -> Result<()> {
    poll(&format!("{name} listening"), START, || Ok(TcpStream::connect(server).is_ok().then_some(())))
}

/// Ours.
pub(crate) struct Postrider {
    pub(crate) program: PathBuf,
}

impl Postrider {
    /// Starts it with these settings on top of its defaults and this configuration file.
    pub(crate) fn serve(
        &self,
        place: &Workplace,
        settings: &[&str],
        config: &str,
    ) -> Result<RunningPostrider> {
        let folder = place.folder("engine", 0o755)?;
        let file = folder.join("postrider.toml");
        fs::write(&file, config)?;
        let setup = Setup::new(&self.program, &folder);
        let server = closed_port()?;
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        let mut command = setup.command(&["serve", "--config"]);
        command.arg(&file).args(["-o", &format!("smtp.listen=[\"{server}\"]")]);
        for setting in settings {
            command.args(["-o", setting]);
        }
        let child = interrupt::apart(&mut command)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("postrider serve")?;
        let running = RunningPostrider { child, setup, server };
        listening("postrider", server)?;
        Ok(running)
    }
}

impl Peer for Postrider {
    fn name(&self) -> &'static str {
        "postrider"
    }

    fn start(&self, place: &Workplace, plan: Plan) -> Result<Option<Box<dyn Running>>> {
        let deferred = "qmgr.defer_transports=[\"smtp\", \"relay\"]";
        let running = match plan {
            Plan::Keep => self.serve(place, &[deferred, "route.relayhost=\"[127.0.0.1]:9\""], "")?,
            Plan::Relay(next_hop) => self.serve(place, &[&relayhost(next_hop)], "")?,
            Plan::List(next_hop) => {
                let taken = format!("smtp.recipient_limit={LIST_RECIPIENTS_MAX}");
                let sent = format!("qmgr.default_destination_recipient_limit={LIST_DELIVERY}");
                self.serve(place, &[&relayhost(next_hop), &taken, &sent], "")?
            }
            Plan::Backlog(sites) => self.serve(place, &[deferred], &route_map(sites))?,
        };
        Ok(Some(Box::new(running)))
    }
}

fn relayhost(next_hop: SocketAddr) -> String {
    format!("route.relayhost=\"[{}]:{}\"", next_hop.ip(), next_hop.port())
}

/// The configuration that sends each site to its own address.
fn route_map(sites: Sites) -> String {
    let mut config = "[route]\nmap = [\n".to_owned();
    for number in 0..sites.number {
        let to = sites.address(number);
        let (ip, port) = (to.ip(), to.port());
        let line = writeln!(config, "{{ match = \"s{number}.test\", to = \"smtp:[{ip}]:{port}\" }},");
        line.expect("a string takes everything");
    }
    config + "]\n"
}

/// Ours, running.
pub(crate) struct RunningPostrider {
    child: Child,
    setup: Setup,
    server: SocketAddr,
}

impl RunningPostrider {
    /// A command of the program against this engine.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.setup.command(arguments);
        interrupt::apart(&mut command);
        command
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Running for RunningPostrider {
    fn server(&self) -> SocketAddr {
        self.server
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn restless(&self) -> Result<usize> {
        let output = self.command(&["queue", "list", "--queue", "incoming", "--queue", "active"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // 1 says that nothing matched.
        ensure!(matches!(output.status.code(), Some(0 | 1)), "queue list: {}", said.trim());
        Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count())
    }

    fn flush(&self) -> Result<()> {
        let output = self.command(&["flush", "--all"]).output()?;
        ensure!(output.status.success(), "flush: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn listing(&self) -> Command {
        self.command(&["queue", "list"])
    }
}

impl Drop for RunningPostrider {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// smtp-source straight into smtp-sink: what nobody in between can beat.
pub(crate) struct Ceiling;

impl Peer for Ceiling {
    fn name(&self) -> &'static str {
        "ceiling"
    }

    fn start(&self, place: &Workplace, plan: Plan) -> Result<Option<Box<dyn Running>>> {
        if plan != Plan::Keep {
            return Ok(None);
        }
        let server = closed_port()?;
        let sink = Sink::start(server, &place.folder("ceiling", 0o755)?)?;
        Ok(Some(Box::new(RunningCeiling { server, _sink: sink })))
    }
}

struct RunningCeiling {
    server: SocketAddr,
    _sink: Sink,
}

impl Running for RunningCeiling {
    fn server(&self) -> SocketAddr {
        self.server
    }

    fn process(&self) -> Option<u32> {
        None
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn listing(&self) -> Command {
        Command::new("true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_has_an_address_of_its_own() {
        let sites = Sites { number: 100_000, ports: [25, 26, 27, 28], hole: None };
        let addresses: std::collections::BTreeSet<_> = (0..100_000).map(|n| sites.address(n)).collect();
        assert_eq!(addresses.len(), 100_000);
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(!addresses.contains(&SocketAddr::from(([127, 0, 0, 1], 25))));
        let holed = Sites { number: 10, ports: [25, 26, 27, 28], hole: Some(7) };
        let ports = |number| holed.address(number).port();
        assert_eq!((ports(0), ports(1), ports(4)), (7, 26, 25));
    }
}
