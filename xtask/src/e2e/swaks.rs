//! Single cases, each one conversation of swaks.
//!
//! Promises: what a person would try by hand, with the reply it must get and what must arrive behind
//! the engine. Refuses: TLS, which needs a certificate; the program's own tests have one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::engine::{Engine, Setup};
use testkit::plain::Sink;

use super::debian;
use crate::program::{Workplace, wait_until_empty};

/// One conversation.
struct Case {
    name: &'static str,
    /// What swaks is told besides the server.
    arguments: &'static [&'static str],
    /// What the engine must say somewhere in the conversation.
    says: &'static str,
    /// The recipients that must arrive, in angle brackets; none: nothing may arrive.
    arrives: &'static [&'static str],
}

/// The largest message the engine of these cases takes.
const SIZE_LIMIT: &str = "\"64KiB\"";

const CASES: &[Case] = &[
    Case {
        name: "a plain message",
        arguments: &["--from", "a@one.test", "--to", "b@two.test"],
        says: "queued as",
        arrives: &["<b@two.test>"],
    },
    Case {
        name: "the null sender",
        arguments: &["--from", "<>", "--to", "b@two.test"],
        says: "queued as",
        arrives: &["<b@two.test>"],
    },
    Case {
        name: "two recipients at two sites",
        arguments: &["--from", "a@one.test", "--to", "b@two.test,c@three.test"],
        says: "queued as",
        arrives: &["<b@two.test>", "<c@three.test>"],
    },
    Case {
        name: "a quoted local part",
        arguments: &["--from", "a@one.test", "--to", "\"b c\"@two.test"],
        says: "queued as",
        arrives: &["<\"b c\"@two.test>"],
    },
    Case {
        name: "an address literal",
        arguments: &["--from", "a@one.test", "--to", "b@[127.0.0.9]"],
        says: "queued as",
        arrives: &["<b@[127.0.0.9]>"],
    },
    Case {
        name: "lines of dots",
        arguments: &["--from", "a@one.test", "--to", "b@two.test", "--body", ".\\n..\\n.x\\n"],
        says: "queued as",
        arrives: &["<b@two.test>"],
    },
    Case {
        name: "a pipelined conversation",
        arguments: &["--pipeline", "--from", "a@one.test", "--to", "b@two.test"],
        says: "queued as",
        arrives: &["<b@two.test>"],
    },
    Case {
        name: "LMTP",
        arguments: &["--protocol", "LMTP", "--from", "a@one.test", "--to", "b@two.test"],
        says: "queued as",
        arrives: &["<b@two.test>"],
    },
    Case {
        name: "a message over the limit",
        arguments: &["--from", "a@one.test", "--to", "b@two.test", "--attach", "@large"],
        says: "552 5.3.4",
        arrives: &[],
    },
    Case {
        name: "a client that may not relay",
        arguments: &["--from", "a@one.test", "--to", "b@two.test", "--local-interface", "127.0.0.77"],
        says: "554 5.7.1",
        arrives: &[],
    },
    Case {
        name: "a malformed recipient",
        arguments: &["--from", "a@one.test", "--to", "b@@two.test"],
        says: "<** 501 5.1.3",
        arrives: &[],
    },
];

/// Runs every case against one engine.
pub(super) fn run(program: &Path, place: &Workplace) -> Result<()> {
    debian::require(&["swaks"])?;
    let sink = Sink::start()?;
    let setup = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        .with("lmtp.listen", "[\"127.0.0.1:0\"]")
        .with("smtp.relay_from", "[\"127.0.0.1/32\"]")
        .with("smtp.message_size_limit", SIZE_LIMIT);
    let mut engine = setup.start()?;
    let lmtp = engine.wait_for_line("listen on LMTP", |line| line.contains("listening on lmtp "))?;
    let lmtp = testkit::engine::address_after(&lmtp, "listening on lmtp ").context("the LMTP address")?;
    let large = place.folder("content", 0o755)?.join("large");
    std::fs::write(&large, "a line of text\n".repeat(10_000))?;
    for case in CASES {
        let server = if case.arguments.contains(&"LMTP") { lmtp } else { engine.smtp() };
        run_case(case, &engine, server, &sink, &large).with_context(|| case.name.to_owned())?;
    }
    engine.stop()?;
    println!("swaks: {} single cases", CASES.len());
    Ok(())
}

fn run_case(case: &Case, engine: &Engine, server: SocketAddr, sink: &Sink, large: &Path) -> Result<()> {
    let before = sink.count();
    let large = format!("@{}", large.display());
    let arguments =
        case.arguments.iter().map(|argument| if *argument == "@large" { &large } else { *argument });
    let output = Command::new(debian::find("swaks").context("swaks")?)
        .args(["--helo", "client.test", "--timeout", "30s", "--server"])
        .arg(server.ip().to_string())
        .args(["--port", &server.port().to_string()])
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains(case.says), "{:?} was not said:\n{said}", case.says);
    wait_until_empty(engine, super::PATIENCE)?;
    let arrived = sink.received().split_off(before);
    let mut recipients: Vec<&str> =
        arrived.iter().flat_map(|one| &one.recipients).map(String::as_str).collect();
    recipients.sort_unstable();
    ensure!(recipients == case.arrives, "{recipients:?} arrived, not {:?}", case.arrives);
    ensure!(
        output.status.success() != case.arrives.is_empty(),
        "swaks ended with {}:\n{said}",
        output.status
    );
    Ok(())
}
