//! What Postrider has set itself: a bound that must hold and one that is aimed at, for each figure.
//!
//! Promises: every line is judged by medians of the same run, with nothing rounded in its favour. Refuses:
//! bounds for peers.

use super::measured::Unit;

/// How a figure is compared with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// How many times as good as Postfix.
    TimesPostfix,
    /// The part of what the load tools do without anybody in between.
    OfCeiling,
    /// Processor time of Postfix for a message over ours.
    ProcessorOfPostfix,
    /// The figure itself, which may not be worse.
    Itself,
}

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirement {
    /// Of which figure.
    pub(crate) figure: &'static str,
    /// Compared how.
    pub(crate) measure: Measure,
    /// What must hold, where anything must.
    pub(crate) must: Option<f64>,
    /// What is aimed at, where it is.
    pub(crate) aim: Option<f64>,
}

use Measure::{Itself, OfCeiling, ProcessorOfPostfix, TimesPostfix};

const fn both(figure: &'static str, measure: Measure, must: f64, aim: f64) -> Requirement {
    Requirement { figure, measure, must: Some(must), aim: Some(aim) }
}

/// All of them.
pub(crate) const REQUIREMENTS: &[Requirement] = &[
    both("accept, 50 connections", TimesPostfix, 6.0, 10.0),
    both("accept, 50 connections", OfCeiling, 0.5, 0.8),
    Requirement { figure: "accept, 1 connection", measure: TimesPostfix, must: Some(1.6), aim: None },
    Requirement { figure: "accept, 1 connection", measure: OfCeiling, must: None, aim: Some(0.9) },
    both("accept and deliver, 10 connections", TimesPostfix, 6.0, 10.0),
    both("accept and deliver, 50 connections", TimesPostfix, 6.0, 10.0),
    both("50 recipients each, recipients", TimesPostfix, 4.0, 8.0),
    both("drain a backlog over 1000 sites", TimesPostfix, 5.0, 8.0),
    both("accept and deliver, 10 connections", ProcessorOfPostfix, 6.0, 12.0),
    both("accept and deliver, 50 connections", ProcessorOfPostfix, 6.0, 12.0),
    both("system calls, accept and deliver", Itself, 80.0, 40.0),
    both("small mail behind a list, last", TimesPostfix, 1.0, 2.0),
    both("share of the nine beside a black hole", Itself, 0.95, 0.99),
    both("listing of the backlog, first line", Itself, 50.0, 10.0),
    both("listing of the backlog, whole", Itself, 500.0, 200.0),
];

/// What became of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What must hold does not.
    Missed,
    /// It holds; the aim is not reached.
    Passed,
    /// The aim is reached.
    Aimed,
}

impl Verdict {
    /// As in the table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Missed => "MISSED",
            Verdict::Passed => "pass",
            Verdict::Aimed => "pass, aim",
        }
    }
}

impl Requirement {
    /// Judges `value`, which is in `unit` where the figure itself is compared.
    pub(crate) fn judge(&self, value: f64, unit: Unit) -> Verdict {
        let more = self.measure != Itself || unit.more_is_better();
        let holds = |bound: f64| if more { value >= bound } else { value <= bound };
        match (self.must.is_none_or(holds), self.aim.is_some_and(holds)) {
            (false, _) => Verdict::Missed,
            (true, false) => Verdict::Passed,
            (true, true) => Verdict::Aimed,
        }
    }

    /// Compared with what, in words.
    pub(crate) fn words(&self, unit: Unit) -> String {
        match self.measure {
            TimesPostfix => "x postfix".to_owned(),
            OfCeiling => "of ceiling".to_owned(),
            ProcessorOfPostfix => "x less CPU".to_owned(),
            Itself => unit.symbol().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_on_the_right_side() {
        let judged = |measure, must, aim, value, unit| {
            Requirement { figure: "f", measure, must, aim }.judge(value, unit)
        };
        for (value, verdict) in [(5.99, Verdict::Missed), (6.0, Verdict::Passed), (10.0, Verdict::Aimed)] {
            let (must, aim) = (Some(6.0), Some(10.0));
            assert_eq!(
                judged(TimesPostfix, must, aim, value, Unit::Seconds),
                verdict,
                "a ratio is never turned"
            );
            assert_eq!(judged(Itself, must, aim, value, Unit::PerSecond), verdict);
        }
        for (value, verdict) in [(80.1, Verdict::Missed), (80.0, Verdict::Passed), (40.0, Verdict::Aimed)] {
            assert_eq!(judged(Itself, Some(80.0), Some(40.0), value, Unit::Calls), verdict);
        }
        assert_eq!(judged(OfCeiling, None, Some(0.9), 0.1, Unit::PerSecond), Verdict::Passed);
        assert_eq!(judged(TimesPostfix, Some(1.6), None, 9.0, Unit::PerSecond), Verdict::Passed);
    }
}
