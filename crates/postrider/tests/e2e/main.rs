//! The whole program over real sockets: one behaviour a file.
//!
//! Promises: every test starts the built `postrider` on ports the system chooses, in a folder of its
//! own, and waits for what it prints, what arrives or what it lists, never for time to pass. Each wait
//! has a deadline.
//!
//! Refuses: shared code with the program. What goes over the wire is written out here.

mod bad_input;
mod configuration;
mod control_socket;
mod damage;
mod deferral;
mod delivery;
mod disk_full;
mod first_steps;
mod hold;
mod listing;
mod lmtp;
mod place;
mod queue_commands;
mod reload;
mod reports;
mod restart;
mod reuse;
mod routing;
mod second_engine;
mod status;
mod stop;
mod submission;
mod undelete;
