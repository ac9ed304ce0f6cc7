//! The engine in a simulated world: a clock that jumps, sites that answer as told, messages, operators.
//!
//! [`parse()`] reads a scenario file, [`run()`] plays it with the real engine, [`command()`] is the whole of
//! `postrider sim`.

mod action;
mod agenda;
mod command;
mod fault;
mod file;
mod narrate;
mod operate;
mod parse;
mod run;
mod settings;
mod sites;
mod store;
mod trace;

pub mod scenario;

pub use command::{Mode, command};
pub use fault::ParseError;
pub use parse::parse;
pub use run::{Broken, Options, run};
pub use scenario::Scenario;
pub use trace::{Event, Flushed, Left, Line, Order, Place, Trace};
