//! What the names in a template stand for.
//!
//! Promises: every name has a value, whatever the settings; a duration reads well without arithmetic
//! in the template.

use std::time::Duration;

/// What `$name` may name. Durations also have `_seconds`, `_minutes`, `_hours`, `_days`, `_weeks`,
/// rounded down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values {
    /// `$myhostname`.
    pub myhostname: String,
    /// `$mydomain`.
    pub mydomain: String,
    /// `$mail_name`.
    pub mail_name: String,
    /// `$delay`: the age of the message.
    pub delay: Duration,
    /// `$delay_warning_time`.
    pub delay_warning_time: Duration,
    /// `$maximal_queue_lifetime`.
    pub maximal_queue_lifetime: Duration,
    /// `$bounce_queue_lifetime`.
    pub bounce_queue_lifetime: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Host,
    Domain,
    Software,
    /// In words, or as a count of units of so many seconds.
    Span(Span, Option<u64>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Span {
    Delay,
    DelayWarning,
    QueueLifetime,
    BounceLifetime,
}

const UNITS: [(&str, u64); 5] =
    [("_seconds", 1), ("_minutes", 60), ("_hours", 3_600), ("_days", 86_400), ("_weeks", 604_800)];

impl Name {
    /// A name without `$` and braces.
    pub(crate) fn parse(text: &str) -> Option<Name> {
        match text {
            "myhostname" => return Some(Name::Host),
            "mydomain" => return Some(Name::Domain),
            "mail_name" => return Some(Name::Software),
            _ => {}
        }
        let unit = UNITS.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, Some(*unit))));
        let (base, unit) = unit.unwrap_or((text, None));
        let span = match base {
            "delay" => Span::Delay,
            "delay_warning_time" => Span::DelayWarning,
            "maximal_queue_lifetime" => Span::QueueLifetime,
            "bounce_queue_lifetime" => Span::BounceLifetime,
            _ => return None,
        };
        Some(Name::Span(span, unit))
    }

    pub(crate) fn value(self, values: &Values) -> String {
        match self {
            Name::Host => values.myhostname.clone(),
            Name::Domain => values.mydomain.clone(),
            Name::Software => values.mail_name.clone(),
            Name::Span(span, None) => in_words(span.value(values)),
            Name::Span(span, Some(unit)) => (span.value(values).as_secs() / unit).to_string(),
        }
    }
}

impl Span {
    fn value(self, values: &Values) -> Duration {
        match self {
            Span::Delay => values.delay,
            Span::DelayWarning => values.delay_warning_time,
            Span::QueueLifetime => values.maximal_queue_lifetime,
            Span::BounceLifetime => values.bounce_queue_lifetime,
        }
    }
}

/// A duration as people say it, in the largest unit of which there are at least two.
pub(crate) fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let exact = units.iter().find(|(_, unit)| seconds == *unit);
    let (name, unit) =
        exact.or_else(|| units.iter().find(|(_, unit)| seconds >= 2 * unit)).unwrap_or(&("second", 1));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (3600, "1 hour"),
            (5400, "90 minutes"),
            (86_400, "1 day"),
            (90_000, "25 hours"),
            (432_000, "5 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
