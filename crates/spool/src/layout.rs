//! Names of files in a spool, and the few numbers that all modules share.
//!
//! Promises: a name made here is read back here; anything else in the directories is left alone.

use mail::QueueId;

/// Batches start on a multiple of this and are padded to one, so that no block that holds
/// acknowledged data is ever written again.
pub(crate) const BLOCK: u64 = 4096;

/// Smallest and largest segment. Places in a segment are 32 bits wide.
pub(crate) const SEGMENT_SIZE_MIN: u64 = 16 * BLOCK;
pub(crate) const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// Where the segments are.
pub(crate) const LOG: &str = "log";
/// Where large bodies are.
pub(crate) const BIG: &str = "big";
/// Where damaged messages are.
pub(crate) const CORRUPT: &str = "corrupt";
/// What the spool is, in words.
pub(crate) const FORMAT: &str = "FORMAT";

/// What a file in `log/` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogName {
    Segment(u32),
    Spare(u64),
    /// A spare that was being written.
    Unfinished,
}

/// The path of a segment.
pub(crate) fn segment_path(seq: u32) -> String {
    format!("{LOG}/seg-{seq:016x}.mql")
}

/// The path of a spare segment.
pub(crate) fn spare_path(number: u64) -> String {
    format!("{LOG}/free-{number:016x}.mql")
}

/// The path of a spare segment while it is being written.
pub(crate) fn unfinished_path(number: u64) -> String {
    format!("{LOG}/free-{number:016x}.tmp")
}

/// Reads a name in `log/`.
pub(crate) fn log_name(name: &str) -> Option<LogName> {
    if name.starts_with("free-") && name.ends_with(".tmp") {
        return Some(LogName::Unfinished);
    }
    let stem = name.strip_suffix(".mql")?;
    if let Some(digits) = stem.strip_prefix("seg-") {
        return u32::try_from(hex(digits)?).ok().map(LogName::Segment);
    }
    Some(LogName::Spare(hex(stem.strip_prefix("free-")?)?))
}

fn hex(digits: &str) -> Option<u64> {
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// The directory of a large body. Ids made in different milliseconds often end alike, so the bits are
/// mixed first.
pub(crate) fn big_directory(id: QueueId) -> String {
    format!("{BIG}/{:02x}", id.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56)
}

/// The path of a large body.
pub(crate) fn big_path(id: QueueId) -> String {
    format!("{}/{id}.eml", big_directory(id))
}

/// The message that a file in `big/xx/` belongs to.
pub(crate) fn big_name(name: &str) -> Option<QueueId> {
    name.strip_suffix(".eml")?.parse().ok()
}

/// A multiple of the block size that holds `length` bytes.
pub(crate) fn padded(length: u64) -> u64 {
    length.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let name = |path: String| log_name(path.strip_prefix("log/").unwrap());
        assert_eq!(name(segment_path(17)), Some(LogName::Segment(17)));
        assert_eq!(name(spare_path(u64::MAX)), Some(LogName::Spare(u64::MAX)));
        assert_eq!(name(unfinished_path(3)), Some(LogName::Unfinished));
        for other in ["", "seg-1.mql", "seg-ffffffffffffffff.mql", "seg-000000000000000g.mql", "x.mql"] {
            assert_eq!(log_name(other), None, "{other:?}");
        }
        let id = QueueId::from_u64(99);
        assert_eq!(big_name(big_path(id).rsplit_once('/').unwrap().1), Some(id));
        assert_eq!(big_name("notes.txt"), None);
    }
}
