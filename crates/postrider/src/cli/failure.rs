//! Why a command did not do what it was told, and the exit code that says so.

use std::io;

use control::ClientError;

use crate::config::Problems;

/// Exit codes: the contract's own and those of sysexits.h.
pub(crate) mod exit {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Nothing matched.
    pub(crate) const NOTHING: u8 = 1;
    /// Wrong usage.
    pub(crate) const USAGE: u8 = 2;
    /// Damaged data (EX_DATAERR).
    pub(crate) const DATA: u8 = 65;
    /// The engine is not running (EX_UNAVAILABLE).
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// Input or output failed (EX_IOERR).
    pub(crate) const IO: u8 = 74;
    /// Not permitted (EX_NOPERM).
    pub(crate) const PERMISSION: u8 = 77;
    /// Wrong configuration (EX_CONFIG).
    pub(crate) const CONFIG: u8 = 78;
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told in one line.
    Told {
        /// Exit code.
        code: u8,
        /// What was wrong, where, what to do.
        text: String,
    },
    /// To be told in one line each; exit code 78.
    Configuration(Problems),
    /// Whoever reads standard output has seen enough; nothing to say.
    ReaderGone,
}

impl Failure {
    /// Wrong usage.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::Told { code: exit::USAGE, text: text.into() }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Told { code, .. } => *code,
            Failure::Configuration(_) => exit::CONFIG,
            Failure::ReaderGone => exit::DONE,
        }
    }

    /// The lines for standard error, without the program's name.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Failure::Told { text, .. } => vec![text.clone()],
            Failure::Configuration(problems) => problems.0.iter().map(ToString::to_string).collect(),
            Failure::ReaderGone => Vec::new(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Told { code: error.exit_code(), text: error.to_string() }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Failure {
        Failure::Configuration(problems)
    }
}

/// Only writing to standard output gives bare I/O errors.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::ReaderGone;
        }
        Failure::Told { code: exit::IO, text: format!("cannot write to standard output: {error}") }
    }
}
