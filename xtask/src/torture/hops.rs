//! Hostile next hops: wrong replies at each stage, disconnects, silence, floods of reply lines.
//!
//! Promises: mail to an honest site beside them arrives; once they behave again, every message to them ends,
//! delivered or returned, and the queue is empty. Refuses: judging single replies; the delivery agents'
//! own tests do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mail::Rng;
use testkit::engine::Setup;
use testkit::plain::{Client, Sink};
use testkit::scripted::{Act, Asked, Script, ScriptedServer, Stage};

use crate::program::{Workplace, poll, wait_until_empty};

/// Messages to each side.
const MESSAGES: usize = 200;
/// Connections after which the hostile side has shown what it can do ...
const CONNECTIONS: usize = 60;
/// ... or this much time.
const HOSTILITY_MAX: Duration = Duration::from_secs(15);
/// How long the honest side may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A client waits no longer than that for anything.
const DEADLINES: &[&str] =
    &["connect", "helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "rset", "quit"];

/// One round.
pub(crate) fn run(program: &Path, seed: u64) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let hostile = runtime.block_on(ScriptedServer::start(Script::new(move |asked| act(seed, asked))));
    let mut line = String::new();
    Workplace::run("hops", |place| {
        line = round(program, place, &hostile)?;
        Ok(())
    })?;
    Ok(line)
}

fn round(program: &Path, place: &Workplace, hostile: &ScriptedServer) -> Result<String> {
    let sink = Sink::start()?;
    let map = format!("[{{ match = \"hostile.test\", to = \"smtp:{}\" }}]", hostile.nexthop());
    let mut setup = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        .with("route.map", &map)
        .with("qmgr.minimal_backoff_time", "\"1s\"")
        .with("qmgr.maximal_backoff_time", "\"2s\"");
    for deadline in DEADLINES {
        setup = setup.with(&format!("transport.smtp.{deadline}_timeout"), "\"1s\"");
    }
    let engine = setup.start()?;
    let mut client = Client::greet(engine.smtp())?;
    let began = Instant::now();
    for number in 0..MESSAGES {
        for site in ["hostile.test", "honest.test"] {
            let recipient = format!("u{number}@{site}");
            client.send("sender@source.test", &[&recipient], b"Subject: x\r\n\r\ntext\r\n")?;
        }
    }
    let honest = || sink.received().iter().filter(|one| one.recipients[0].contains("@honest.test")).count();
    poll("the mail of the honest site", PATIENCE, || Ok((honest() == MESSAGES).then_some(())))?;
    let honest_took = began.elapsed();
    let enough = || hostile.heard().connections() >= CONNECTIONS || began.elapsed() > HOSTILITY_MAX;
    poll("the hostile site to have had enough", PATIENCE, || Ok(enough().then_some(())))?;
    hostile.follow(Script::good());
    wait_until_empty(&engine, PATIENCE).context("after the hostile site came to its senses")?;
    let taken = hostile.heard().messages.len();
    let returned = sink.received().len() - MESSAGES;
    ensure!(taken + returned >= MESSAGES, "{taken} messages taken and {returned} returned of {MESSAGES}");
    engine.stop()?;
    Ok(format!(
        "{MESSAGES} honest messages arrived within {:.1} s; of as many hostile ones {taken} taken over {} \
         connections, {returned} returned",
        honest_took.as_secs_f64(),
        hostile.heard().connections()
    ))
}

/// What the server does here: the same whenever it is asked the same.
fn act(seed: u64, asked: Asked<'_>) -> Act {
    let place = (asked.connection as u64) << 32 | (asked.count as u64) << 8 | asked.stage as u64;
    let mut rng = Rng::new(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    if rng.chance(3, 4) {
        return Act::Good;
    }
    match rng.below(11) {
        0 => Act::reply("421 4.3.2 going down"),
        1 => Act::ReplyAndClose("421 4.3.2 gone".into()),
        2 => Act::Close,
        3 => Act::Hang,
        4 => Act::Raw(b"nonsense\r\n".to_vec()),
        5 => Act::ReplyAndClose("250 2.0.0 and off".into()),
        6 => Act::reply("354 go ahead"),
        7 => Act::reply("550 5.0.0 no"),
        8 => Act::reply("450 4.0.0 later"),
        9 => Act::Flood(b"250-more and more\r\n"),
        _ if asked.stage == Stage::End => Act::ReplyAndClose("250 2.0.0 taken".into()),
        _ => Act::reply("220 2.0.0 what"),
    }
}
