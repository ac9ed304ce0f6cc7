//! `postrider serve`: the engine wired to the world.
//!
//! A message's way through these files: `ingress` (crate) makes it durable and sends it to
//! [`engine_task`]; [`effects`] hands it to the engine and carries out what the engine wants;
//! [`deliveries`] takes it to its next hop; the outcome returns through [`work`] to the engine, whose
//! changes [`convert`] turns into records of the spool. [`operator`] answers the command line.

mod certificates;
mod control_socket;
mod convert;
mod damage;
mod deleted;
mod deliveries;
mod effects;
mod engine_task;
mod etrn;
mod flush_logs;
mod health;
mod last_stop;
mod learned;
mod listing;
mod logging;
mod maillog;
mod notes;
mod notices;
mod open;
mod operator;
mod reload;
mod reports;
mod resolve;
mod routes;
mod run;
mod session_errors;
mod shape;
mod show;
mod stored;
mod why;
mod work;

use crate::config::{Problems, Settings};
pub(crate) use run::run;

/// Reads the files that the configuration names and that a start cannot do without, and tells what is wrong
/// with them. Blocks on the disk.
pub(crate) fn check_files(settings: &Settings) -> Result<(), Problems> {
    certificates::server_configs(settings)?;
    reports::ReportSettings::read(settings)?;
    Ok(())
}

/// Program and version, as peers and operators are told.
pub(crate) const PROGRAM: &str = concat!("postrider ", env!("CARGO_PKG_VERSION"));
