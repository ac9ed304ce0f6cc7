//! Which batches are part of the log: the end-of-log rule.
//!
//! Each batch names the committed batch before it. Only one flush is ever under way, so the last batch
//! that verifies proves every batch that it leads back to; whatever is not on that chain was torn or
//! given up and was never acknowledged. A batch that is on the chain and cannot be found was
//! acknowledged and has rotted.

/// One link: a batch, or all batches of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unit {
    /// The number of the batch before this one.
    pub(crate) previous: u64,
    /// The number of its last batch.
    pub(crate) last: u64,
    /// Whether all of it verifies.
    pub(crate) whole: bool,
}

/// What the rule says of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ruling {
    /// Part of the log.
    pub(crate) committed: bool,
    /// At least one batch between this one and the committed one before it is missing.
    pub(crate) gap_before: bool,
}

/// Judges the units, which stand in the order of the log.
pub(crate) fn judge(units: &[Unit]) -> Vec<Ruling> {
    let mut rulings = vec![Ruling::default(); units.len()];
    let Some(end) = units.iter().rposition(|unit| unit.whole) else { return rulings };
    rulings[end].committed = true;
    let mut after = end;
    let mut wanted = units[end].previous;
    for here in (0..end).rev() {
        if units[here].last > wanted {
            continue;
        }
        // A smaller number than the one wanted: that one is missing. What this unit says of itself is
        // the best that is known then.
        rulings[after].gap_before = units[here].last < wanted;
        rulings[here].committed = true;
        after = here;
        wanted = units[here].previous;
    }
    rulings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(units: &[(u64, u64, bool)]) -> String {
        let units: Vec<Unit> =
            units.iter().map(|&(previous, last, whole)| Unit { previous, last, whole }).collect();
        let word = |ruling: &Ruling| match (ruling.committed, ruling.gap_before) {
            (true, false) => 'c',
            (true, true) => 'G',
            (false, _) => '-',
        };
        judge(&units).iter().map(word).collect()
    }

    #[test]
    fn the_last_whole_batch_proves_those_it_leads_back_to() {
        assert_eq!(rule(&[]), "");
        assert_eq!(rule(&[(0, 1, true), (1, 2, true)]), "cc");
        assert_eq!(rule(&[(0, 1, true), (1, 2, false)]), "c-", "a torn tail");
        assert_eq!(rule(&[(0, 1, true), (1, 2, false), (2, 3, true)]), "ccc", "acknowledged, then rotted");
        assert_eq!(rule(&[(0, 1, true), (1, 2, true), (1, 3, true)]), "c-c", "given up after an error");
        assert_eq!(rule(&[(0, 1, true), (1, 2, false), (1, 3, true)]), "c-c", "torn, then gone on");
        assert_eq!(rule(&[(0, 1, true), (2, 3, true)]), "cG", "a missing batch");
        assert_eq!(rule(&[(0, 1, false)]), "-");
    }
}
