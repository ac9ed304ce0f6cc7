//! A server that says exactly what a test wants, at each stage of SMTP or LMTP, and writes down what it
//! was told: the hostile next hop.
//!
//! Promises: nothing happens by time, only by what the client sends or the test releases; every wait of the
//! test ends. Shares no code with the program it tests.
//!
//! Refuses: judging what it gets; addresses and parameters are kept as lines.

mod certificate;
mod script;
mod server;
mod wire;

pub use certificate::Certificate;
pub use script::{Act, Asked, Cut, Script, Stage, good};
pub use server::{Heard, ScriptedServer};
pub use wire::Message;
