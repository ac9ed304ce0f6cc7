//! The command line: reading it, doing it, saying what went wrong.
//!
//! Promises: one line on standard error for each thing that is wrong; the exit codes of the contract;
//! standard output carries results only; a reader that goes away ends the program quietly.

mod args;
mod config_command;
mod failure;
mod flush;
mod multicall;
mod output;
mod queue;
mod session;
mod shape;
mod show;
mod verify;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;
use control::{Item, Request};

use self::args::{Cli, Command, QueueCommand};
pub(crate) use self::failure::{Failure, exit};
use self::output::Output;
use crate::config::Sources;
use crate::format;

/// Runs the program with these arguments, the name it was called by first, and gives its exit code.
pub fn main(arguments: Vec<OsString>) -> u8 {
    let called = arguments.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let called = called.unwrap_or("postrider").to_owned();
    let (name, result) = match multicall::find(&called) {
        Some(command) => return multicall::run(command, &called, arguments),
        None => ("postrider", parse(arguments).and_then(dispatch)),
    };
    result.unwrap_or_else(|failure| complain(name, &failure))
}

/// Tells a failure and gives its exit code.
pub(crate) fn complain(name: &str, failure: &Failure) -> u8 {
    for line in failure.lines() {
        eprintln!("{name}: {line}");
    }
    if let Failure::Configuration(problems) = failure
        && std::io::stderr().is_terminal()
    {
        problems.0.iter().filter_map(|problem| problem.excerpt.as_ref()).for_each(|text| eprintln!("{text}"));
    }
    failure.code()
}

/// What clap made of the arguments: a command, or an exit code when it has printed help already.
enum Parsed {
    Command(Box<Cli>),
    Printed(u8),
}

fn parse(arguments: Vec<OsString>) -> Result<Parsed, Failure> {
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(Parsed::Command(Box::new(cli))),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print()?;
            Ok(Parsed::Printed(exit::DONE))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print()?;
            Ok(Parsed::Printed(exit::USAGE))
        }
        _ => Err(Failure::usage(one_line(&error.render().to_string()))),
    }
}

/// clap's paragraphs as one line: what is wrong, its tips, where the help is.
fn one_line(text: &str) -> String {
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said = said.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let said: Vec<&str> = said.collect();
    let line = said.join(" ").replace(" tip: ", "; ");
    format!("{}; --help tells more", line.strip_prefix("error: ").unwrap_or(&line))
}

fn dispatch(parsed: Parsed) -> Result<u8, Failure> {
    let cli = match parsed {
        Parsed::Command(cli) => *cli,
        Parsed::Printed(code) => return Ok(code),
    };
    let sources = cli.common.sources();
    match cli.command {
        Command::Serve => serve(&sources),
        Command::Config(command) => config_command::run(&command, &sources),
        Command::Queue(command) => queue_command(command, &sources),
        Command::Flush(arguments) => flush::run(arguments, &sources),
        Command::Trigger { letters } => flush::trigger(&letters, &sources),
        Command::Status { json } => status(json, &sources),
        Command::Sim { scenario, order, trace: _, seed } => {
            let mode = if order { sim::Mode::Order } else { sim::Mode::Trace };
            Ok(sim::command(
                &scenario,
                mode,
                seed,
                &mut std::io::stdout().lock(),
                &mut std::io::stderr().lock(),
            ))
        }
        Command::Sink(arguments) => Ok(crate::sink::run(arguments)),
        Command::Source(arguments) => Ok(crate::source::run(arguments)),
        Command::Version => version(),
    }
}

fn serve(sources: &Sources) -> Result<u8, Failure> {
    let loaded = sources.load()?;
    crate::serve::check_files(&loaded.settings)?;
    Ok(crate::serve::run(loaded, sources.clone()))
}

fn queue_command(command: QueueCommand, sources: &Sources) -> Result<u8, Failure> {
    use control::Action;
    match command {
        QueueCommand::List { selector, json } => queue::list(selector, json, sources),
        QueueCommand::Count { selector } => queue::count(selector, sources),
        QueueCommand::Show { id, envelope, headers, body, json } => {
            let parts = control::Parts { envelope, headers, body };
            show::run(&id, parts, json, sources)
        }
        QueueCommand::Dump { selector } => queue::dump(selector, sources),
        QueueCommand::Shape { queue, by } => shape::run(queue, by == "sender", sources),
        QueueCommand::Why { what, json } => queue::why(&what, json, sources),
        QueueCommand::Hold(change) => queue::change(Action::Hold, change, sources),
        QueueCommand::Release(change) => queue::change(Action::Release, change, sources),
        QueueCommand::Requeue(change) => queue::change(Action::Requeue, change, sources),
        QueueCommand::Flush(change) => queue::change(Action::Flush, change, sources),
        QueueCommand::Delete(change) => queue::change(Action::Delete, change, sources),
        QueueCommand::Undelete(change) => queue::change(Action::Undelete, change, sources),
        QueueCommand::Expire { change, release } => {
            queue::change(if release { Action::ExpireRelease } else { Action::Expire }, change, sources)
        }
        QueueCommand::Verify { repair, json } => verify::run(repair, json, sources),
    }
}

fn status(json: bool, sources: &Sources) -> Result<u8, Failure> {
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    for item in engine.ask(&Request::Status {})? {
        if let Item::Status(status) = item? {
            let now = session::now();
            let text = if json { format::json(&status) } else { format::status(&status, now) };
            output.line(&text)?;
        }
    }
    output.finish()?;
    Ok(exit::DONE)
}

fn version() -> Result<u8, Failure> {
    let mut output = Output::open();
    output.line(&format!("postrider {}", env!("CARGO_PKG_VERSION")))?;
    output.line(&format!("spool format {}", spool::FORMAT_VERSION))?;
    output.line(&format!("control protocol {}", control::VERSION))?;
    output.line(&format!("for Rust {} or later", env!("CARGO_PKG_RUST_VERSION")))?;
    output.finish()?;
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        fn walk(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(command.is_hide_set() || more.contains("Example"), "{path} has no example");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
            }
            command.get_subcommands().for_each(|inner| walk(inner, &format!("{path} {}", inner.get_name())));
        }
        walk(&Cli::command(), "postrider");
    }

    #[test]
    fn usage_errors_take_one_line() {
        for arguments in [&["postrider", "queue", "lst"][..], &["postrider", "flush"], &["postrider", "--x"]]
        {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            let line = one_line(&error.render().to_string());
            assert!(
                !line.contains('\n') && !line.contains("error:") && line.ends_with("tells more"),
                "{line}"
            );
        }
    }
}
