//! Queue ids: 64 bits, sortable by age, never reused, printed in an alphabet that survives a change
//! of letter case and spells no words (digits and consonants).

use std::fmt;
use std::str::FromStr;

use crate::Time;

/// Names one message for as long as the spool exists.
///
/// The upper 44 bits are the milliseconds since 1970 at which the id was made, the lower 20 bits a
/// sequence. Printed as 13 characters; the printed form sorts as the number does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

const ALPHABET: &[u8; 31] = b"0123456789BCDFGHJKLMNPQRSTVWXYZ";
const DIGITS: usize = 13;
const SEQUENCE_BITS: u32 = 20;

impl QueueId {
    /// The id with this number, as read back from storage.
    pub const fn from_u64(number: u64) -> QueueId {
        QueueId(number)
    }

    /// The number, for storage.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// When the id was made, to the millisecond.
    pub const fn made_at(self) -> Time {
        Time::from_millis((self.0 >> SEQUENCE_BITS) as i64)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; DIGITS];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest % 31) as usize];
            rest /= 31;
        }
        f.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a queue id: it must have 13 characters out of digits and consonants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id: 13 digits and consonants are expected, as in 0D5QJK2B7X1ZC")]
pub struct ParseIdError;

impl FromStr for QueueId {
    type Err = ParseIdError;

    /// Reads the printed form; lower case is accepted.
    fn from_str(text: &str) -> Result<QueueId, ParseIdError> {
        if text.len() != DIGITS {
            return Err(ParseIdError);
        }
        let mut number: u64 = 0;
        for byte in text.bytes() {
            let wanted = byte.to_ascii_uppercase();
            let digit = ALPHABET.iter().position(|&c| c == wanted).ok_or(ParseIdError)?;
            number = number.checked_mul(31).and_then(|n| n.checked_add(digit as u64)).ok_or(ParseIdError)?;
        }
        Ok(QueueId(number))
    }
}

/// Makes ids that only grow, whatever the clock does.
#[derive(Debug)]
pub struct IdSource {
    last: u64,
}

impl IdSource {
    /// A source whose ids are all greater than `floor`, the greatest id ever seen in the spool.
    pub fn above(floor: Option<QueueId>) -> IdSource {
        IdSource { last: floor.map_or(0, |id| id.0) }
    }

    /// The next id. A clock that jumps back, or more than a million ids in a millisecond, only makes
    /// ids that look a little younger than they are.
    pub fn next(&mut self, now: Time) -> QueueId {
        let from_clock = (now.as_millis().max(0) as u64) << SEQUENCE_BITS;
        self.last = from_clock.max(self.last.saturating_add(1)).max(1);
        QueueId(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn printed_form_reads_back_and_sorts(a: u64, b: u64) {
            let (a, b) = (QueueId(a), QueueId(b));
            prop_assert_eq!(a.to_string().parse::<QueueId>().unwrap(), a);
            prop_assert_eq!(a.to_string().to_lowercase().parse::<QueueId>().unwrap(), a);
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in ["", "0", "ZZZZZZZZZZZZZ", "00000000000A0", "0000000000000 ", "-000000000000"] {
            assert_eq!(text.parse::<QueueId>(), Err(ParseIdError), "{text:?}");
        }
    }

    #[test]
    fn ids_grow_when_the_clock_jumps_back() {
        let mut source = IdSource::above(None);
        let a = source.next(Time::from_millis(1_000_000));
        let b = source.next(Time::from_millis(1));
        let c = source.next(Time::from_millis(1_000_001));
        assert!(a < b && b < c);
        assert_eq!(a.made_at(), Time::from_millis(1_000_000));
        assert!(IdSource::above(Some(c)).next(Time::from_millis(5)) > c);
    }
}
