//! Concurrency feedback: how a destination's window grows with good completions and shrinks with
//! failures of the site (postconf(5), default_destination_concurrency_*_feedback).
//!
//! Promises: the arithmetic of Postfix to the last step, hysteresis of one, half a feedback of
//! tolerance at both ends. Refuses: to know what a failure is; whoever calls has decided that.
//!
//! Known oddity, kept because operators tune by it: with constant feedback 1 the first failure in a row
//! takes two off the window, the following ones take one each.

use std::fmt;
use std::str::FromStr;

/// How much one completion counts: a constant, or a constant shared by the window or its root.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Feedback {
    share: f64,
    by: Divisor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Divisor {
    Nothing,
    Window,
    RootOfWindow,
}

/// The text is no feedback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a number in 0..1, x/y, x/concurrency or x/sqrt_concurrency is expected")]
pub struct FeedbackError;

impl Feedback {
    /// One step for each completion, whatever the window: the default of both feedbacks.
    pub const ONE: Feedback = Feedback { share: 1.0, by: Divisor::Nothing };

    /// The value at this window; a window below 1 counts as 1.
    pub fn value(self, window: u32) -> f64 {
        let window = f64::from(window.max(1));
        match self.by {
            Divisor::Nothing => self.share,
            Divisor::Window => self.share / window,
            Divisor::RootOfWindow => self.share / window.sqrt(),
        }
    }
}

impl FromStr for Feedback {
    type Err = FeedbackError;

    /// Reads `0.5`, `1/4`, `1/concurrency`, `1/sqrt_concurrency`. The constant must lie in 0..=1.
    fn from_str(text: &str) -> Result<Feedback, FeedbackError> {
        let number = |word: &str| word.trim().parse::<f64>().map_err(|_| FeedbackError);
        let (share, by) = match text.split_once('/').map(|(over, under)| (over, under.trim())) {
            None => (number(text)?, Divisor::Nothing),
            Some((over, "concurrency")) => (number(over)?, Divisor::Window),
            Some((over, "sqrt_concurrency")) => (number(over)?, Divisor::RootOfWindow),
            Some((over, under)) => (number(over)? / number(under)?, Divisor::Nothing),
        };
        if (0.0..=1.0).contains(&share) { Ok(Feedback { share, by }) } else { Err(FeedbackError) }
    }
}

/// What is known about a destination that may be delivered to: its window and the evidence since the
/// window last moved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Window {
    /// Deliveries that may run at a time, at least 1.
    pub(crate) size: u32,
    success: f64,
    failure: f64,
    /// Failed deliveries, each as a fraction of the window at that moment.
    pub(crate) failed_cohorts: f64,
}

/// The rules a window moves by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct WindowRules {
    /// Window of a destination nothing is known about; at least 1.
    pub(crate) initial: u32,
    /// Largest window; 0 is no limit.
    pub(crate) limit: u32,
    pub(crate) positive: Feedback,
    pub(crate) negative: Feedback,
    /// Failed cohorts that end a destination's life; 0 is never.
    pub(crate) cohort_limit: f64,
}

impl fmt::Display for Window {
    /// All numbers: the size, then the evidence for the next step up, the next step down and the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { size, success, failure, failed_cohorts } = self;
        write!(f, "{size} (success {success:.2}, failure {failure:.2}, failed cohorts {failed_cohorts:.2})")
    }
}

impl Window {
    /// A fresh window of this size (at least 1).
    pub(crate) fn new(size: u32) -> Window {
        Window { size: size.max(1), success: 0.0, failure: 0.0, failed_cohorts: 0.0 }
    }

    /// After a rate delay: one delivery at a time, and all the evidence there was.
    pub(crate) fn resumed(self) -> Window {
        Window { size: 1, ..self }
    }

    /// A good completion, while `busy` deliveries run, the finished one included.
    pub(crate) fn succeed(&mut self, rules: &WindowRules, busy: u32) {
        self.failed_cohorts = 0.0;
        if (rules.limit != 0 && self.size >= rules.limit) || self.size >= busy.saturating_add(rules.initial) {
            return;
        }
        let step = rules.positive.value(self.size);
        self.success += step;
        // Half a step is given away, because sums of thirds never reach 1 exactly.
        while step > 0.0 && self.success + step / 2.0 >= 1.0 {
            self.size += 1;
            self.success -= 1.0;
            self.failure = 0.0;
        }
        if rules.limit != 0 {
            self.size = self.size.min(rules.limit);
        }
    }

    /// A failure of the site. Returns whether the destination is dead now.
    pub(crate) fn fail(&mut self, rules: &WindowRules) -> bool {
        self.failed_cohorts += 1.0 / f64::from(self.size);
        if rules.cohort_limit > 0.0 && self.failed_cohorts >= rules.cohort_limit {
            return true;
        }
        let step = rules.negative.value(self.size);
        self.failure -= step;
        while self.failure - step / 2.0 < 0.0 {
            self.size = self.size.saturating_sub(1).max(1);
            self.success = 0.0;
            self.failure += 1.0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: WindowRules = WindowRules {
        initial: 5,
        limit: 20,
        positive: Feedback::ONE,
        negative: Feedback::ONE,
        cohort_limit: 1.0,
    };

    fn feedback(text: &str) -> Feedback {
        text.parse().unwrap()
    }

    /// `+` with all slots busy, `s` with one, `-` for a failure; dead is 0.
    fn trace(start: u32, rules: &WindowRules, events: &str) -> Vec<u32> {
        let mut window = Window::new(start);
        let step = |event| match event {
            '+' => {
                window.succeed(rules, window.size);
                window.size
            }
            's' => {
                window.succeed(rules, 1);
                window.size
            }
            _ if window.fail(rules) => 0,
            _ => window.size,
        };
        events.chars().map(step).collect()
    }

    #[test]
    fn golden_traces_of_postfix() {
        let both_by_window = |cohort_limit| WindowRules {
            positive: feedback("1/concurrency"),
            negative: feedback("1/concurrency"),
            cohort_limit,
            ..DEFAULTS
        };
        let limited = |cohort_limit| WindowRules { initial: 1, limit: 1, cohort_limit, ..DEFAULTS };
        let positive = |text| WindowRules { positive: feedback(text), ..DEFAULTS };
        let growth: Vec<u32> = (6..=20).chain([20, 20]).collect();
        let rows: Vec<(u32, WindowRules, String, Vec<u32>)> = vec![
            (5, DEFAULTS, "---".into(), vec![3, 2, 0]),
            (20, DEFAULTS, "-".repeat(13), vec![18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 0]),
            (5, DEFAULTS, "+".repeat(17), growth),
            (5, DEFAULTS, "sss".into(), vec![6, 6, 6]),
            (5, positive("1/sqrt_concurrency"), "+".repeat(12), vec![5, 6, 6, 6, 7, 7, 8, 8, 8, 9, 9, 9]),
            (5, positive("1/4"), "+".repeat(12), vec![5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8]),
            (5, both_by_window(1.0), "-----".into(), vec![4, 4, 4, 3, 0]),
            (
                5,
                both_by_window(10.0),
                "-".repeat(17),
                vec![4, 4, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            ),
            (1, limited(1.0), "-".into(), vec![0]),
            (1, limited(10.0), "-".repeat(10), vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
            (5, DEFAULTS, "-+-+-+".into(), vec![3, 4, 2, 3, 1, 2]),
        ];
        for (start, rules, events, expected) in rows {
            assert_eq!(trace(start, &rules, &events), expected, "{start} {events}");
        }
    }

    #[test]
    fn a_share_of_the_window_grows_once_a_cohort() {
        let rules = WindowRules { positive: feedback("1/concurrency"), ..DEFAULTS };
        let windows = trace(5, &rules, &"+".repeat(18));
        assert_eq!((windows[3], windows[4]), (5, 6));
        assert_eq!((windows[9], windows[10]), (6, 7));
        assert_eq!((windows[16], windows[17]), (7, 8));
    }

    #[test]
    fn without_a_cohort_limit_nothing_dies() {
        let rules = WindowRules { cohort_limit: 0.0, ..DEFAULTS };
        assert_eq!(trace(5, &rules, &"-".repeat(50)).last(), Some(&1));
    }

    #[test]
    fn refuses_what_is_no_feedback() {
        for text in ["", "2", "-1", "1/0", "x", "1/window", "NaN", "3/2"] {
            assert_eq!(text.parse::<Feedback>(), Err(FeedbackError), "{text:?}");
        }
        assert_eq!(feedback("0.25"), feedback("1/4"));
        assert_eq!(feedback("1 / concurrency").value(4), 0.25);
    }
}
