//! Debian's own load tools, smtp-source and smtp-sink, as the two ends of a relay.
//!
//! Promises: what smtp-sink wrote down is read back message by message; a tool that is missing is named
//! with the command that installs it. Refuses: a running Postfix; only its two test programs are used.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::program::poll;

/// Fails unless every tool is installed.
pub(crate) fn require(tools: &[&str]) -> Result<()> {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| find(tool).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = "apt-get update && apt-get install -y --no-install-recommends postfix swaks";
    bail!("{} not found; as root: {install}", missing.join(", "));
}

/// Where a tool is; `/usr/sbin` is looked at even when it is not on the path of an ordinary user.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(tool)).find(|file| file.is_file())
}

fn command(tool: &str) -> Result<Command> {
    let mut command = Command::new(find(tool).with_context(|| format!("{tool} not found"))?);
    command.stdin(Stdio::null());
    Ok(command)
}

/// A port nobody listens on; smtp-sink cannot choose one itself.
pub(crate) fn closed_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// A running smtp-sink; dropping it ends it.
pub(crate) struct SmtpSink {
    child: Child,
    folder: PathBuf,
}

impl SmtpSink {
    /// Listens on `address` and writes each message to a file in `folder`; `options` are its own, such
    /// as `-r RCPT` to refuse recipients for now.
    pub(crate) fn start(address: SocketAddr, folder: &Path, options: &[&str]) -> Result<SmtpSink> {
        let mut sink = command("smtp-sink")?;
        sink.args(options).arg("-d").arg(folder.join("m."));
        if testkit::engine::runs_as_root() {
            // It refuses to run as root otherwise.
            sink.args(["-u", "nobody"]);
        }
        let child = sink.arg(address.to_string()).arg("100").spawn().context("smtp-sink")?;
        let started = SmtpSink { child, folder: folder.to_owned() };
        let connects = || Ok(TcpStream::connect(address).is_ok().then_some(()));
        poll("smtp-sink listening", Duration::from_secs(20), connects)?;
        Ok(started)
    }

    /// When the first transaction began, whatever became of it.
    pub(crate) fn first_transaction(&self) -> Result<Option<SystemTime>> {
        let begun = |entry: io::Result<fs::DirEntry>| entry?.metadata()?.created();
        let begun: Vec<SystemTime> = fs::read_dir(&self.folder)?.map(begun).collect::<io::Result<_>>()?;
        Ok(begun.into_iter().min())
    }

    /// When each message for `recipient` had been written down.
    pub(crate) fn arrivals(&self, recipient: &str) -> Result<Vec<SystemTime>> {
        let wanted = format!("<{recipient}>");
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(dumped) = Dumped::parse(&fs::read(entry.path())?) else { continue };
            // Parameters may follow the address.
            if dumped.recipients.iter().any(|one| one.starts_with(&wanted)) {
                found.push(entry.metadata()?.modified()?);
            }
        }
        Ok(found)
    }

    /// The messages written down so far.
    pub(crate) fn messages(&self) -> Result<Vec<Dumped>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            found.extend(Dumped::parse(&fs::read(entry?.path())?));
        }
        Ok(found)
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One message as smtp-sink wrote it down.
pub(crate) struct Dumped {
    /// The arguments of RCPT.
    pub(crate) recipients: Vec<String>,
    /// What it received between DATA and the dot, line ends as LF.
    pub(crate) content: Vec<u8>,
}

impl Dumped {
    /// `None` for a transaction that was given up before its content.
    fn parse(dump: &[u8]) -> Option<Dumped> {
        let mut recipients = Vec::new();
        let mut at = 0;
        let mut received = false;
        for line in dump.split_inclusive(|byte| *byte == b'\n') {
            let own_received = line.starts_with(b"Received: from ") && !received;
            if received && !line.starts_with(b"\t") {
                break;
            }
            received |= own_received;
            if let Some(recipient) = line.strip_prefix(b"X-Rcpt-Args: ") {
                recipients.push(String::from_utf8_lossy(recipient).trim().to_owned());
            }
            at += line.len();
        }
        (received && at < dump.len()).then(|| Dumped { recipients, content: dump[at..].to_vec() })
    }

    /// The content without the `Received:` header the engine put in front; `None` when there is none.
    pub(crate) fn content_as_sent(&self) -> Option<&[u8]> {
        if !self.content.starts_with(b"Received: ") {
            return None;
        }
        let mut at = 0;
        for (number, line) in self.content.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if number > 0 && !line.starts_with(b"\t") && !line.starts_with(b" ") {
                break;
            }
            at += line.len();
        }
        Some(&self.content[at..])
    }
}

/// One load of equal messages.
pub(crate) struct Load {
    /// The file with header and body, lines ending in LF.
    pub(crate) file: PathBuf,
    /// How many messages.
    pub(crate) messages: usize,
    /// Over how many connections at a time.
    pub(crate) connections: usize,
    /// The recipient; smtp-source puts a number in front of it, a new one for each message.
    pub(crate) recipient: String,
}

impl Load {
    /// Starts sending it to `server`.
    pub(crate) fn start(&self, server: SocketAddr) -> Result<Child> {
        let mut source = command("smtp-source")?;
        source.args(["-d", "-N", "-f", "sender@source.test", "-M", "source.test", "-t", &self.recipient]);
        source.args(["-s", &self.connections.to_string(), "-m", &self.messages.to_string()]);
        source.arg("-F").arg(&self.file).arg(server.to_string());
        source.spawn().context("smtp-source")
    }
}

/// Sends all loads at the same time and waits until each is through.
pub(crate) fn send_all(loads: &[Load], server: SocketAddr) -> Result<()> {
    let children: Vec<Child> = loads.iter().map(|load| load.start(server)).collect::<Result<_>>()?;
    for (mut child, load) in children.into_iter().zip(loads) {
        let status = child.wait()?;
        ensure!(status.success(), "smtp-source to {} ended with {status}", load.recipient);
    }
    Ok(())
}

/// What smtp-sink writes down for `load` when smtp-source reaches it directly: the measure of exactness.
pub(crate) fn measure(load: &Load, folder: &Path) -> Result<Vec<u8>> {
    let address = closed_port()?;
    let sink = SmtpSink::start(address, folder, &[])?;
    let one =
        Load { file: load.file.clone(), messages: 1, connections: 1, recipient: "measure@x.test".into() };
    send_all(&[one], address)?;
    let dumped = poll("the measured message", Duration::from_secs(20), || Ok(sink.messages()?.pop()))?;
    Ok(dumped.content)
}

/// Checks that each load arrived once and bit-exact; `measures` holds the content of each load.
pub(crate) fn compare(loads: &[Load], measures: &[Vec<u8>], arrived: &[Dumped]) -> Result<()> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for message in arrived {
        let [recipient] = message.recipients.as_slice() else {
            bail!("a message with {} recipients arrived, one was sent", message.recipients.len());
        };
        let base =
            recipient.trim_start_matches(|c: char| c == '<' || c.is_ascii_digit()).trim_end_matches('>');
        let found = loads.iter().position(|load| load.recipient == base);
        let load = found.with_context(|| format!("{recipient} arrived, nobody sent it"))?;
        let content =
            message.content_as_sent().with_context(|| format!("{recipient}: no Received: header"))?;
        ensure!(content == measures[load], "{recipient}: the content is not what was sent");
        *times.entry(recipient).or_default() += 1;
    }
    if let Some((recipient, times)) = times.iter().find(|(_, times)| **times > 1) {
        bail!("{recipient} arrived {times} times");
    }
    let sent: usize = loads.iter().map(|load| load.messages).sum();
    ensure!(times.len() == sent, "{} of {sent} messages arrived", times.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_a_failure_that_says_how_to_install_it() {
        let error = require(&["no-such-tool"]).expect_err("it is not there").to_string();
        assert!(error.starts_with("no-such-tool not found") && error.contains("apt-get install"), "{error}");
    }

    #[test]
    fn dumps_are_read_back() {
        let dump = b"X-Client-Addr: 127.0.0.1\nX-Rcpt-Args: <1a@b.test>\nReceived: from x\n\tby y\n\tdate\n\
            Received: from z\n\tby engine\nSubject: s\n\nbody\n\n";
        let dumped = Dumped::parse(dump).expect("a message");
        assert_eq!(dumped.recipients, ["<1a@b.test>"]);
        assert_eq!(dumped.content_as_sent(), Some(&b"Subject: s\n\nbody\n\n"[..]));
        assert!(Dumped::parse(b"X-Client-Addr: 127.0.0.1\nX-Rcpt-Args: <1a@b.test>\n").is_none());
    }

    #[test]
    fn missing_and_repeated_messages_are_found() {
        let load = || Load { file: "f".into(), messages: 2, connections: 1, recipient: "a@b.test".into() };
        let message = |number: u32, text: &str| Dumped {
            recipients: vec![format!("<{number}a@b.test>")],
            content: format!("Received: by engine\n{text}").into_bytes(),
        };
        let check = |arrived: &[Dumped]| compare(&[load()], &[b"x\n".to_vec()], arrived);
        assert!(check(&[message(1, "x\n"), message(2, "x\n")]).is_ok());
        assert!(check(&[message(1, "x\n")]).is_err(), "one is missing");
        assert!(check(&[message(1, "x\n"), message(2, "x\n"), message(2, "x\n")]).is_err(), "one came twice");
        assert!(check(&[message(1, "x\n"), message(2, "y\n")]).is_err(), "one is changed");
    }
}
