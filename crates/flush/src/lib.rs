//! Fast flush: which messages wait for which site, and what a request about a site means.
//!
//! Promises: exact at every instant (an id is here as long as its message has unfinished mail for the
//! site, and not longer), bounded memory per waiting pair, deterministic order, truthful answers.
//! Everything is driven by the caller: no I/O, no clock, no randomness.
//!
//! Refuses: scheduling. What "released" means to a message is the engine's business, writing the
//! operator-visible logs is the daemon's.

mod answer;
mod collapse;
mod eligibility;
mod file;
mod logs;
mod record;
mod request;
mod service;
mod site_ids;

pub use answer::{Answer, Released, Status};
pub use collapse::Collapse;
pub use eligibility::{Authority, Eligibility, IneligibleSite, Ruling, UnknownChoice};
pub use file::{FileNameTooLong, LogText, added_line, file_name, read_log, removed_line, site_of_file};
pub use logs::{LogChange, LogTimes, Logs};
pub use record::{Record, SiteId};
pub use request::{Request, RequestError, Sites};
pub use service::{Service, Step};
pub use site_ids::Ids;
