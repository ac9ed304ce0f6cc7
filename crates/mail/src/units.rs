//! Durations and sizes as people write them in configuration, scenarios and on the command line.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnitError {
    /// No number in front.
    #[error("a number is expected, as in {example}")]
    Number {
        /// A good value.
        example: &'static str,
    },
    /// A unit that does not exist.
    #[error("unknown unit {unit:?}: use one of {known}")]
    Unit {
        /// What was written.
        unit: String,
        /// The units there are.
        known: &'static str,
    },
    /// Does not fit.
    #[error("the value is too large")]
    TooLarge,
}

/// Reads `500ms`, `30s`, `5m`, `12h`, `5d`, `1w`; a bare number counts in `bare` (the unit of the
/// parameter in postconf(5)). One number and one unit; fractions are refused.
pub fn parse_duration(text: &str, bare: Duration) -> Result<Duration, UnitError> {
    let (number, unit) = split(text, "30s")?;
    let unit_millis: u64 = match unit {
        "" => u64::try_from(bare.as_millis()).map_err(|_| UnitError::TooLarge)?,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(UnitError::Unit { unit: unit.to_owned(), known: "ms, s, m, h, d, w" }),
    };
    number.checked_mul(unit_millis).map(Duration::from_millis).ok_or(UnitError::TooLarge)
}

/// Writes a duration so that [`parse_duration`] reads the same: the largest unit that divides it.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units =
        [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    match units.iter().find(|(_, size)| millis > 0 && millis.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", millis / size),
        None => "0s".to_owned(),
    }
}

/// Reads `512KiB`, `50MB`, `1GiB` or bare bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text, "50MiB")?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => {
            let known = "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB";
            return Err(UnitError::Unit { unit: unit.to_owned(), known });
        }
    };
    number.checked_mul(factor).ok_or(UnitError::TooLarge)
}

fn split<'t>(text: &'t str, example: &'static str) -> Result<(u64, &'t str), UnitError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(UnitError::Number { example });
    }
    let number = text[..digits].parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_durations_and_sizes() {
        let second = Duration::from_secs(1);
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1w", 604_800_000), ("7", 7_000)]
        {
            assert_eq!(parse_duration(text, second), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1s", "1.5h", "5 weeks", "1h30m", "99999999999999999999s", "9999999999999999w"]
        {
            assert!(parse_duration(bad, second).is_err(), "{bad:?}");
        }
        assert_eq!(parse_size("512KiB"), Ok(524_288));
        assert_eq!(parse_size("50MB"), Ok(50_000_000));
        assert!(parse_size("50mb").is_err());
    }

    proptest! {
        #[test]
        fn a_formatted_duration_reads_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration), Duration::from_secs(1)), Ok(duration));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,12}") {
            let _ = (parse_duration(&text, Duration::from_secs(1)), parse_size(&text));
        }
    }
}
