//! ETRN between foreign programs: smtp-source fills the queue, swaks asks, smtp-sink is the site.
//!
//! Promises: the site receives exactly its mail, once, and no other site is connected to; a site without
//! mail and one that may not ask set nothing going, and hear so. Refuses: the
//! replies to everything else that can be asked; the program's own tests have them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::engine::{Engine, Setup};

use super::debian::{self, Load, SmtpSink, closed_port};
use crate::program::{Workplace, poll, queued};

/// Messages for each of the two sites.
const MESSAGES: usize = 50;

/// Both sites are offline; one comes back and asks.
pub(super) fn run(program: &Path, place: &Workplace) -> Result<()> {
    let file = place.folder("content", 0o755)?.join("hello.eml");
    std::fs::write(&file, "Subject: hello\n\nhello\n")?;
    let load = |recipient: &str| Load {
        file: file.clone(),
        messages: MESSAGES,
        connections: 2,
        recipient: recipient.to_owned(),
    };
    let [asking, silent] = [closed_port()?, closed_port()?];
    let route = |site: &str, at: SocketAddr| {
        format!(r#"{{ match = "{site}", to = "smtp:[{}]:{}" }}"#, at.ip(), at.port())
    };
    let setup = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.map", &format!("[{}, {}]", route("asks.test", asking), route("silent.test", silent)))
        .with("route.relay_domains", r#"["asks.test"]"#);
    let engine = setup.start()?;
    debian::send_all(&[load("u@asks.test"), load("u@silent.test")], engine.smtp())?;
    poll("all mail deferred", super::PATIENCE, || {
        Ok((queued(&engine, Some("deferred"))? == 2 * MESSAGES).then_some(()))
    })?;

    let log = look(&engine)?;

    let folders = [place.folder("asking", 0o777)?, place.folder("silent", 0o777)?];
    let sinks = [SmtpSink::start(asking, &folders[0], &[])?, SmtpSink::start(silent, &folders[1], &[])?];
    let said = ask(&engine, "asks.test")?;
    let reply = format!("253 2.0.0 OK, {MESSAGES} pending messages for node asks.test started");
    ensure!(said.contains(&reply), "{reply:?} was not said:\n{said}");
    poll("the mail of the site delivered", super::PATIENCE, || {
        Ok((queued(&engine, None)? == MESSAGES).then_some(()))
    })?;
    let arrived = sinks[0].messages()?;
    // smtp-source puts a number in front of each recipient.
    let recipients: BTreeSet<&str> =
        arrived.iter().flat_map(|one| &one.recipients).map(String::as_str).collect();
    ensure!((arrived.len(), recipients.len()) == (MESSAGES, MESSAGES), "{} messages arrived", arrived.len());
    let its_own = recipients.iter().all(|recipient| recipient.ends_with("@asks.test>"));
    ensure!(its_own, "mail arrived for {recipients:?}");
    ensure!(sinks[1].messages()?.is_empty(), "the site that did not ask received mail");
    let said = ask(&engine, "sub.asks.test")?;
    let nothing = "251 2.0.0 OK, no messages waiting for node sub.asks.test";
    ensure!(said.contains(nothing), "{nothing:?} was not said:\n{said}");
    ensure!(queued(&engine, None)? == MESSAGES, "a site without mail set something going");
    let said = ask(&engine, "silent.test")?;
    ensure!(said.contains("459 4.7.1 silent.test: service unavailable"), "not refused:\n{said}");
    let flushed = told(&engine, &["flush", "silent.test"])?;
    ensure!(flushed == format!("silent.test: {MESSAGES} messages released\n"), "{flushed}");
    poll("the mail of the other site delivered", super::PATIENCE, || {
        Ok((queued(&engine, None)? == 0).then_some(()))
    })?;
    ensure!(sinks[1].messages()?.len() == MESSAGES, "an operator's flush reaches a site that may not ask");
    poll("the log of the site empty", super::PATIENCE, || {
        Ok(std::fs::read_to_string(&log)?.is_empty().then_some(()))
    })?;
    let printed = engine.printed();
    for line in ["flush site asks.test: ok, 50 released", "(queue active)", "ETRN silent.test from"] {
        ensure!(printed.contains(line), "{line:?} was not logged");
    }
    engine.stop()?;
    println!("etrn: a site that asked received exactly its {MESSAGES} messages");
    Ok(())
}

/// What an operator sees of the mail that waits; the log of the site that may ask.
fn look(engine: &Engine) -> Result<PathBuf> {
    let status = told(engine, &["flush", "--status"])?;
    for line in ["asks.test: 50 messages waiting, never flushed", "silent.test: 50 messages waiting, not in"]
    {
        ensure!(status.contains(line), "{line:?} is not in the status:\n{status}");
    }
    let log = engine.setup().spool().join("flush").join("@asks.test");
    let waiting = poll("the log of the site", super::PATIENCE, || {
        let waiting = std::fs::read_to_string(&log).unwrap_or_default();
        Ok((waiting.lines().count() == MESSAGES).then_some(waiting))
    })?;
    let list = told(engine, &["queue", "list", "--site", "asks.test"])?;
    ensure!(waiting.lines().all(|id| list.contains(id)), "the log names other mail:\n{waiting}");
    Ok(log)
}

/// What an operator is told.
fn told(engine: &Engine, arguments: &[&str]) -> Result<String> {
    let output = engine.ask(arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// swaks has no word for ETRN; what follows a line break in the argument of `--ehlo` is sent as it is.
fn ask(engine: &Engine, site: &str) -> Result<String> {
    let server = engine.smtp();
    let output = Command::new(debian::find("swaks").context("swaks")?)
        .args(["--timeout", "30s", "--quit-after", "EHLO", "--server", &server.ip().to_string()])
        .args(["--port", &server.port().to_string()])
        .args(["--ehlo", &format!("client.test\r\nETRN {site}")])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
