//! `cargo xtask kill`: `kill -9` at random instants under load, again and again.
//!
//! Promises: four clients send without pause while the engine is killed and started again: in full swing, in
//! the middle of its start, in the middle of a stop; now and then it may stop in peace. In the end every
//! acknowledged message has arrived for every recipient, whole, unless it was of the one sender whose mail
//! the operator deletes; one that arrived twice was in flight at a kill, and is counted. An operator flushes,
//! holds, releases, requeues and deletes meanwhile, and is cut off by kills as well; what is done is counted,
//! so that nobody believes it was. The same seed gives the same messages and the same pauses; the command
//! that replays a failure is its last line.
//!
//! Where the machine allows it, the disk loses its power with the engine, see [`power`]. Elsewhere this
//! refuses power cuts: what the operating system was told is not lost with a process; the tests of the spool
//! cut there.

mod judge;
mod power;
mod pulse;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mail::Rng;
use testkit::engine::{Engine, Setup, Signal};
use testkit::plain::{Client, Refusal, Sink};

use crate::program::{self, Workplace, wait_until_empty};
use judge::{Kill, judge};
use power::Power;
use pulse::Pulse;

/// How many clients send at the same time.
const CLIENTS: u64 = 4;
/// The longest time between the engine's start and its end, in milliseconds.
const LIFE_MS_MAX: u64 = 1500;
/// Whose mail the operator deletes.
const DOOMED: &str = "doomed@source.test";
/// One of so many messages is from there.
const DOOMED_OF: u64 = 16;
/// The longest time between a beginning and a kill that is meant to come in the middle, in milliseconds.
const MIDDLE_MS_MAX: u64 = 60;
/// How long the engine may take to deliver what is left at the end.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the clients and the one who kills share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Where the engine listens now; `None` while there is none.
    server: Option<SocketAddr>,
    /// Messages that were acknowledged.
    acknowledged: BTreeSet<u64>,
    /// Messages whose content was sent and whose answer never came.
    unanswered: BTreeSet<u64>,
    finished: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The engine's address, waiting for one when there is none; `None` at the end.
    fn server(&self) -> Option<SocketAddr> {
        let mut state = self.lock();
        while !state.finished {
            if let Some(server) = state.server {
                return Some(server);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

/// Kills `rounds` times; everything random follows from `seed`.
pub(crate) fn run(root: &Path, rounds: u32, seed: u64) -> Result<()> {
    run_program(&program::build(root)?, rounds, seed)
        .with_context(|| format!("replay it with: cargo xtask kill --rounds {rounds} --seed {seed}"))
}

/// The same with a program that is there.
pub(crate) fn run_program(program: &Path, rounds: u32, seed: u64) -> Result<()> {
    Workplace::run("kill", |place| kills(program, place, rounds, seed, None))
}

/// Whether this machine allows [`run_without_power`]; why not, if not.
pub(crate) fn power_can_be_cut() -> Result<()> {
    Power::tried()
}

/// The same, but the disk loses its power with the engine: what was not synced is lost.
pub(crate) fn run_without_power(program: &Path, rounds: u32, seed: u64) -> Result<()> {
    Workplace::run("blocks", |place| {
        let power = Power::on(&place.folder("device", 0o755)?)?;
        kills(program, place, rounds, seed, Some(&power))
    })
}

fn kills(program: &Path, place: &Workplace, rounds: u32, seed: u64, power: Option<&Power>) -> Result<()> {
    let sink = Sink::start()?;
    // Mail that is deferred until the end, so that state records are under the knife as well.
    sink.refuse(vec![Refusal { at: "RCPT TO:<later-".into(), reply: "450 4.2.1 not yet".into() }]);
    let folder = place.folder("engine", 0o755)?;
    let disk = power.map_or(folder.as_path(), Power::folder);
    let setup = Setup::new(program, &folder)
        .with("spool.directory", &format!("{:?}", disk.join("spool").display().to_string()))
        .with("route.relayhost", &format!("{:?}", sink.next_hop()))
        // Small pieces, so that sealing, recycling and compaction are under the knife too.
        .with("spool.segment_size", "\"1MiB\"")
        .with("qmgr.minimal_backoff_time", "\"1s\"")
        .with("qmgr.maximal_backoff_time", "\"2s\"");
    let shared = Arc::new(Shared::default());
    let clients = (0..CLIENTS).map(|client| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || send_until_finished(&shared, client, seed))
    });
    let clients: Vec<_> = clients.collect();
    let pulse = Pulse::start(&disk.join("beat"))?;
    let lives = Lives { folder: place.folder("lives", 0o755)?, count: 0 };
    let killer = Killer { pulse: &pulse, power, lives, kills: Vec::new() };
    let killed = kill_again_and_again(&setup, &shared, rounds, &mut Rng::new(seed), killer);
    shared.change(|state| state.finished = true);
    for client in clients {
        client.join().ok().context("a client panicked")?;
    }
    let (kills, mut lives, operator) = killed?;
    sink.refuse(Vec::new());
    let engine = setup.start()?;
    // Whether anything is on hold is as random as the rest; 1 says that nothing is.
    engine.ask(&["queue", "release", "--queue", "hold"])?;
    wait_until_empty(&engine, PATIENCE)?;
    lives.keep(&engine.stop()?.1)?;
    let state = shared.lock();
    let verdict = judge(&state, &sink.received(), &kills, seed)?;
    println!(
        "{}: {} kills in {rounds} rounds, seed {seed}: {} acknowledged, all that nobody deleted arrived; \
         {verdict}; {operator}",
        if power.is_some() { "blocks" } else { "kill" },
        kills.len(),
        state.acknowledged.len()
    );
    Ok(())
}

/// How one life of the engine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9` in full swing.
    Swing,
    /// `kill -9` while it reads its log.
    Start,
    /// `kill -9` while it winds down.
    Stop,
    /// It stops as it likes.
    Peace,
}

impl End {
    fn any(rng: &mut Rng) -> End {
        match rng.below(10) {
            0 => End::Start,
            1 => End::Stop,
            2 => End::Peace,
            _ => End::Swing,
        }
    }
}

/// What each engine printed, in files that are named by its number: how a failure is understood.
struct Lives {
    folder: PathBuf,
    count: u32,
}

impl Lives {
    fn keep(&mut self, printed: &str) -> Result<()> {
        self.count += 1;
        Ok(std::fs::write(self.folder.join(format!("{:03}.log", self.count)), printed)?)
    }
}

/// Who kills, and what was killed when.
struct Killer<'p> {
    pulse: &'p Pulse,
    power: Option<&'p Power>,
    lives: Lives,
    kills: Vec<Kill>,
}

impl Killer<'_> {
    fn kill(&mut self, engine: Engine) -> Result<()> {
        let Killer { pulse, power, lives, kills } = self;
        let mut printed = String::new();
        kills.push(Kill::by(pulse, || {
            if let Some(power) = power {
                // Without its disk it may not deliver anything either: that could no longer be recorded.
                engine.signal(Signal::STOP);
                power.cut()?;
            }
            printed = engine.kill()?;
            Ok(())
        })?);
        // Not before: the kill is over when the engine is gone, and not when this is written.
        lives.keep(&printed)?;
        power.map_or(Ok(()), Power::back)
    }
}

/// The kills, and what the operator did meanwhile.
fn kill_again_and_again(
    setup: &Setup,
    shared: &Shared,
    rounds: u32,
    rng: &mut Rng,
    mut killer: Killer<'_>,
) -> Result<(Vec<Kill>, Lives, Operator)> {
    let mut operator = Operator::default();
    let middle = |rng: &mut Rng| thread::sleep(Duration::from_millis(rng.below(MIDDLE_MS_MAX)));
    for round in 0..rounds {
        let end = End::any(rng);
        if end == End::Start {
            let engine = setup.spawn().with_context(|| format!("start {round}"))?;
            middle(rng);
            killer.kill(engine)?;
            continue;
        }
        let engine = setup.start().with_context(|| format!("start {round}"))?;
        shared.change(|state| state.server = Some(engine.smtp()));
        // The random instants are the point of this test, not a wait for something.
        for _ in 0..2 {
            operator.begin(setup, rng)?;
            thread::sleep(Duration::from_millis(rng.below(LIFE_MS_MAX / 2)));
        }
        operator.begin(setup, rng)?;
        if end == End::Stop {
            engine.signal(Signal::TERM);
        }
        if end != End::Swing {
            middle(rng);
        }
        if end == End::Peace {
            let (status, printed) = engine.stop()?;
            ensure!(status.success(), "it stopped with {status}:\n{printed}");
            killer.lives.keep(&printed)?;
        } else {
            killer.kill(engine)?;
        }
        shared.change(|state| state.server = None);
        operator.end()?;
    }
    Ok((killer.kills, killer.lives, operator))
}

/// What an operator does, over and over.
const COMMANDS: [&[&str]; 5] = [
    &["flush", "--all"],
    &["queue", "hold", "--all", "--limit", "20"],
    &["queue", "release", "--queue", "hold"],
    &["queue", "requeue", "--all", "--limit", "20"],
    &["queue", "delete", "--sender", DOOMED],
];

/// Who begins commands and does not wait for them: the kill may come first.
#[derive(Default)]
struct Operator {
    running: Vec<(usize, Child)>,
    /// How often each command was carried out on something.
    done: [u32; COMMANDS.len()],
}

impl Operator {
    fn begin(&mut self, setup: &Setup, rng: &mut Rng) -> Result<()> {
        let which = rng.below(COMMANDS.len() as u64) as usize;
        let mut command = setup.command(COMMANDS[which]);
        self.running.push((which, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?));
        Ok(())
    }

    /// The engine is gone; so must be everybody who asked it.
    fn end(&mut self) -> Result<()> {
        for (which, child) in self.running.drain(..) {
            let output = child.wait_with_output()?;
            self.done[which] += u32::from(output.status.success());
            // 1: nothing matched; 69 and 74: the engine was gone, or went meanwhile. Anything else is a
            // command that was never carried out at all.
            let expected = matches!(output.status.code(), Some(0 | 1 | 69 | 74));
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(expected, "{:?} ended with {}: {said}", COMMANDS[which], output.status);
        }
        Ok(())
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [flush, hold, release, requeue, delete] = self.done;
        write!(f, "the operator flushed {flush}, held {hold}, released {release}, ")?;
        write!(f, "requeued {requeue} and deleted {delete} times")
    }
}

fn send_until_finished(shared: &Shared, client: u64, seed: u64) {
    let mut number = client;
    while let Some(server) = shared.server() {
        // The engine may be gone by now; the next one will be waited for.
        let Ok(mut connection) = Client::greet(server) else {
            thread::yield_now();
            continue;
        };
        while !shared.lock().finished && send_one(shared, &mut connection, number, seed) {
            number += CLIENTS;
        }
        number += CLIENTS;
    }
}

/// Sends message `number`; false when the connection is of no use any more.
fn send_one(shared: &Shared, connection: &mut Client, number: u64, seed: u64) -> bool {
    let Message { sender, recipients, content } = Message::new(number, seed);
    shared.change(|state| {
        state.unanswered.insert(number);
    });
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let answered = connection.send(sender, &recipients, &content).is_ok();
    if answered {
        shared.change(|state| {
            state.unanswered.remove(&number);
            state.acknowledged.insert(number);
        });
    }
    answered
}

/// What message `number` is, to its sender and to the judge alike.
struct Message {
    sender: &'static str,
    recipients: Vec<String>,
    content: Vec<u8>,
}

impl Message {
    fn new(number: u64, seed: u64) -> Message {
        let mut rng = Rng::new(seed ^ (number << 20));
        let doomed = number % DOOMED_OF == DOOMED_OF - 1;
        let sender = if doomed { DOOMED } else { "sender@source.test" };
        let mut recipients = vec![format!("now-{number}@site{}.test", rng.below(16))];
        if doomed || rng.chance(1, 4) {
            recipients.push(format!("later-{number}@site{}.test", rng.below(16)));
        }
        // Now and then one that is too large for the log itself.
        let size = if rng.chance(1, 100) { 600 << 10 } else { rng.below(16 << 10) };
        let mut content = format!("Subject: {number}\r\n\r\n").into_bytes();
        while (content.len() as u64) < size {
            content.extend(format!("{:016x}\r\n", rng.next_u64()).into_bytes());
        }
        Message { sender, recipients, content }
    }
}
