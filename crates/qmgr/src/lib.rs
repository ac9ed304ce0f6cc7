//! The queue manager: every strategy of qmgr(8) without I/O, clock or threads.
//!
//! Promises: driven like a sans-IO protocol. [`Engine::handle_stored`] and its siblings say what
//! happened, [`Engine::poll_effect`] says what to do next, [`Engine::poll_timeout`] when to come back.
//! The same calls with the same times and seed give the same effects to the byte. Nothing walks the
//! whole queue unless an operator asks to see the whole queue.
//!
//! Refuses: files, sockets, the current time, message text, envelopes beyond recipients.

mod admission;
mod appointment;
mod backoff;
mod check;
mod completion;
mod damage;
mod dead;
mod destination;
mod due;
mod early;
mod effect;
mod engine;
mod entry;
mod event;
mod feedback;
mod few;
mod flush_background;
mod flush_log;
mod job;
mod learned;
mod message;
mod note;
mod operator;
mod overtime;
mod params;
mod peer;
mod preempt;
mod report;
mod route;
mod scan;
mod shape;
mod site_flush;
mod table;
mod timer;
mod transport;
mod trigger;
mod view;
mod why;

pub use effect::{Delivery, Effect, Ending, Reuse, StateChange};
pub use engine::Engine;
pub use event::{Batch, DeliveryNumber, Flags, LoadError, Pending, Queue, Report, ReportKind, Route, Stored};
pub use feedback::{Feedback, FeedbackError};
pub use note::{Delays, FlushOf, Note, Place};
pub use params::{
    Config, Global, Kind, Parameter, ParameterError, Preset, Section, TransportParameters, parameters,
};
pub use shape::{Shape, ShapePage, Waiting};
pub use view::{
    Changed, Counts, DestinationState, FlushView, Learned, LearnedDestination, MessageView, SiteView,
    TransportView, Why,
};
