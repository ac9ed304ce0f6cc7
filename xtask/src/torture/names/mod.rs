//! A name service that lies: answers about other names, forged, cut off, endless or none; hosts that are the
//! engine itself, or nowhere.
//!
//! Promises: honest sites of the same name server are served meanwhile; mail to the others stays queued, with
//! the reason that is true of the lie, or is returned where the answer says so in plain words; nothing is
//! delivered to where a lie points; when the truth is told, what was queued arrives. Refuses: machines
//! where nothing may be mounted, since the engine asks whom `/etc/resolv.conf` names.

mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::engine::{Engine, Setup};
use testkit::plain::{Client, Received, Sink};

use crate::program::{Workplace, poll, wait_until_empty};
use server::NameServer;

/// Messages to the honest site, and to each of the others.
const HONEST: usize = 50;
const MESSAGES: usize = 3;
/// How long anything may take that must come to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sites about which lies are told, each with what must be in the reason why its mail waits.
const LIES: [(&str, &str); 14] = [
    ("silent.test", "no answer in time"),
    ("servfail.test", "Server Failure"),
    ("refused.test", "Query Refused"),
    ("noise.test", "decoding error"),
    ("forged.test", "no answer in time"),
    ("asked.test", "no answer in time"),
    ("cut.test", "truncated"),
    ("flood.test", "Server Failure"),
    ("endless.test", "one alias (CNAME) leads to another"),
    ("round.test", "one alias (CNAME) leads to another"),
    ("unsure.test", "Server Failure"),
    ("zero.test", "mx.zero.test has no usable address"),
    ("crowd.test", "mx.crowd.test has no usable address"),
    ("all.test", "mx.all.test has no usable address"),
];
/// The sites whose mail cannot be told from mail to a domain that takes none: their only host is the engine,
/// or nothing in the answer is about them.
const RETURNED: [&str; 2] = ["myself.test", "other.test"];

/// Runs the engine with a file of its own in place of `/etc/resolv.conf`.
fn wrapper(file: &Path) -> Vec<String> {
    let script = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", file.display());
    ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"].map(str::to_owned).into()
}

/// An address of this machine that nobody else is likely to use.
fn address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// Whether this machine allows it.
pub(crate) fn tried() -> Result<()> {
    for port in [25, 53] {
        std::net::TcpListener::bind((address(), port))
            .with_context(|| format!("port {port}: this needs root"))?;
    }
    let words = wrapper(Path::new("/dev/null"));
    let tried = Command::new(&words[0]).args(&words[1..]).arg("true").output().context("unshare")?;
    let said = String::from_utf8_lossy(&tried.stderr);
    ensure!(tried.status.success(), "unshare and mount: {} (this needs root)", said.trim());
    Ok(())
}

/// One round.
pub(crate) fn run(program: &Path) -> Result<String> {
    let mut line = String::new();
    Workplace::run("names", |place| {
        line = round(program, place)?;
        Ok(())
    })?;
    Ok(line)
}

fn round(program: &Path, place: &Workplace) -> Result<String> {
    let names = NameServer::start(address())?;
    let sink = Sink::start_on(SocketAddr::from((address(), 25)))?;
    let file = place.folder("names", 0o755)?.join("resolv.conf");
    std::fs::write(&file, format!("nameserver {}\noptions timeout:1 attempts:1\n", address()))?;
    let words = wrapper(&file);
    let engine = Setup::new(program, place.folder("engine", 0o755)?)
        .with("transport.smtp.lookup_timeout", "\"5s\"")
        .with("transport.smtp.connect_timeout", "\"2s\"")
        .with("qmgr.minimal_backoff_time", "\"1s\"")
        .with("qmgr.maximal_backoff_time", "\"2s\"")
        .run_by(&words.iter().map(String::as_str).collect::<Vec<_>>())
        .start()?;
    let began = Instant::now();
    send(&mut Client::greet(engine.smtp())?)?;
    let arrived = |site: &str| sink.received().iter().filter(|one| one.recipients[0].contains(site)).count();
    poll("the mail of the honest site", PATIENCE, || Ok((arrived("@honest.test") >= HONEST).then_some(())))?;
    let honest_took = began.elapsed();
    let mut last = None;
    poll("a reason for each lie", PATIENCE, || {
        last = unexplained(&engine)?;
        Ok(last.is_none().then_some(()))
    })
    .with_context(|| last.unwrap_or_default())?;
    for (site, _) in LIES {
        ensure!(arrived(site) == 0, "mail to {site} was delivered to where the lie pointed");
    }
    names.come_clean();
    wait_until_empty(&engine, PATIENCE).context("after the name server came clean")?;
    engine.stop()?;
    account(&sink.received())?;
    Ok(format!(
        "{HONEST} honest messages arrived within {:.1} s; {} to {} sites about which the name server lied \
         waited with a true reason and arrived when it came clean; {} returned",
        honest_took.as_secs_f64(),
        MESSAGES * LIES.len(),
        LIES.len(),
        MESSAGES * RETURNED.len(),
    ))
}

/// Mail for everybody, mixed.
fn send(client: &mut Client) -> Result<()> {
    let sites = LIES.iter().map(|(site, _)| *site).chain(RETURNED).map(|site| (site, MESSAGES));
    let sites: Vec<_> = sites.chain([("honest.test", HONEST)]).collect();
    for number in 0..HONEST {
        for (site, _) in sites.iter().filter(|(_, count)| number < *count) {
            let recipient = format!("u{number}@{site}");
            client.send("sender@source.honest.test", &[&recipient], b"Subject: x\r\n\r\ntext\r\n")?;
        }
    }
    Ok(())
}

/// The first site whose mail does not wait for the reason that is true, with what is said instead.
fn unexplained(engine: &Engine) -> Result<Option<String>> {
    let output = engine.ask(&["queue", "list", "--json"])?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    for (site, why) in LIES {
        let of_site = |line: &&str| line.contains(&format!("@{site}\""));
        let waiting: Vec<&str> = listed.lines().filter(of_site).collect();
        if waiting.len() != MESSAGES || !waiting.iter().all(|line| line.contains(why)) {
            return Ok(Some(format!("{site} should wait because of {why:?}:\n{}", waiting.join("\n"))));
        }
    }
    Ok(None)
}

/// Everything arrived in the end, or its sender was told.
fn account(received: &[Received]) -> Result<()> {
    let has =
        |text: &[u8], wanted: &str| text.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    for (site, _) in LIES {
        for number in 0..MESSAGES {
            let recipient = format!("<u{number}@{site}>");
            let arrived = received.iter().any(|one| one.recipients.contains(&recipient));
            ensure!(arrived, "mail to {recipient} is nowhere");
        }
    }
    for site in RETURNED {
        for number in 0..MESSAGES {
            let recipient = format!("Final-Recipient: rfc822;u{number}@{site}\r\n");
            let told = received.iter().any(|one| one.mail.starts_with("<>") && has(&one.content, &recipient));
            ensure!(told, "nobody was told of message {number} to {site}");
        }
    }
    Ok(())
}
