//! Hostile clients: an idle crowd, one byte a second, lines without end, garbage, resets at each state.
//!
//! Promises: while they do their worst, honest clients get every message through and it arrives; the
//! engine's memory stays below [`MEMORY_KIB_MAX`] over what it was. Refuses: TLS; its own tests are in the
//! front-end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mail::Rng;
use testkit::engine::Setup;
use testkit::plain::{Client, Sink};

use crate::bench::usage::{charged, memory_kib};
use crate::program::{Workplace, wait_until_empty};

/// Connections that only wait; the engine takes 1000 in all.
const IDLE: usize = 700;
/// Clients of each other kind.
const OF_A_KIND: u64 = 8;
/// Honest clients.
const HONEST: usize = 4;
/// Messages of each of them.
const MESSAGES: usize = 50;
/// How much more memory the engine may have than before, in KiB: 128 KiB for each of a thousand clients.
const MEMORY_KIB_MAX: u64 = 128 << 10;
/// How long a hostile client waits for anything.
const WAIT: Duration = Duration::from_millis(500);
/// How long the queue may take to be empty afterwards.
const PATIENCE: Duration = Duration::from_secs(60);

/// What hostile clients do over and over; `Err` and `Ok` are the same to them.
type Attack = fn(SocketAddr, &mut Rng, &AtomicBool) -> std::io::Result<()>;

const ATTACKS: [Attack; 4] = [drip, endless_line, garbage, reset];

/// One round.
pub(crate) fn run(program: &Path, seed: u64) -> Result<String> {
    let mut line = String::new();
    Workplace::run("clients", |place| {
        line = round(program, place, seed)?;
        Ok(())
    })?;
    Ok(line)
}

fn round(program: &Path, place: &Workplace, seed: u64) -> Result<String> {
    let sink = Sink::start()?;
    let engine = Setup::new(program, place.folder("engine", 0o755)?)
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        .start()?;
    let (server, process) = (engine.smtp(), engine.process());
    let before = memory_kib(process);
    let done = AtomicBool::new(false);
    let attacks = AtomicUsize::new(0);
    let (served, cost) = charged(Some(process), || {
        thread::scope(|scope| {
            let crowd: Vec<TcpStream> = (0..IDLE).filter_map(|_| TcpStream::connect(server).ok()).collect();
            for (kind, attack) in ATTACKS.into_iter().enumerate() {
                for number in 0..OF_A_KIND {
                    let (done, attacks) = (&done, &attacks);
                    let mut rng = Rng::new(seed ^ (kind as u64) << 40 ^ number << 32);
                    scope.spawn(move || {
                        while !done.load(Ordering::Relaxed) {
                            // To be thrown out is what it is here for.
                            let _ = attack(server, &mut rng, done);
                            attacks.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
            let honest: Vec<_> = (0..HONEST).map(|n| scope.spawn(move || behave(server, n))).collect();
            let served =
                honest.into_iter().try_for_each(|one| one.join().ok().context("a client panicked")?);
            done.store(true, Ordering::Relaxed);
            drop(crowd);
            served
        })
    });
    served.context("an honest client was not served")?;
    wait_until_empty(&engine, PATIENCE)?;
    let arrived = sink.received().iter().filter(|one| one.mail.contains("honest@")).count();
    ensure!(arrived == HONEST * MESSAGES, "{arrived} of {} honest messages arrived", HONEST * MESSAGES);
    let grown = cost.peak_kib.saturating_sub(before);
    ensure!(grown < MEMORY_KIB_MAX, "memory grew by {grown} KiB, {MEMORY_KIB_MAX} at most");
    engine.stop()?;
    Ok(format!(
        "{IDLE} idle and {} hostile connections; {arrived} honest messages arrived, memory +{} KiB",
        attacks.into_inner(),
        grown
    ))
}

fn behave(server: SocketAddr, number: usize) -> Result<()> {
    let mut client = Client::greet(server)?;
    for message in 0..MESSAGES {
        let recipient = format!("u{number}-{message}@dst.test");
        client.send("honest@source.test", &[&recipient], b"Subject: honest\r\n\r\ntext\r\n")?;
    }
    Ok(())
}

fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// A command, one byte at a time.
fn drip(server: SocketAddr, _: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    for byte in b"EHLO one.byte.a.second.test\r\n".iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[*byte])?;
        // Slowness is the attack; in small steps, so that the end of the round is noticed.
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// One line that never ends, as a command, a parameter or as content.
fn endless_line(server: SocketAddr, rng: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    let beginnings: [&[u8]; 4] = [
        b"",
        b"EHLO a.test\r\nMAIL FROM:<",
        b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<",
        b"EHLO a.test\r\nMAIL FROM:<a@b.test> BODY=",
    ];
    stream.write_all(beginnings[rng.below(beginnings.len() as u64) as usize])?;
    for _ in 0..256 {
        if done.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[b'a'; 64 << 10])?;
    }
    Ok(())
}

/// Random bytes, all at once, with line ends and a few words that mean something.
fn garbage(server: SocketAddr, rng: &mut Rng, _: &AtomicBool) -> std::io::Result<()> {
    let words: [&[u8]; 8] =
        [b"\r\n", b"\n", b".\r\n", b"MAIL FROM:<", b"RCPT TO:<", b"DATA\r\n", b"STARTTLS\r\n", b"BDAT 9\r\n"];
    let mut bytes = Vec::new();
    while bytes.len() < 16 << 10 {
        if rng.chance(1, 4) {
            bytes.extend_from_slice(words[rng.below(words.len() as u64) as usize]);
        } else {
            bytes.push(rng.next_u64() as u8);
        }
    }
    let mut stream = connect(server)?;
    stream.write_all(&bytes)?;
    let mut answers = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answers)?;
    Ok(())
}

/// A transaction that is torn off somewhere, with answers left unread: the kernel resets it.
fn reset(server: SocketAddr, rng: &mut Rng, _: &AtomicBool) -> std::io::Result<()> {
    let conversation =
        b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: torn\r\n\r\ntext";
    let mut stream = connect(server)?;
    let length = rng.below(conversation.len() as u64) as usize;
    stream.write_all(&conversation[..length])?;
    // One byte of the answer proves that more is on its way.
    stream.read_exact(&mut [0])
}
