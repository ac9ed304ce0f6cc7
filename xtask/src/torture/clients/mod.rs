//! Hostile clients: an idle crowd, one byte a second, lines and recipients without end, garbage in plain and
//! where TLS is expected, resets at each state, messages smuggled in.
//!
//! Promises: while they do their worst, honest clients get every message through and it arrives; the
//! engine's memory stays below [`MEMORY_KIB_MAX`] over what it was; nothing that was smuggled arrives.

mod attacks;
mod smuggling;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mail::Rng;
use testkit::engine::{Engine, Setup, raise_open_files};
use testkit::plain::{Client, Sink};
use testkit::scripted::Certificate;

use crate::bench::usage::{charged, memory_kib};
use crate::program::{Workplace, poll, wait_until_empty};
pub(super) use attacks::{Attack, garbage, reset};

/// Connections that only wait.
const IDLE: usize = 4000;
/// Descriptors of this process that are left for everything else.
const DESCRIPTORS_LEFT: u64 = 400;
/// Places for clients: the idle ones take less than four fifths, or they would be thrown out soon.
const PLACES: usize = 6000;
/// Clients of each other kind.
const OF_A_KIND: u64 = 8;
/// Honest clients.
const HONEST: usize = 4;
/// Messages of each of them.
const MESSAGES: usize = 50;
/// How much more memory the engine may have than before, in KiB: 32 KiB for each client.
const MEMORY_KIB_MAX: u64 = 128 << 10;
/// How long everything may take that must come to pass.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let idle = IDLE.min(raise_open_files().saturating_sub(DESCRIPTORS_LEFT) as usize);
    let sink = Sink::start()?;
    let engine = start(program, place, &sink)?;
    let (server, process) = (engine.smtp(), engine.process());
    let before = memory_kib(process);
    let attacks = AtomicUsize::new(0);
    let (served, cost) = charged(Some(process), || besieged(server, seed, idle, &attacks));
    served.context("an honest client was not served")?;
    let tried = smuggling::round(server, &sink)?;
    wait_until_empty(&engine, PATIENCE)?;
    let arrived = sink.received().iter().filter(|one| one.mail.contains("honest@")).count();
    ensure!(arrived == HONEST * MESSAGES, "{arrived} of {} honest messages arrived", HONEST * MESSAGES);
    smuggling::judge(&sink.received())?;
    let grown = cost.peak_kib.saturating_sub(before);
    ensure!(grown < MEMORY_KIB_MAX, "memory grew by {grown} KiB, {MEMORY_KIB_MAX} at most");
    engine.stop()?;
    Ok(format!(
        "{idle} idle and {} hostile connections; {arrived} honest messages arrived; {tried} smuggled, none \
         arrived; memory +{grown} KiB",
        attacks.into_inner(),
    ))
}

fn start(program: &Path, place: &Workplace, sink: &Sink) -> Result<Engine> {
    let folder = place.folder("engine", 0o755)?;
    let certificate = Certificate::for_names(&["engine.test"]);
    let (chain, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&chain, certificate.certificate_pem())?;
    std::fs::write(&key, certificate.key_pem())?;
    let setup = Setup::new(program, folder)
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        .with("smtp.tls_certificate", &format!("{:?}", chain.display().to_string()))
        .with("smtp.tls_key", &format!("{:?}", key.display().to_string()))
        .with("smtp.connection_limit", &PLACES.to_string());
    Ok(setup.start()?)
}

/// Everybody at once, until the honest clients have sent everything.
fn besieged(server: SocketAddr, seed: u64, idle: usize, attacks: &AtomicUsize) -> Result<()> {
    let crowd = crowd(server, idle)?;
    let done = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        for (kind, attack) in attacks::ALL.into_iter().enumerate() {
            for number in 0..OF_A_KIND {
                let done = &done;
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
        let served = honest.into_iter().try_for_each(|one| one.join().ok().context("a client panicked")?);
        done.store(true, Ordering::Relaxed);
        served
    });
    let (last, _) = Client::connect(server).context("with the crowd still there")?;
    drop((crowd, last));
    served
}

/// Connections that say nothing. The kernel may make one wait until the engine has taken those before it.
fn crowd(server: SocketAddr, idle: usize) -> Result<Vec<TcpStream>> {
    let connect = || {
        poll("a place in the crowd", PATIENCE, || {
            Ok(TcpStream::connect_timeout(&server, Duration::from_secs(5)).ok())
        })
    };
    (0..idle).map(|_| connect()).collect()
}

fn behave(server: SocketAddr, number: usize) -> Result<()> {
    let mut client = Client::greet(server)?;
    for message in 0..MESSAGES {
        let recipient = format!("u{number}-{message}@dst.test");
        client.send("honest@source.test", &[&recipient], b"Subject: honest\r\n\r\ntext\r\n")?;
    }
    Ok(())
}
