//! Dates as mail headers spell them (RFC 5322 3.3), always in UTC.
//!
//! Promises: the same text on every machine; no time zone database, no clock.

use mail::Time;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Seconds up to the end of the year 9999, the last that is written with four digits.
const SECONDS_MAX: i64 = 253_402_300_799;

/// `Sun, 22 Nov 2026 03:14:39 +0000`. Points before 1970 or after 9999 are shown as the nearest one
/// between.
pub fn rfc5322_date(time: Time) -> String {
    let seconds = time.as_secs().clamp(0, SECONDS_MAX);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS[(days % 7) as usize];
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month and day of a count of days since 1970. Works in years that begin in March, where the
/// leap day is the last one, and in the 400-year cycle of 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_year_zero = days + 719_468;
    let cycle = since_year_zero / 146_097;
    let day_of_cycle = since_year_zero % 146_097;
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> String {
        rfc5322_date(Time::from_millis(seconds * 1000))
    }

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 +0000"),
            (1_000_000_000, "Sun, 9 Sep 2001 01:46:40 +0000"),
            (1_795_317_279, "Sun, 22 Nov 2026 03:14:39 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (-5, "Thu, 1 Jan 1970 00:00:00 +0000"),
        ] {
            assert_eq!(at(seconds), text);
        }
        assert_eq!(rfc5322_date(Time::NEVER), "Fri, 31 Dec 9999 23:59:59 +0000");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(0);
        for days in 1..200_000 {
            let (year, month, day) = civil(days);
            let next = day == last.2 + 1 && (year, month) == (last.0, last.1);
            let new_month =
                day == 1 && (28..=31).contains(&last.2) && (year * 12 + month) == (last.0 * 12 + last.1 + 1);
            assert!(next || new_month, "{last:?} {:?}", (year, month, day));
            last = (year, month, day);
        }
    }
}
