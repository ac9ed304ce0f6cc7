//! Delivery status notifications: who is told what about a message, and the report itself.
//!
//! Promises: reports as RFC 3464, RFC 6522 and RFC 6533 describe them, to whom RFC 3461 wants them to
//! go; the same request gives the same bytes; no input (reply texts, addresses, original content) can
//! add a field or a part, or make a line longer than SMTP allows; there is never a report about a
//! report.
//!
//! Refuses: queueing and sending. The original is read through [`std::io::Read`], no further than
//! `bounce_size_limit`.

mod compose;
mod date;
mod lines;
mod notice;
mod plan;
mod returned;
mod seven_bits;
mod status;
mod template;
mod values;

pub use compose::{Report, Request, TEXT_RECIPIENTS_MAX, compose};
pub use date::rfc5322_date;
pub use notice::{NOTICE_LINES_MAX, Notice, compose_notice};
pub use plan::{Audience, Kind, Notices, NotifyClass, NotifyClasses, Plan, Planned, Silence, UnknownClass};
pub use seven_bits::in_seven_bits;
pub use status::{Action, ReportedRecipient};
pub use template::{Template, TemplateError, Templates};
pub use values::Values;
