//! What people read: pure functions from the protocol's items to text.
//!
//! Promises: a line stays a line, whatever is in a reason or an address; control characters never reach
//! a terminal. Refuses: to print.

mod listing;
mod message;
mod postfix;
mod report;
mod shape;
mod text;
mod time;

pub(crate) use listing::{HEADING as LISTING_HEADING, listing, listing_sums};
pub(crate) use message::envelope;
pub(crate) use postfix::{
    MAILQ_EMPTY, MAILQ_HEADING, mailq_entry, mailq_sums, postcat_envelope, postqueue_json,
};
pub(crate) use report::{damage, flush, flush_status, status, verify, why};
pub(crate) use shape::{SHAPE_WIDTH, shape};
pub(crate) use text::{json, json_of_kind, printable_lines};
