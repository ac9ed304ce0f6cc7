//! Times for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail::Time;

/// A number of seconds in at most two units: `45s`, `4m10s`, `3h`, `2d4h`.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (large, large_unit, small, small_unit) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3600 => (seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => (seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => (seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    };
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

/// How long ago an instant was.
pub(super) fn age(at: i64, now: Time) -> String {
    span(now.as_secs().saturating_sub(at))
}

/// How long it is until an instant: `now`, a span, or `-` when nothing is planned.
pub(super) fn until(at: Option<i64>, now: Time) -> String {
    match at.map(|at| at.saturating_sub(now.as_secs())) {
        None => "-".to_owned(),
        Some(seconds) if seconds <= 0 => "now".to_owned(),
        Some(seconds) => span(seconds),
    }
}

/// An instant ahead, with how far it is: `2026-11-22 03:01:25 (in 4m10s)`.
pub(super) fn ahead(at: i64, now: Time) -> String {
    let distance = until(Some(at), now);
    let distance = if distance == "now" { distance } else { format!("in {distance}") };
    format!("{} ({distance})", instant(at))
}

/// An instant passed: `2026-11-22 03:01:25 (3h ago)`.
pub(super) fn passed(at: i64, now: Time) -> String {
    format!("{} ({} ago)", instant(at), age(at, now))
}

/// An instant in the machine's time zone: `2026-11-22 03:01:25`.
pub(super) fn instant(at: i64) -> String {
    in_zone(at, TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// The first 19 characters of ctime(3), as mailq(1) shows them: `Sun Nov 22 03:01:25`.
pub(super) fn ctime(at: i64, zone: TimeZone) -> String {
    in_zone(at, zone, "%a %b %e %H:%M:%S")
}

/// The same with the year, as postcat(1) shows it: `Sun Nov 22 03:01:25 2026`.
pub(super) fn ctime_with_year(at: i64, zone: TimeZone) -> String {
    in_zone(at, zone, "%a %b %e %H:%M:%S %Y")
}

fn in_zone(at: i64, zone: TimeZone, form: &str) -> String {
    match Timestamp::from_second(at) {
        Ok(timestamp) => timestamp.to_zoned(zone).strftime(form).to_string(),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_use_two_units_at_most() {
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (250, "4m10s"),
            (3600, "1h"),
            (3725, "1h2m"),
            (180_000, "2d2h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        let now = Time::from_millis(100_000);
        assert_eq!(
            (until(None, now), until(Some(100), now), until(Some(160), now)),
            ("-".into(), "now".into(), "1m".into())
        );
    }

    #[test]
    fn dates_look_as_in_ctime() {
        assert_eq!(ctime(1_700_000_000, TimeZone::UTC), "Tue Nov 14 22:13:20");
        assert_eq!(ctime(1_698_883_285, TimeZone::UTC), "Thu Nov  2 00:01:25");
    }
}
