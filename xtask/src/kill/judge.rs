//! What became of every message: who lost something, who got something twice and why.
//!
//! Promises: a delivery that was repeated without need is found. The next hop has a message when it has read
//! the final dot; the engine has recorded it one commit after it has read the answer, and a commit begins at
//! most 10 ms later. What comes on top is the machine: threads that wait for a processor, a sync that waits
//! for the disk. That is not guessed but measured, see [`super::pulse`]: a repetition is explained by a kill
//! within 10 ms and [`HANDS`] beats as slow as the slowest of that time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::plain::Received;

use super::pulse::Pulse;
use super::{DOOMED, Message, State};

/// How long the engine gathers changes of state for one commit (`spool.commit_delay`).
const COMMIT_DELAY: Duration = Duration::from_millis(10);
/// Who has to do something between the final dot and the record, each after waiting for a processor or the
/// disk: the next hop says 250, the session reads it, the engine decides, the log is written, and before it
/// perhaps the batch in front.
const HANDS: u32 = 5;

/// One kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Until then the engine ran undisturbed.
    pub(super) at: Instant,
    /// From then on it did nothing any more. What it had sent may be read later still.
    pub(super) gone: Instant,
    /// How long before it a delivery may have ended that is not recorded.
    pub(super) window: Duration,
}

impl Kill {
    /// The engine is killed, by `kill`.
    pub(super) fn by(pulse: &Pulse, kill: impl FnOnce() -> Result<()>) -> Result<Kill> {
        let (at, window) = (Instant::now(), COMMIT_DELAY + HANDS * pulse.slowest());
        kill()?;
        Ok(Kill { at, gone: Instant::now(), window })
    }

    /// Whether it is why the second delivery was made although the first had been.
    fn explains(&self, earlier: &Received, later: &Received) -> bool {
        let unrecorded = self.at.saturating_duration_since(earlier.ended);
        let read_late = earlier.ended.saturating_duration_since(self.gone);
        self.at <= later.started && unrecorded <= self.window && read_late <= self.window
    }
}

/// What may be said about a run that lost nothing.
pub(super) struct Verdict {
    pub(super) repeated: usize,
    /// The longest time between the end of a repeated delivery and the kill that made it repeat, and what
    /// it might have been.
    longest: Duration,
    window: Duration,
    unanswered: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { repeated, longest, window, unanswered } = self;
        write!(f, "{repeated} deliveries repeated, each in flight at a kill")?;
        if *repeated > 0 {
            write!(f, " (ended at most {} ms before one", longest.as_millis())?;
            write!(f, ", where {} ms could be explained)", window.as_millis())?;
        }
        f.write_str("; ")?;
        write!(f, "{unanswered} arrived whose sender had no answer")
    }
}

/// Judges a run by what was sent, what arrived, and when the engine was killed.
pub(super) fn judge(state: &State, received: &[Received], kills: &[Kill], seed: u64) -> Result<Verdict> {
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
    let mut verdict = Verdict { repeated: 0, longest: Duration::ZERO, window: Duration::ZERO, unanswered: 0 };
    for ((number, recipient), times) in &arrivals {
        let known = state.acknowledged.contains(number) || state.unanswered.contains(number);
        ensure!(known, "message {number} arrived, nobody sent it");
        for (earlier, later) in times.iter().zip(&times[1..]) {
            verdict.explain(earlier, later, kills).with_context(|| {
                let id = queue_id(later);
                format!("message {number} ({id}) arrived {} times for {recipient}", times.len())
            })?;
        }
    }
    let arrived: BTreeSet<u64> = arrivals.keys().map(|(number, _)| *number).collect();
    Ok(Verdict { unanswered: arrived.intersection(&state.unanswered).count(), ..verdict })
}

impl Verdict {
    /// The kill comes soon after the first delivery and before the second, or it is not what made the second.
    fn explain(&mut self, earlier: &Received, later: &Received, kills: &[Kill]) -> Result<()> {
        self.repeated += 1;
        let Some(kill) = kills.iter().find(|kill| kill.explains(earlier, later)) else {
            let between = kills.iter().find(|kill| kill.gone >= earlier.ended && kill.at <= later.started);
            let after = |from: Instant, to: Instant| to.saturating_duration_since(from).as_millis();
            let first = between.map_or_else(String::new, |kill| {
                let (unrecorded, window) = (after(earlier.ended, kill.at), kill.window.as_millis());
                let second = after(kill.gone, later.started);
                format!(
                    "; the first one after the end of the first delivery came {unrecorded} ms after it \
                     ({window} ms could be explained), and the second began {second} ms after the engine was \
                     gone"
                )
            });
            bail!("no kill explains it{first}");
        };
        let unrecorded = kill.at.saturating_duration_since(earlier.ended);
        if unrecorded >= self.longest {
            (self.longest, self.window) = (unrecorded, kill.window);
        }
        Ok(())
    }
}

/// Under which queue id the engine had it, to be looked for in its log.
fn queue_id(received: &Received) -> String {
    let text = String::from_utf8_lossy(&received.content);
    let id = text.split_once(" id ").and_then(|(_, rest)| rest.split_whitespace().next());
    id.unwrap_or("without an id").trim_end_matches(';').to_owned()
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
        let window = Duration::from_millis(50);
        let judge = |received: &[Received], kills: &[Instant]| {
            let kills: Vec<Kill> = kills.iter().map(|&at| Kill { at, gone: at, window }).collect();
            judge(&state, received, &kills, 1)
        };
        assert!(judge(&[first.clone(), second.clone()], &[]).is_ok());
        assert!(judge(std::slice::from_ref(&first), &[]).is_err(), "one is lost");
        let mut damaged = second.clone();
        damaged.content.pop();
        assert!(judge(&[first.clone(), damaged], &[]).is_err(), "one is damaged");
        let twice = [first.clone(), second.clone(), arrival(4, began + 4 * window, 5)];
        assert!(judge(&twice, &[]).is_err(), "repeated without a kill");
        assert!(judge(&twice, &[began + 3 * window]).is_err(), "repeated long after it was recorded");
        assert!(judge(&twice, &[began + Duration::from_millis(6)]).is_ok_and(|verdict| verdict.repeated > 0));
        assert!(judge(&[first, second, arrival(8, began, 5)], &[]).is_err(), "nobody sent it");
    }
}
