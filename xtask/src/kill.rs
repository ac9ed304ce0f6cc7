//! `cargo xtask kill`: `kill -9` at random instants under load, again and again.
//!
//! Promises: four clients send without pause while the engine is killed and started again; in the end
//! every acknowledged message has arrived for every recipient, whole, unless it was of the one sender
//! whose mail the operator deletes; one that arrived twice was in flight at a kill, and is counted. An
//! operator flushes, holds, releases, requeues and deletes meanwhile, and is cut off by kills as well. The
//! same seed gives the same messages and the same pauses; the
//! command that replays a failure is its last line.
//!
//! Refuses: a power cut. What the operating system was told is not lost with a process; the tests of
//! the spool cut there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mail::Rng;
use testkit::engine::Setup;
use testkit::plain::{Client, Received, Refusal, Sink};

use crate::program::{self, Workplace, wait_until_empty};

/// How many clients send at the same time.
const CLIENTS: u64 = 4;
/// The longest time between the engine's start and its end, in milliseconds.
const LIFE_MS_MAX: u64 = 1500;
/// Whose mail the operator deletes.
const DOOMED: &str = "doomed@source.test";
/// One of so many messages is from there.
const DOOMED_OF: u64 = 16;
/// How long after the next hop's last word a delivery may still be unrecorded: one commit of 10 ms, and
/// what a busy machine adds to it.
const COMMIT_WINDOW: Duration = Duration::from_millis(1000);
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
    let program = program::build(root)?;
    Workplace::run("kill", |place| kills(&program, place, rounds, seed))
        .with_context(|| format!("replay it with: cargo xtask kill --rounds {rounds} --seed {seed}"))
}

fn kills(program: &Path, place: &Workplace, rounds: u32, seed: u64) -> Result<()> {
    let sink = Sink::start()?;
    // Mail that is deferred until the end, so that state records are under the knife as well.
    sink.refuse(vec![Refusal { at: "RCPT TO:<later-".into(), reply: "450 4.2.1 not yet".into() }]);
    let setup = Setup::new(program, place.folder("engine", 0o755)?)
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
    let killed = kill_again_and_again(&setup, &shared, rounds, &mut Rng::new(seed));
    shared.change(|state| state.finished = true);
    for client in clients {
        client.join().ok().context("a client panicked")?;
    }
    let kills = killed?;
    sink.refuse(Vec::new());
    let engine = setup.start()?;
    // Whether anything is on hold is as random as the rest; 1 says that nothing is.
    engine.ask(&["queue", "release", "--queue", "hold"])?;
    wait_until_empty(&engine, PATIENCE)?;
    engine.stop()?;
    let state = shared.lock();
    let verdict = judge(&state, &sink.received(), &kills, seed)?;
    println!(
        "kill: {rounds} kills, seed {seed}: {} acknowledged, all that nobody deleted arrived; {verdict}",
        state.acknowledged.len()
    );
    Ok(())
}

/// The instants at which the engine was killed.
fn kill_again_and_again(setup: &Setup, shared: &Shared, rounds: u32, rng: &mut Rng) -> Result<Vec<Instant>> {
    let mut kills = Vec::new();
    for round in 0..rounds {
        let engine = setup.start().with_context(|| format!("start {round}"))?;
        shared.change(|state| state.server = Some(engine.smtp()));
        // The random instants are the point of this test, not a wait for something.
        thread::sleep(Duration::from_millis(rng.below(LIFE_MS_MAX / 2)));
        let mut operator = operate(setup, rng)?;
        thread::sleep(Duration::from_millis(rng.below(LIFE_MS_MAX / 2)));
        kills.push(Instant::now());
        engine.kill()?;
        shared.change(|state| state.server = None);
        operator.wait()?;
    }
    Ok(kills)
}

/// Begins one command of an operator and does not wait for it: the kill may come first.
fn operate(setup: &Setup, rng: &mut Rng) -> Result<Child> {
    const COMMANDS: [&[&str]; 5] = [
        &["flush", "--all"],
        &["queue", "hold", "--limit", "20"],
        &["queue", "release", "--queue", "hold"],
        &["queue", "requeue", "--limit", "20"],
        &["queue", "delete", "--sender", DOOMED],
    ];
    let arguments = COMMANDS[rng.below(COMMANDS.len() as u64) as usize];
    let mut command = setup.command(arguments);
    // An engine that is gone by then is told about on standard error; it is meant to be.
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
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

/// What may be said about a run that lost nothing.
struct Verdict {
    repeated: usize,
    /// The longest time between the end of a repeated delivery and the kill that made it repeat.
    longest: Duration,
    unanswered: usize,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict { repeated, longest, unanswered } = self;
        write!(f, "{repeated} deliveries repeated, each in flight at a kill (")?;
        write!(f, "ended at most {} ms before); ", longest.as_millis())?;
        write!(f, "{unanswered} arrived whose sender had no answer")
    }
}

fn judge(state: &State, received: &[Received], kills: &[Instant], seed: u64) -> Result<Verdict> {
    let mut arrivals: BTreeMap<(u64, String), Vec<&Received>> = BTreeMap::new();
    for one in received {
        let number = check_content(one, seed)?;
        for recipient in &one.recipients {
            let recipient = recipient.trim_matches(['<', '>']).to_owned();
            arrivals.entry((number, recipient)).or_default().push(one);
        }
    }
    for number in &state.acknowledged {
        let Message { sender, recipients, .. } = Message::new(*number, seed);
        // What an operator may have deleted need not arrive; it still may.
        for recipient in recipients.into_iter().filter(|_| sender != DOOMED) {
            let arrived = arrivals.contains_key(&(*number, recipient.clone()));
            ensure!(arrived, "message {number} was acknowledged and did not arrive for {recipient}");
        }
    }
    let (mut repeated, mut longest) = (0, Duration::ZERO);
    for ((number, recipient), times) in &arrivals {
        let known = state.acknowledged.contains(number) || state.unanswered.contains(number);
        ensure!(known, "message {number} arrived, nobody sent it");
        for (earlier, later) in times.iter().zip(&times[1..]) {
            repeated += 1;
            // The kill lies between the two, or it is not what made the second one.
            let next_kill = kills.iter().find(|kill| earlier.started <= **kill && **kill <= later.started);
            let unrecorded = next_kill.map(|kill| kill.saturating_duration_since(earlier.ended));
            match unrecorded.filter(|unrecorded| *unrecorded <= COMMIT_WINDOW) {
                Some(unrecorded) => longest = longest.max(unrecorded),
                None => {
                    bail!("message {number} arrived {} times for {recipient}, not by a kill", times.len())
                }
            }
        }
    }
    let arrived: BTreeSet<u64> = arrivals.keys().map(|(number, _)| *number).collect();
    Ok(Verdict { repeated, longest, unanswered: arrived.intersection(&state.unanswered).count() })
}

/// The number of a message that arrived, when its content is what was sent behind the `Received:` header.
fn check_content(received: &Received, seed: u64) -> Result<u64> {
    let text = &received.content;
    let subject = b"\r\nSubject: ";
    let at = text.windows(subject.len()).position(|window| window == subject).context("no Subject")? + 2;
    let digits = text[at + subject.len() - 2..].iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    ensure!(text[at..] == Message::new(number, seed).content, "message {number} arrived, but not whole");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(number: u64, began: Instant, millis: u64) -> Received {
        let Message { recipients, content, .. } = Message::new(number, 1);
        Received {
            mail: "<sender@source.test>".into(),
            recipients,
            content: [&b"Received: by engine\r\n"[..], &content].concat(),
            connection: 1,
            started: began,
            ended: began + Duration::from_millis(millis),
        }
    }

    #[test]
    fn the_judge_finds_loss_damage_and_needless_repetition() {
        let began = Instant::now();
        let state = State { acknowledged: [0, 4].into(), ..State::default() };
        let first = arrival(0, began, 5);
        let second = arrival(4, began, 5);
        let judge = |received: &[Received], kills: &[Instant]| judge(&state, received, kills, 1);
        assert!(judge(&[first.clone(), second.clone()], &[]).is_ok());
        assert!(judge(std::slice::from_ref(&first), &[]).is_err(), "one is lost");
        let mut damaged = second.clone();
        damaged.content.pop();
        assert!(judge(&[first.clone(), damaged], &[]).is_err(), "one is damaged");
        let twice = [first.clone(), second.clone(), arrival(4, began + 4 * COMMIT_WINDOW, 5)];
        assert!(judge(&twice, &[]).is_err(), "repeated without a kill");
        assert!(judge(&twice, &[began + 3 * COMMIT_WINDOW]).is_err(), "repeated long after it was recorded");
        assert!(judge(&twice, &[began + Duration::from_millis(6)]).is_ok_and(|verdict| verdict.repeated > 0));
        assert!(judge(&[first, second, arrival(8, began, 5)], &[]).is_err(), "nobody sent it");
    }
}
