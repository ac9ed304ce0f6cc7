//! The configuration: found, read strictly, laid in layers, checked as a whole, shown again.
//!
//! Promises: one table of keys (schema.rs) behind everything; every refused value is named with its file,
//! line and column, or its variable or option; a [`Settings`] that exists is consistent.

mod build;
mod file;
mod keys;
mod layer;
mod load;
mod print;
mod problem;
mod refused;
mod route_table;
mod schema;
mod settings;
mod value;

pub(crate) use load::{Loaded, Sources, in_effect};
pub(crate) use print::{defaults, diff, effective, effective_json, page};
pub(crate) use problem::{Problem, Problems};
pub(crate) use route_table::read_table;
pub(crate) use settings::{
    Action, FrontEnd, MapRule, Route, Settings, Spool as SpoolSettings, Target, TlsFiles,
};
