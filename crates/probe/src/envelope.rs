//! Envelopes, summaries and states of the log: any bytes are refused or mean something that is the same
//! after it was written and read again, and no length in them makes the reader allocate.

/// See the module head.
pub fn envelope(input: &[u8]) {
    assert!(spool::survives_rewriting(input), "what was read is not what is read after it was written");
}
