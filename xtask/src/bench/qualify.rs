//! Which setting a peer enters the rounds of a work with.
//!
//! Promises: each peer does a shorter work under each of its settings, in turns, [`TRIES`] times; the one
//! with the best median of the last rate (or, where there is none, of the last figure) enters, and what the
//! others reached is told. Postrider has one setting only, what it is shipped with.
//!
//! Known to be wrong: where two settings are as good as each other, chance chooses.

use anyhow::Result;

use super::measured::{Measured, Unit};
use super::peer::Peer;
use super::report::median;
use super::works::Work;
use crate::interrupt;

/// How often each setting is tried.
const TRIES: usize = 3;
/// How much shorter than a round.
const SHORTER: usize = 5;

/// What the tries of one setting gave.
struct Tried {
    setting: &'static str,
    values: Vec<f64>,
    unit: Unit,
}

/// Who enters the rounds.
pub(crate) struct Qualified {
    /// The peer, set up at its best.
    pub(crate) peer: Box<dyn Peer>,
    /// What was tried.
    pub(crate) told: String,
}

/// The best setting of `peer` for `work` of `messages` messages; `None` where it has no choice.
pub(crate) fn best(work: &Work, peer: &dyn Peer, messages: usize) -> Result<Option<Qualified>> {
    let mut candidates = peer.candidates(work.task());
    if candidates.len() < 2 {
        return Ok(None);
    }
    let messages = messages.div_ceil(SHORTER);
    let mut tried: Vec<Tried> = Vec::new();
    for _ in 0..TRIES {
        for candidate in &candidates {
            let figures = work.measure(&**candidate, messages);
            match figures {
                Ok(figures) => keep(&mut tried, candidate.setting(), decisive(&figures)),
                Err(error) if interrupt::happened() => return Err(error),
                Err(error) => eprintln!("{} with {}: {error:#}", candidate.setting(), peer.name()),
            }
        }
    }
    let told = format!(
        "{}: {} tried its settings with {messages} messages, {TRIES} times each: {}.",
        work.name,
        peer.name(),
        tried.iter().map(Tried::words).collect::<Vec<_>>().join(", ")
    );
    eprintln!("{told}");
    let winner = first_of(&tried).and_then(|name| candidates.iter().position(|one| one.setting() == name));
    Ok(winner.map(|at| Qualified { peer: candidates.swap_remove(at), told }))
}

/// The figure that a setting is judged by.
fn decisive(figures: &[Measured]) -> Option<&Measured> {
    figures.iter().rfind(|one| one.unit == Unit::PerSecond).or(figures.last())
}

fn keep(tried: &mut Vec<Tried>, setting: &'static str, one: Option<&Measured>) {
    let Some(one) = one else { return };
    match tried.iter_mut().find(|before| before.setting == setting) {
        Some(before) => before.values.push(one.value),
        None => tried.push(Tried { setting, values: vec![one.value], unit: one.unit }),
    }
}

impl Tried {
    fn median(&self) -> f64 {
        median(self.values.clone())
    }

    fn words(&self) -> String {
        format!("{} {:.*} {}", self.setting, self.unit.digits(), self.median(), self.unit.symbol())
    }
}

/// The setting with the best median; the earliest of equals.
fn first_of(tried: &[Tried]) -> Option<&'static str> {
    let better = |a: &Tried, b: &Tried| {
        if a.unit.more_is_better() { a.median() > b.median() } else { a.median() < b.median() }
    };
    let best = tried.iter().reduce(|best, one| if better(one, best) { one } else { best })?;
    Some(best.setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(unit: Unit, lists: [&[f64]; 3]) -> Option<&'static str> {
        let mut tried = Vec::new();
        for (setting, values) in ["a", "b", "c"].into_iter().zip(lists) {
            for value in values {
                keep(&mut tried, setting, Some(&Measured::plain("f", *value, unit)));
            }
        }
        first_of(&tried)
    }

    #[test]
    fn the_best_median_wins() {
        let lists: [&[f64]; 3] = [&[1.0, 9.0, 1.0], &[3.0, 2.0, 3.0], &[3.0]];
        assert_eq!(tried(Unit::PerSecond, lists), Some("b"), "one good try is not enough");
        assert_eq!(tried(Unit::Calls, lists), Some("a"));
        assert_eq!(tried(Unit::Calls, [&[], &[], &[2.0]]), Some("c"), "what failed does not win");
    }

    #[test]
    fn the_last_rate_decides() {
        let one = |value, unit| Measured::plain("f", value, unit);
        let (time, rate, share) =
            (one(1.0, Unit::Milliseconds), one(2.0, Unit::PerSecond), one(3.0, Unit::Share));
        let decided = |figures: &[Measured]| decisive(figures).map(|one| one.value);
        assert_eq!(decided(&[time, rate, share]), Some(2.0));
        assert_eq!(decided(&[time, share]), Some(3.0));
        assert_eq!(decided(&[]), None);
    }
}
