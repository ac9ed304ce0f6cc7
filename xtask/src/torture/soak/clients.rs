//! Everybody who sends: honest clients at a given pace, and a few that misbehave.
//!
//! Promises: after [`Load::pause`] nobody is in the middle of a message; what was acknowledged is counted.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mail::Rng;
use testkit::plain::Client;

use crate::torture::clients::{Attack, garbage, reset};

/// Honest clients.
const CLIENTS: u64 = 16;
/// Messages over one connection.
const MESSAGES_PER_CONNECTION: u64 = 50;
/// Between two attacks of one who misbehaves.
const ATTACK_EVERY: Duration = Duration::from_millis(500);
/// Whose mail the operator deletes.
pub(super) const DOOMED: &str = "doomed@source.test";
/// One of so many messages is from there.
const DOOMED_OF: u64 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Paused,
    Sending,
    Over,
}

struct State {
    phase: Phase,
    /// Clients in the middle of something.
    busy: usize,
    /// Between two messages of one client.
    interval: Duration,
    acknowledged: u64,
}

struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may be sent, and says how long to wait between two; nothing at the end.
    fn enter(&self) -> Option<Duration> {
        let paused = |state: &mut State| state.phase == Phase::Paused;
        let mut state = self.changed.wait_while(self.lock(), paused).unwrap_or_else(PoisonError::into_inner);
        if state.phase == Phase::Over {
            return None;
        }
        state.busy += 1;
        Some(state.interval)
    }

    fn leave(&self, acknowledged: bool) {
        let mut state = self.lock();
        state.busy -= 1;
        state.acknowledged += u64::from(acknowledged);
        drop(state);
        self.changed.notify_all();
    }
}

/// All of them.
pub(super) struct Load {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Everybody is there and waits.
    pub(super) fn start(server: SocketAddr, seed: u64) -> Load {
        let state = State { phase: Phase::Paused, busy: 0, interval: Duration::ZERO, acknowledged: 0 };
        let gate = Arc::new(Gate { state: Mutex::new(state), changed: Condvar::new() });
        let honest = (0..CLIENTS).map(|number| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || behave(&gate, server, Rng::new(seed ^ number << 40)))
        });
        let attacks: [Attack; 2] = [garbage, reset];
        let hostile = attacks.into_iter().zip(CLIENTS..).map(|(attack, number)| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || misbehave(&gate, server, attack, Rng::new(seed ^ number << 40)))
        });
        let threads = honest.chain(hostile).collect();
        Load { gate, threads }
    }

    /// So many messages a second from all of them.
    pub(super) fn pace(&self, rate: f64) {
        self.gate.lock().interval = Duration::from_secs_f64(CLIENTS as f64 / rate);
    }

    pub(super) fn resume(&self) {
        self.gate.lock().phase = Phase::Sending;
        self.gate.changed.notify_all();
    }

    /// Nobody is in the middle of anything afterwards.
    pub(super) fn pause(&self) {
        let mut state = self.gate.lock();
        state.phase = Phase::Paused;
        let busy = |state: &mut State| state.busy > 0;
        drop(self.gate.changed.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.gate.lock().acknowledged
    }

    /// Everybody goes; how many messages were acknowledged.
    pub(super) fn stop(self) -> Result<u64> {
        self.gate.lock().phase = Phase::Over;
        self.gate.changed.notify_all();
        for thread in self.threads {
            thread.join().ok().context("a client panicked")?;
        }
        Ok(self.gate.lock().acknowledged)
    }
}

fn behave(gate: &Gate, server: SocketAddr, mut rng: Rng) {
    let mut client: Option<(Client, u64)> = None;
    let mut next = Instant::now();
    while let Some(interval) = gate.enter() {
        let (connection, sent) = match client.take().filter(|(_, sent)| *sent < MESSAGES_PER_CONNECTION) {
            Some((connection, sent)) => (Ok(connection), sent),
            None => (Client::greet(server), 0),
        };
        // Who is turned away tries again; how often is the engine's affair, that nothing is lost is ours.
        let acknowledged = connection.is_ok_and(|mut connection| {
            let done = send(&mut connection, &mut rng);
            client = done.then_some((connection, sent + 1));
            done
        });
        gate.leave(acknowledged);
        // Behind the pace it is not caught up with: the load would come in waves.
        next = (next + interval).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn send(connection: &mut Client, rng: &mut Rng) -> bool {
    let sender = if rng.chance(1, DOOMED_OF) { DOOMED } else { "sender@source.test" };
    let count = if rng.chance(1, 8) { 1 + rng.below(10) } else { 1 };
    let recipients: Vec<String> =
        (0..count).map(|_| format!("u{}@site{}.test", rng.next_u64(), rng.below(50))).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    // Now and then one that is too large for the log itself.
    let size = if rng.chance(1, 500) { 600 << 10 } else { rng.below(8 << 10) };
    let mut content = b"Subject: soak\r\n\r\n".to_vec();
    while (content.len() as u64) < size {
        content.extend(format!("{:016x}\r\n", rng.next_u64()).into_bytes());
    }
    connection.send(sender, &recipients, &content).is_ok()
}

fn misbehave(gate: &Gate, server: SocketAddr, attack: Attack, mut rng: Rng) {
    let never = std::sync::atomic::AtomicBool::new(false);
    while gate.enter().is_some() {
        // To be thrown out is what it is here for.
        let _ = attack(server, &mut rng, &never);
        gate.leave(false);
        thread::sleep(ATTACK_EVERY);
    }
}
