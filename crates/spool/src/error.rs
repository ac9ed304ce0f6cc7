//! One error enum per operation.

use std::io;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another engine has it.
    #[error(
        "the spool is in use by another engine{}: stop that one first, or give this one its own \
         spool.directory",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// Its process, when it could be told.
        pid: Option<u32>,
    },
    /// `FORMAT` names a version that this program does not know, or is unreadable.
    #[error("the spool's FORMAT file is not one of this program: {0}")]
    Format(String),
    /// The options contradict each other.
    #[error("impossible spool options: {0}")]
    Options(&'static str),
    /// The disk refused.
    #[error("cannot open the spool: {path}: {source}")]
    Io {
        /// Which file or directory.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
}

/// Why a message was not made durable. Nothing of it will be delivered, except after a crash that
/// follows [`AcceptError::Io`] at once: then the message may be there although nobody was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// No room (SMTP: 452 4.3.1).
    #[error("the spool's disk is full")]
    DiskFull,
    /// The disk failed (SMTP: 451 4.3.0).
    #[error("the spool's disk failed: {0}")]
    Io(String),
    /// The encoded envelope is over [`mail::limits::ENVELOPE_BYTES_MAX`].
    #[error("the envelope is too large")]
    TooLarge,
    /// The spool is being closed.
    #[error("the spool is closed")]
    Closed,
}

/// Why a change was not recorded. Changes of the log survive a failing disk: they are kept and written
/// when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// There is no such message (any more).
    #[error("no such message")]
    Gone,
    /// The files of a message in `corrupt` could not be removed; it stays there, and may be ended again.
    #[error("the files of the message in corrupt cannot be removed")]
    Undeletable,
    /// The spool was closed before the change could be written.
    #[error("the spool is closed")]
    Closed,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such message (any more).
    #[error("no such message")]
    Gone,
    /// It is damaged; its bytes are in `corrupt/`.
    #[error("message is damaged: {reason}")]
    Corrupt {
        /// What is wrong with it.
        reason: String,
    },
    /// The disk failed; trying again may help.
    #[error("cannot read the spool: {0}")]
    Io(#[from] io::Error),
}

/// Why a message cannot be taken back from `corrupt/`.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such message in `corrupt/`.
    #[error("no such message in corrupt")]
    Gone,
    /// Its envelope is damaged, so nobody knows where it should go.
    #[error("the envelope cannot be restored: {0}")]
    Damaged(String),
    /// It could not be written.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The disk failed.
    #[error("cannot read the spool: {0}")]
    Io(#[from] io::Error),
}
