//! The words of `do = "…"`: one action a line of an operator's day.
//!
//! Refuses: unknown words, missing or superfluous arguments, each with its place in the text.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fault::Fault;
use crate::scenario::{Act, Answer};

const WORDS: [&str; 17] = [
    "trigger",
    "flush",
    "flush-message",
    "flush-refresh",
    "flush-purge",
    "hold",
    "release",
    "requeue",
    "delete",
    "expire",
    "expire-release",
    "restart",
    "crash",
    "damage",
    "set-answers",
    "set-limit",
    "set-reports",
];

/// Words of one action, each with its offset in the scenario.
struct Words<'t> {
    words: Vec<(usize, &'t str)>,
    taken: usize,
    end: usize,
}

impl<'t> Words<'t> {
    fn of(text: &'t str, at: usize) -> Words<'t> {
        let offset = |word: &str| at + (word.as_ptr() as usize - text.as_ptr() as usize);
        let words = text.split_whitespace().map(|word| (offset(word), word)).collect();
        Words { words, taken: 0, end: at + text.len() }
    }

    fn next(&mut self, wanted: &str) -> Result<(usize, &'t str), Fault> {
        let word = self.words.get(self.taken).copied();
        self.taken += 1;
        word.ok_or_else(|| Fault::new(self.end, format!("{wanted} is missing here")))
    }

    fn rest(&mut self) -> Vec<(usize, &'t str)> {
        let rest = self.words.split_off(self.taken.min(self.words.len()));
        self.taken = self.words.len();
        rest
    }

    fn finish(self) -> Result<(), Fault> {
        match self.words.get(self.taken) {
            Some((at, word)) => Err(Fault::new(*at, format!("nothing may follow here, but {word:?} does"))),
            None => Ok(()),
        }
    }
}

/// Reads one action. `at` is the offset of the first character of `text` in the scenario.
pub(crate) fn parse(text: &str, at: usize, labels: &BTreeSet<Arc<str>>) -> Result<Act, Fault> {
    let mut words = Words::of(text, at);
    let (at, verb) = words.next("an action")?;
    let act = match verb {
        "trigger" => Act::Trigger(letters(words.next("a word of letters out of D, I, A, F, W")?)?),
        "flush" => Act::Flush(words.next("a site")?.1.into()),
        "flush-refresh" => Act::FlushRefresh,
        "flush-purge" => Act::FlushPurge,
        "restart" => Act::Restart,
        "crash" => Act::Crash,
        "set-answers" => Act::SetAnswers(site(words.next("a site")?)?, answers(&mut words)?),
        "set-limit" => {
            let name = words.next("the name of a parameter")?.1.to_owned();
            Act::SetLimit(name, words.next("a value")?.1.to_owned())
        }
        "set-reports" => Act::SetReports(match words.next("ok or fail")? {
            (_, "ok") => true,
            (_, "fail") => false,
            (at, other) => return Err(Fault::unknown(at, "state of reports", other, ["ok", "fail"])),
        }),
        "flush-message" => Act::FlushMessage(label(&mut words, labels)?),
        "hold" => Act::Hold(label(&mut words, labels)?),
        "release" => Act::Release(label(&mut words, labels)?),
        "requeue" => Act::Requeue(label(&mut words, labels)?),
        "delete" => Act::Delete(label(&mut words, labels)?),
        "expire" => Act::Expire(label(&mut words, labels)?),
        "expire-release" => Act::ExpireRelease(label(&mut words, labels)?),
        "damage" => Act::Damage(label(&mut words, labels)?),
        _ => return Err(Fault::unknown(at, "action", verb, WORDS)),
    };
    words.finish()?;
    Ok(act)
}

/// Trigger bytes. Letters without a meaning are let through: the engine has to ignore them.
fn letters((at, word): (usize, &str)) -> Result<Vec<u8>, Fault> {
    if word.is_ascii() {
        Ok(word.as_bytes().to_vec())
    } else {
        Err(Fault::new(at, format!("{word:?} is not a word of letters out of D, I, A, F, W")))
    }
}

fn site((at, word): (usize, &str)) -> Result<Arc<str>, Fault> {
    mail::site_of_domain(word).map(Arc::from).map_err(|error| Fault::new(at, format!("{word:?}: {error}")))
}

fn label(words: &mut Words<'_>, labels: &BTreeSet<Arc<str>>) -> Result<Arc<str>, Fault> {
    let (at, word) = words.next("the name of a message")?;
    labels
        .get(word)
        .cloned()
        .ok_or_else(|| Fault::unknown(at, "message", word, labels.iter().map(|name| &**name)))
}

fn answers(words: &mut Words<'_>) -> Result<Vec<Answer>, Fault> {
    let first = words.next("an answer")?;
    std::iter::once(first).chain(words.rest()).map(|(at, word)| answer(at, word)).collect()
}

/// Reads one answer of a site.
pub(crate) fn answer(at: usize, word: &str) -> Result<Answer, Fault> {
    Answer::named(word).ok_or_else(|| Fault::unknown(at, "answer", word, Answer::NAMES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BTreeSet<Arc<str>> {
        ["A", "mailing"].map(Arc::from).into()
    }

    #[test]
    fn reads_every_word() {
        for (text, act) in [
            ("trigger FADI", Act::Trigger(b"FADI".to_vec())),
            ("hold A", Act::Hold("A".into())),
            (
                " set-answers X.test. ok site ",
                Act::SetAnswers("x.test".into(), vec![Answer::Ok, Answer::Site]),
            ),
            ("set-reports fail", Act::SetReports(false)),
            ("crash", Act::Crash),
        ] {
            assert_eq!(parse(text, 0, &labels()), Ok(act), "{text:?}");
        }
    }

    #[test]
    fn refuses_with_a_place() {
        for (text, at, nearest) in [
            ("", 10, None),
            ("hold", 14, None),
            ("hold mailling", 15, Some("mailing")),
            ("reles A", 10, Some("release")),
            ("crash now", 16, None),
            ("set-answers x.test okk", 29, Some("ok")),
            ("set-answers x.test", 28, None),
        ] {
            let fault = parse(text, 10, &labels()).expect_err(text);
            assert_eq!((fault.at, fault.nearest.as_deref()), (at, nearest), "{text:?}: {}", fault.what);
        }
    }
}
