//! One figure of one round, and what it counts.
//!
//! Refuses: comparing. `report.rs` does that over all rounds.

use std::time::Duration;

use super::usage::Cost;

/// One figure of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// What was measured, in words.
    pub(crate) figure: &'static str,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: Unit,
    /// Processor time for each message, in microseconds; none where nobody was charged.
    pub(crate) processor_us: Option<f64>,
    /// Memory at its highest, in KiB.
    pub(crate) peak_kib: Option<u64>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Messages or recipients in a second.
    PerSecond,
    /// Time.
    Milliseconds,
    /// Time that is long.
    Seconds,
    /// System calls for each message.
    Calls,
    /// Of one.
    Share,
}

impl Unit {
    /// As in the table.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Calls => "calls",
            Unit::Share => "of 1",
        }
    }

    /// How many digits of it mean anything.
    pub(crate) fn digits(self) -> usize {
        match self {
            Unit::Share => 3,
            Unit::PerSecond | Unit::Milliseconds | Unit::Seconds | Unit::Calls => 1,
        }
    }

    /// Whether more is better.
    pub(crate) fn more_is_better(self) -> bool {
        match self {
            Unit::PerSecond | Unit::Share => true,
            Unit::Milliseconds | Unit::Seconds | Unit::Calls => false,
        }
    }
}

impl Measured {
    /// A figure that charges nobody.
    pub(crate) fn plain(figure: &'static str, value: f64, unit: Unit) -> Measured {
        Measured { figure, value, unit, processor_us: None, peak_kib: None }
    }

    /// `count` of something in `took`, done by `messages` messages at this cost.
    pub(crate) fn rate(
        figure: &'static str,
        (count, messages): (usize, usize),
        took: Duration,
        cost: Option<Cost>,
    ) -> Measured {
        Measured {
            processor_us: cost.map(|cost| cost.processor.as_secs_f64() * 1e6 / messages as f64),
            peak_kib: cost.map(|cost| cost.peak_kib),
            ..Measured::plain(figure, count as f64 / took.as_secs_f64(), Unit::PerSecond)
        }
    }

    /// How long something took.
    pub(crate) fn milliseconds(figure: &'static str, took: Duration) -> Measured {
        Measured::plain(figure, took.as_secs_f64() * 1e3, Unit::Milliseconds)
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.unit.digits();
        write!(f, "{:<42} {:>9.digits$} {}", self.figure, self.value, self.unit.symbol())
    }
}
