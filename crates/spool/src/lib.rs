//! The durable log: where mail is from the moment of its `250` until its end.
//!
//! Promises: a message is accepted when its record's fdatasync returned 0 and is found again after
//! any crash, whole and once; what was recorded about it is found with it; a damaged record costs that
//! message only and is kept for inspection. The format is described in `docs/spool-format.md`.
//!
//! Refuses: retry policy, scheduling, SMTP, async. All calls either return at once or block the
//! calling thread on the disk; each says which.

pub mod disk;

mod batch;
mod body;
mod cache;
mod chain;
mod codec;
mod compaction;
mod dump;
mod error;
mod frame;
mod index;
mod inventory;
mod job;
mod large;
mod layout;
mod log;
mod message;
mod open;
mod options;
mod quarantine;
mod reader;
mod recover;
mod restore;
mod salvage;
mod scan;
mod shared;
mod spares;
mod spool;
mod verify;
mod writer;

pub use body::Body;
pub use codec::survives_rewriting;
pub use dump::{Region, dump, explain};
pub use error::{AcceptError, CommitError, OpenError, ReadError, RestoreError};
pub use frame::VERSION as FORMAT_VERSION;
pub use inventory::Inventory;
pub use large::{LargeBody, LargeWriter};
pub use message::{
    ATTEMPT_TEXT_BYTES_MAX, ATTEMPTS_KEPT_MAX, Attempt, Ending, Flags, Found, NewBody, NewMessage, Queue,
    RecipientRecord, StateChange, StoredMessage, Summary,
};
pub use options::{BODY_IN_LOG_MAX, CorruptMessage, Health, Options, Progress, Recovery, VerifyReport};
pub use salvage::Salvaged;
pub use spool::{Done, Spool, verify_offline};
