//! Hostile next hops: wrong replies at each stage, disconnects at each byte, silence, floods of reply lines,
//! answers after the deadline, spoiled handshakes, and mail that goes round in circles.
//!
//! Promises: mail to an honest site beside them arrives; once they behave again, every message to them ends,
//! delivered or returned, and the queue is empty. Refuses: judging single replies, the delivery agents'
//! own tests do.

mod behaviour;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::engine::Setup;
use testkit::plain::{Client, Received, Sink};
use testkit::scripted::ScriptedServer;

use crate::program::{Workplace, poll, wait_until_empty};

/// Messages to the honest site.
const HONEST: usize = 200;
/// Messages to each hostile one.
const MESSAGES: usize = 60;
/// Messages that go round in circles, and after how many rounds they are stopped.
const CIRCLING: usize = 10;
const ROUNDS_MAX: usize = 8;
/// Connections after which a hostile site has shown what it can do ...
const CONNECTIONS: usize = 60;
/// ... or this much time.
const HOSTILITY_MAX: Duration = Duration::from_secs(15);
/// How long the honest side may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client waits no longer than [`DEADLINE`] for anything.
const DEADLINES: &[&str] =
    &["connect", "helo", "starttls", "mail", "rcpt", "data_init", "data_xfer", "data_done", "rset", "quit"];
const DEADLINE: Duration = Duration::from_secs(1);

/// A site, the transport that serves it, and its server.
struct Hostile {
    site: &'static str,
    transport: &'static str,
    server: ScriptedServer,
}

/// One round.
pub(crate) fn run(program: &Path, seed: u64) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let start = |(site, transport, script)| {
        let server = runtime.block_on(ScriptedServer::start(script));
        Hostile { site, transport, server }
    };
    let hostile: Vec<Hostile> = behaviour::all(seed, DEADLINE).into_iter().map(start).collect();
    let mut line = String::new();
    Workplace::run("hops", |place| {
        line = round(program, place, &hostile)?;
        Ok(())
    })?;
    Ok(line)
}

fn round(program: &Path, place: &Workplace, hostile: &[Hostile]) -> Result<String> {
    let sink = Sink::start()?;
    // A port that is known before the engine starts: mail goes round in circles through it.
    let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut map = vec![format!("{{ match = \"circle.test\", to = \"smtp:[127.0.0.1]:{}\" }}", own.port())];
    map.extend(hostile.iter().map(|Hostile { site, transport, server }| {
        format!("{{ match = \"{site}\", to = \"{transport}:{}\" }}", server.nexthop())
    }));
    let mut setup = Setup::new(program, place.folder("engine", 0o755)?)
        .with("smtp.listen", &format!("[\"{own}\"]"))
        .with("smtp.hopcount_limit", &ROUNDS_MAX.to_string())
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        .with("route.map", &format!("[{}]", map.join(", ")))
        .with("transport.secure.kind", "\"smtp\"")
        .with("transport.secure.tls", "\"encrypt\"")
        .with("qmgr.minimal_backoff_time", "\"1s\"")
        .with("qmgr.maximal_backoff_time", "\"2s\"");
    for deadline in DEADLINES {
        let length = format!("\"{}s\"", DEADLINE.as_secs());
        for transport in ["smtp", "secure"] {
            setup = setup.with(&format!("transport.{transport}.{deadline}_timeout"), &length);
        }
    }
    let engine = setup.start()?;
    let mut client = Client::greet(engine.smtp())?;
    let began = Instant::now();
    send(&mut client, hostile)?;
    let honest = || sink.received().iter().filter(|one| one.recipients[0].contains("@honest.test")).count();
    poll("the mail of the honest site", PATIENCE, || Ok((honest() == HONEST).then_some(())))?;
    let honest_took = began.elapsed();
    let met = |one: &Hostile| one.server.heard().connections() >= CONNECTIONS;
    let enough = || hostile.iter().all(met) || began.elapsed() > HOSTILITY_MAX;
    poll("the hostile sites to have had enough", PATIENCE, || Ok(enough().then_some(())))?;
    let connections: usize = hostile.iter().map(|one| one.server.heard().connections()).sum();
    hostile.iter().for_each(|one| one.server.follow(behaviour::reformed(one.site)));
    wait_until_empty(&engine, PATIENCE).context("after the hostile sites came to their senses")?;
    let (_, printed) = engine.stop()?;
    let (taken, returned) = account(hostile, &sink.received(), &printed)?;
    Ok(format!(
        "{HONEST} honest messages arrived within {:.1} s; of {} to {} hostile sites (over {connections} \
         connections) and {CIRCLING} that went in circles {taken} taken, {returned} returned",
        honest_took.as_secs_f64(),
        MESSAGES * hostile.len(),
        hostile.len(),
    ))
}

/// Mail for everybody, mixed.
fn send(client: &mut Client, hostile: &[Hostile]) -> Result<()> {
    let sites = hostile.iter().map(|one| (one.site, MESSAGES));
    let sites: Vec<_> = sites.chain([("honest.test", HONEST), ("circle.test", CIRCLING)]).collect();
    for number in 0..HONEST {
        for (site, _) in sites.iter().filter(|(_, count)| number < *count) {
            client.send(
                "sender@source.test",
                &[&format!("u{number}@{site}")],
                b"Subject: x\r\n\r\ntext\r\n",
            )?;
        }
    }
    Ok(())
}

/// Each message was taken by its site, or its sender was told; how many of each. What was printed about one
/// of which neither is true is said.
fn account(hostile: &[Hostile], received: &[Received], printed: &str) -> Result<(usize, usize)> {
    let (mut taken, mut returned) = (0, 0);
    let told = |address: &str| {
        let address = format!("Final-Recipient: rfc822;{address}\r\n");
        let names = |text: &[u8]| text.windows(address.len()).any(|window| window == address.as_bytes());
        received.iter().any(|one| one.mail.starts_with("<>") && names(&one.content))
    };
    for Hostile { site, server, .. } in hostile {
        let messages = server.heard().messages;
        for number in 0..MESSAGES {
            let address = format!("u{number}@{site}");
            let has = |line: &String| line.contains(&format!("<{address}>"));
            let was_taken = messages.iter().any(|message| message.rcpt.iter().any(has));
            let was_returned = !was_taken && told(&address);
            ensure!(was_taken || was_returned, "mail to {address} is nowhere:\n{}", about(&address, printed));
            taken += usize::from(was_taken);
            returned += usize::from(was_returned);
        }
    }
    for number in 0..CIRCLING {
        ensure!(told(&format!("u{number}@circle.test")), "message {number} went in circles and vanished");
    }
    Ok((taken, returned + CIRCLING))
}

fn about(address: &str, printed: &str) -> String {
    printed.lines().filter(|line| line.contains(address)).collect::<Vec<_>>().join("\n")
}
