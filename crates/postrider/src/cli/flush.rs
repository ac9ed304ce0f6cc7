//! `postrider flush` and `postrider trigger`.

use control::{FlushItem, FlushResult, FlushTarget, Item, Request};

use super::args::FlushArgs;
use super::failure::{Failure, exit};
use super::output::Output;
use super::session;
use crate::config::Sources;
use crate::format;

/// Asks for delivery and prints what came of it.
pub(crate) fn run(arguments: FlushArgs, sources: &Sources) -> Result<u8, Failure> {
    let (json, status) = (arguments.json, arguments.status);
    // These answers are about something that is there; others may have found nothing to do.
    let found_anyway = status || arguments.add.is_some();
    let target = target(arguments)?;
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    let (mut worst, mut found) = (exit::DONE, 0);
    for item in engine.ask(&Request::Flush { target })? {
        let Item::Flush(flush) = item? else { continue };
        worst = worst.max(code(flush.result));
        found += flush.released + flush.already_active + flush.on_hold;
        found += u64::from(found_anyway || flush.sites_left.is_some());
        let text = if status { format::flush_status(&flush) } else { format::flush(&flush) };
        output.line(&if json { format::json(&flush) } else { text })?;
    }
    output.finish()?;
    Ok(if worst == exit::DONE && found == 0 { exit::NOTHING } else { worst })
}

fn target(arguments: FlushArgs) -> Result<FlushTarget, Failure> {
    Ok(if let Some(id) = arguments.add {
        let [site] = arguments.sites.as_slice() else {
            return Err(Failure::usage("--add takes one site: postrider flush --add ID SITE"));
        };
        FlushTarget::Add { site: session::site(site)?, id: session::queue_id(&id)? }
    } else if let Some(id) = arguments.message {
        FlushTarget::Message(session::queue_id(&id)?)
    } else if arguments.all {
        FlushTarget::All {}
    } else if arguments.refresh {
        FlushTarget::Refresh {}
    } else if arguments.purge {
        FlushTarget::Purge {}
    } else if arguments.status {
        FlushTarget::Status {}
    } else {
        let sites = arguments.sites.iter().map(|site| sites(site));
        FlushTarget::Sites(sites.collect::<Result<_, _>>()?)
    })
}

/// Checks a site, or with `@` in front a site and its subdomains, and gives it as the engine spells it.
fn sites(text: &str) -> Result<String, Failure> {
    match text.strip_prefix('@') {
        Some(parent) => Ok(format!("@{}", session::site(parent)?)),
        None => session::site(text),
    }
}

/// The exit code for one answer of the flush service.
fn code(result: FlushResult) -> u8 {
    match result {
        FlushResult::Ok => exit::DONE,
        FlushResult::Bad => exit::USAGE,
        FlushResult::Fail => exit::IO,
        FlushResult::Deny => exit::PERMISSION,
    }
}

/// One flush for the programs of Postfix; nothing when the engine did not answer it.
pub(crate) fn one(target: FlushTarget, sources: &Sources) -> Result<Option<FlushItem>, Failure> {
    let mut engine = session::engine(sources)?;
    let mut answer = None;
    for item in engine.ask(&Request::Flush { target })? {
        if let Item::Flush(flush) = item? {
            answer = Some(flush);
        }
    }
    Ok(answer)
}

/// Sends trigger letters.
pub(crate) fn trigger(letters: &str, sources: &Sources) -> Result<u8, Failure> {
    if let Some(letter) = letters.chars().find(|letter| !"DIAFW".contains(*letter)) {
        return Err(Failure::usage(format!("'{letter}' is no trigger: use any of D I A F W")));
    }
    if letters.is_empty() || letters.len() > control::TRIGGER_BYTES_MAX {
        let text = format!("1 to {} letters out of D I A F W are expected", control::TRIGGER_BYTES_MAX);
        return Err(Failure::usage(text));
    }
    let mut engine = session::engine(sources)?;
    engine.ask(&Request::Trigger { letters: letters.to_owned() })?.finish()?;
    Ok(exit::DONE)
}
