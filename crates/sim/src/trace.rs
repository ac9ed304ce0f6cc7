//! What happened, in order: the trace of a run and the two ways to print it.
//!
//! Promises: one JSON object a line with stable field names and a stable order of fields; the same run
//! prints the same bytes.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use mail::Time;
use serde::{Serialize, Serializer};

use crate::scenario::Answer;

/// Everything that happened in one run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Trace {
    /// In the order in which it happened.
    pub lines: Vec<Line>,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Line {
    /// When; printed in seconds with up to three decimals.
    #[serde(serialize_with = "seconds")]
    pub t: Time,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// A site or a transport.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A destination, by its operator-facing name.
    Site(Arc<str>),
    /// A transport.
    Transport(Arc<str>),
}

/// What was asked to be flushed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flushed {
    /// All mail of a site.
    Site(Arc<str>),
    /// One message.
    Message(Arc<str>),
    /// Everything; always true.
    All(bool),
    /// Whatever has waited long enough; always true.
    Waiting(bool),
}

/// What can happen. Names and fields are those of the scenario format.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[expect(missing_docs, reason = "fields carry the names and meanings of the scenario format")]
pub enum Event {
    /// A message is durable.
    Accepted { message: Arc<str>, recipients: u32 },
    /// A message entered the active queue.
    Active { message: Arc<str>, from: &'static str },
    /// The engine read recipients of a message; `in_memory` counts those of all messages afterwards.
    Read { message: Arc<str>, recipients: usize, in_memory: usize },
    /// An entry was given to an agent.
    Select { n: u64, message: Arc<str>, site: Arc<str>, transport: Arc<str>, recipients: u32 },
    /// A delivery ended; `window` is that of the site afterwards, 0 when it is dead.
    Done { message: Arc<str>, site: Arc<str>, result: Answer, window: u32 },
    /// The concurrency window of a site changed.
    Window { site: Arc<str>, transport: Arc<str>, from: u32, to: u32 },
    /// No more deliveries there until further notice.
    Dead {
        #[serde(flatten)]
        place: Place,
        reason: Arc<str>,
    },
    /// Deliveries are possible again.
    Alive {
        #[serde(flatten)]
        place: Place,
        reason: Arc<str>,
    },
    /// A rate delay began.
    Suspended {
        #[serde(flatten)]
        place: Place,
    },
    /// A rate delay ended.
    Resumed {
        #[serde(flatten)]
        place: Place,
    },
    /// A message went to the deferred queue; `next` is its next attempt.
    Deferred {
        message: Arc<str>,
        #[serde(serialize_with = "seconds")]
        next: Time,
        reason: Arc<str>,
        recipients: Vec<Arc<str>>,
    },
    /// The sender was told of a delay.
    Warned { message: Arc<str>, recipients: Vec<Arc<str>> },
    /// The sender was told of a failure.
    Bounced { message: Arc<str>, recipients: Vec<Arc<str>> },
    /// The lifetime is over and the sender was told.
    Expired { message: Arc<str>, recipients: Vec<Arc<str>> },
    /// Put on hold.
    Held { message: Arc<str> },
    /// Taken off hold.
    Released { message: Arc<str> },
    /// Its record is damaged; kept for inspection.
    Corrupt { message: Arc<str> },
    /// An operator deleted it.
    Deleted { message: Arc<str> },
    /// A scan of a queue ended.
    Scan { queue: &'static str, examined: u64, taken: u64 },
    /// A flush was asked for.
    Flush {
        #[serde(flatten)]
        what: Flushed,
        result: &'static str,
        released: u64,
    },
    /// The message is finished and gone.
    Removed { message: Arc<str> },
    /// An operator or fate did something: its words, and how many messages it changed.
    Operator {
        #[serde(rename = "do")]
        words: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        changed: Option<u64>,
    },
    /// A recipient was decided without asking an agent.
    Decided { message: Arc<str>, recipient: Arc<str>, status: String, text: Arc<str> },
    /// To be resolved anew.
    Requeued { message: Arc<str> },
    /// To be returned to its sender at the next attempt.
    Expiring { message: Arc<str> },
    /// A report to the sender could not be made; it is tried again.
    Unreported { message: Arc<str>, report: &'static str },
    /// Not readable just now.
    Skipped {
        message: Arc<str>,
        #[serde(serialize_with = "seconds")]
        next: Time,
    },
    /// One site fills the active queue.
    Clogged { site: Arc<str>, transport: Arc<str>, entries: u64 },
    /// One step of concurrency feedback, in words.
    Feedback { site: Arc<str>, transport: Arc<str>, text: Arc<str> },
    /// The world came to its end.
    End { messages: Left },
}

/// Messages left, by queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Left {
    /// Accepted, not yet looked at.
    pub incoming: u64,
    /// Being delivered.
    pub active: u64,
    /// Waiting for another try.
    pub deferred: u64,
    /// Frozen by an operator.
    pub hold: u64,
    /// Unreadable.
    pub corrupt: u64,
}

/// Whole seconds as an integer, others with up to three decimals.
fn seconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = time.as_millis();
    if millis % 1000 == 0 {
        serializer.serialize_i64(millis / 1000)
    } else {
        serializer.serialize_f64(millis as f64 / 1000.0)
    }
}

impl Trace {
    /// Prints one JSON object a line.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for line in &self.lines {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// The order in which messages were selected, as [`Order`] prints it.
    pub fn order(&self) -> Order<'_> {
        Order { lines: &self.lines }
    }
}

/// The selection order with runs compressed: `A b A×5 c A×5 d A×9`.
#[derive(Clone, Copy, Debug)]
pub struct Order<'t> {
    lines: &'t [Line],
}

impl fmt::Display for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(&str, u64)> = Vec::new();
        for line in self.lines {
            let Event::Select { message, .. } = &line.event else { continue };
            match runs.last_mut() {
                Some((name, length)) if **name == **message => *length += 1,
                _ => runs.push((message, 1)),
            }
        }
        for (place, (name, length)) in runs.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            match length {
                1 => write!(f, "{gap}{name}")?,
                _ => write!(f, "{gap}{name}×{length}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(millis: i64, event: Event) -> String {
        serde_json::to_string(&Line { t: Time::from_millis(millis), event }).expect("plain data")
    }

    #[test]
    fn fields_have_a_fixed_order_and_seconds_few_digits() {
        let removed = Event::Removed { message: "A".into() };
        assert_eq!(printed(5_000, removed.clone()), r#"{"t":5,"event":"removed","message":"A"}"#);
        assert_eq!(printed(-1_500, removed), r#"{"t":-1.5,"event":"removed","message":"A"}"#);
        let dead = Event::Dead { place: Place::Site("x.test".into()), reason: "refused".into() };
        assert_eq!(printed(1, dead), r#"{"t":0.001,"event":"dead","site":"x.test","reason":"refused"}"#);
        assert_eq!(
            printed(0, Event::End { messages: Left::default() }),
            r#"{"t":0,"event":"end","messages":{"incoming":0,"active":0,"deferred":0,"hold":0,"corrupt":0}}"#
        );
    }

    #[test]
    fn runs_are_compressed() {
        let select = |name: &str| Line {
            t: Time::ZERO,
            event: Event::Select {
                n: 1,
                message: name.into(),
                site: "x".into(),
                transport: "smtp".into(),
                recipients: 1,
            },
        };
        let trace = Trace { lines: ["A", "b", "A", "A"].map(select).into() };
        assert_eq!(trace.order().to_string(), "A b A×2");
        assert_eq!(Trace::default().order().to_string(), "");
    }
}
