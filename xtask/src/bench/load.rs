//! The two ends of every measurement: smtp-source, smtp-sink, and the one who fills a queue.
//!
//! Promises: arrivals are counted by smtp-sink itself, so that nobody who is measured is asked; every wait
//! has a deadline. Refuses: looking at content; `cargo xtask e2e` compares it byte by byte.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::plain::Client;

use crate::e2e::debian::find;
use crate::interrupt;
use crate::program::poll;

/// How long any single load may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at smtp-source and at the counter of smtp-sink.
const LOOK: Duration = Duration::from_millis(2);
/// Sessions that smtp-sink takes at a time. At its default of 256 it and not the sender would be measured
/// when a sender keeps a connection to each of a thousand sites for a moment.
const SESSIONS_MAX: &str = "8192";
/// The counter's line is shorter than this.
const TAIL_BYTES: u64 = 256;

fn tool(name: &str) -> Result<Command> {
    let mut command = Command::new(find(name).with_context(|| format!("{name} not found"))?);
    interrupt::apart(&mut command).stdin(Stdio::null());
    Ok(command)
}

/// What smtp-source sends; connections are reused.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// To whom; with several recipients a number is put in front of each.
    pub(crate) to: &'static str,
    /// At a time.
    pub(crate) connections: usize,
    /// In all.
    pub(crate) messages: usize,
    /// Of each message.
    pub(crate) recipients: usize,
    /// Of the body of each message.
    pub(crate) bytes: usize,
}

impl Source {
    /// Sends everything to `server`; the time until the last acknowledgement.
    pub(crate) fn send(&self, server: SocketAddr) -> Result<Duration> {
        let began = Instant::now();
        let mut command = tool("smtp-source")?;
        command.args(["-d", "-f", "a@src.test", "-t", self.to, "-M", "src.test"]);
        for (option, number) in
            [("-s", self.connections), ("-m", self.messages), ("-l", self.bytes), ("-r", self.recipients)]
        {
            command.args([option, &number.to_string()]);
        }
        let mut child = command.arg(server.to_string()).spawn().context("smtp-source")?;
        let deadline = began + PATIENCE;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < deadline && !interrupt::happened() => thread::sleep(LOOK),
                None => {
                    child.kill()?;
                    child.wait()?;
                    interrupt::check()?;
                    bail!("smtp-source was not through within {} s", PATIENCE.as_secs());
                }
            }
        };
        ensure!(status.success(), "smtp-source ended with {status}");
        Ok(began.elapsed())
    }
}

/// A running smtp-sink that only counts; dropping it ends it.
pub(crate) struct Sink {
    child: Child,
    counter: PathBuf,
}

impl Sink {
    /// Listens on `address`, which may be `0.0.0.0:port`; counts into a file in `folder`.
    pub(crate) fn start(address: SocketAddr, folder: &Path) -> Result<Sink> {
        let counter = folder.join("counter");
        let mut command = tool("smtp-sink")?;
        if testkit::engine::runs_as_root() {
            // It refuses to run as root otherwise.
            command.args(["-u", "nobody"]);
        }
        command
            .args(["-c", "-m", SESSIONS_MAX, &address.to_string(), "1024"])
            .stdout(File::create(&counter)?);
        let sink = Sink { child: command.spawn().context("smtp-sink")?, counter };
        let reached = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let connects = || Ok(TcpStream::connect(reached).is_ok().then_some(()));
        poll("smtp-sink listening", Duration::from_secs(20), connects)?;
        Ok(sink)
    }

    /// How many messages arrived.
    pub(crate) fn messages(&self) -> Result<usize> {
        let file = File::open(&self.counter)?;
        let length = file.metadata()?.len();
        let wanted = length.min(TAIL_BYTES);
        let mut tail = vec![0; wanted as usize];
        file.read_exact_at(&mut tail, length - wanted)?;
        Ok(last_count(&String::from_utf8_lossy(&tail)))
    }

    /// Waits until `messages` have arrived; the instant at which they had.
    pub(crate) fn wait_for(&self, messages: usize) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let arrived = self.messages()?;
            if arrived >= messages {
                return Ok(Instant::now());
            }
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("{arrived} of {messages} messages arrived within {} s", PATIENCE.as_secs());
            }
            // It tells nobody; asking is the only way to find out.
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last whole `mesg=N` of what smtp-sink counts, lines ending in CR.
fn last_count(tail: &str) -> usize {
    let whole = tail.rfind('\r').map_or("", |end| &tail[..end]);
    let number = whole.rsplit_once("mesg=").map_or("", |(_, number)| number.trim());
    number.parse().unwrap_or(0)
}

/// Sends `messages` of `bytes`, each to one of `sites` sites in turn, over a few connections; the sites
/// are `s0.test`, `s1.test` and so on. Not measured: smtp-source knows one site only.
pub(crate) fn fill(server: SocketAddr, messages: usize, sites: usize, bytes: usize) -> Result<()> {
    const CONNECTIONS: usize = 16;
    let content = format!("Subject: backlog\r\n\r\n{}", "0123456789abcdef\r\n".repeat(bytes / 18));
    let send = |connection: usize| -> Result<()> {
        let mut client = Client::greet(server)?;
        for number in (connection..messages).step_by(CONNECTIONS) {
            interrupt::check()?;
            let recipient = format!("u{number}@s{}.test", number % sites);
            client.send("a@src.test", &[&recipient], content.as_bytes())?;
        }
        client.command("QUIT")?;
        Ok(())
    };
    let send = &send;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || send(number))).collect();
        clients.into_iter().try_for_each(|client| client.join().ok().context("a client panicked")?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_from_its_last_whole_line() {
        assert_eq!(last_count(""), 0);
        assert_eq!(last_count("sess=1 quit=0 mesg=12\r"), 12);
        assert_eq!(last_count("g=11\rsess=1 quit=0 mesg=12\rsess=1 quit=0 mes"), 12);
        assert_eq!(last_count("sess=1 quit=0 mesg=12\rsess=1 quit=0 mesg=1"), 12);
    }
}
