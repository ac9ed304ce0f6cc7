//! Segments of the log: any bytes are explained from the first to the last, without gaps and overlaps,
//! and nothing that a length in them says makes the reader allocate or panic.

/// See the module head.
pub fn segment(bytes: &[u8]) {
    let mut at = 0;
    for region in spool::explain(bytes) {
        assert_eq!(region.range.start, at, "a gap or an overlap");
        at = region.range.end;
    }
    assert_eq!(at, bytes.len() as u64);
}
