//! `postrider queue list`, `dump`, `why`, and the commands that change messages.

use std::io::{BufRead, IsTerminal, Write};

use control::{Action, Client, Item, Request, Selector};

use super::args::{ChangeArgs, SelectorArgs};
use super::failure::{Failure, exit};
use super::output::Output;
use super::session::{self, in_pieces, left_of};
use crate::config::Sources;
use crate::format;

/// On a terminal, changing more messages than this needs a yes.
const ASK_ABOVE: u64 = 100;

/// Lists the selected messages. Nothing found is an error only if something was asked for.
pub(crate) fn list(arguments: SelectorArgs, json: bool, sources: &Sources) -> Result<u8, Failure> {
    let selector = arguments.selector()?;
    let asked = !selector.is_empty() && selector != Selector::everything();
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    let now = session::now();
    let heading = output.is_terminal() && !json;
    let (mut messages, mut bytes) = (0u64, 0u64);
    for piece in in_pieces(selector) {
        for item in engine.ask(&Request::List { selector: left_of(piece, messages) })? {
            let Item::Message(message) = item? else { continue };
            if heading && messages == 0 {
                output.line(format::LISTING_HEADING)?;
            }
            messages += 1;
            bytes += message.message_size;
            let line =
                if json { format::json(&message) } else { format::listing(&message, now, output.colour()) };
            output.line(&line)?;
        }
    }
    if heading {
        output.line(&format::listing_sums(messages, bytes))?;
    }
    output.finish()?;
    Ok(if asked && messages == 0 { exit::NOTHING } else { exit::DONE })
}

/// Counts the selected messages.
pub(crate) fn count(arguments: SelectorArgs, sources: &Sources) -> Result<u8, Failure> {
    let selector = arguments.selector()?;
    let asked = !selector.is_empty() && selector != Selector::everything();
    let mut engine = session::engine(sources)?;
    let mut count = 0;
    for piece in in_pieces(selector) {
        // As a change that is not made: nothing but the number comes back.
        let selector = left_of(Selector { all: piece.all || piece.is_empty(), ..piece }, count);
        count += engine.ask(&Request::Change { action: Action::Flush, selector, dry_run: true })?.finish()?;
    }
    let mut output = Output::open();
    output.line(&count.to_string())?;
    output.finish()?;
    Ok(if asked && count == 0 { exit::NOTHING } else { exit::DONE })
}

/// Everything known, as JSON.
pub(crate) fn dump(arguments: SelectorArgs, sources: &Sources) -> Result<u8, Failure> {
    let selector = arguments.selector()?;
    let asked = !selector.is_empty() && selector != Selector::everything();
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    let mut messages = 0u64;
    for piece in in_pieces(selector) {
        for item in engine.ask(&Request::Dump { selector: left_of(piece, messages) })? {
            let line = match item? {
                Item::Message(message) => {
                    messages += 1;
                    format::json_of_kind("message", &message)
                }
                Item::Site(site) => format::json_of_kind("site", &site),
                Item::Transport(transport) => format::json_of_kind("transport", &transport),
                _ => continue,
            };
            output.line(&line)?;
        }
    }
    output.finish()?;
    Ok(if asked && messages == 0 { exit::NOTHING } else { exit::DONE })
}

/// What binds a message or a site.
pub(crate) fn why(what: &str, json: bool, sources: &Sources) -> Result<u8, Failure> {
    let known = session::queue_id(what).or_else(|_| session::site(what)).or_else(|_| destination(what));
    let what = known.map_err(|()| Failure::usage(format!("\"{what}\" is neither a queue id nor a site")))?;
    let mut engine = session::engine(sources)?;
    let mut output = Output::open();
    let now = session::now();
    for item in engine.ask(&Request::Why { what })? {
        if let Item::Why(why) = item? {
            output.line(&if json { format::json(&why) } else { format::why(&why, now) })?;
        }
    }
    output.finish()?;
    Ok(exit::DONE)
}

/// A destination that is no domain, as `queue dump` names it: `[192.0.2.1]:25`, `user@domain`.
fn destination(what: &str) -> Result<String, ()> {
    let is_one =
        what.contains(['[', ':', '@', '/']) && !what.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_one { Ok(what.to_lowercase()) } else { Err(()) }
}

/// Changes the selected messages and prints how many there were.
pub(crate) fn change(action: Action, arguments: ChangeArgs, sources: &Sources) -> Result<u8, Failure> {
    let selector = arguments.selector.selector()?;
    selector.require_some().map_err(|error| Failure::usage(error.to_string()))?;
    let mut engine = session::engine(sources)?;
    let ask = !arguments.dry_run && !arguments.yes && std::io::stdin().is_terminal();
    if ask && !confirmed(&mut engine, action, &selector)? {
        return Ok(exit::NOTHING);
    }
    let count = send(&mut engine, action, selector, arguments.dry_run)?;
    let mut output = Output::open();
    output.line(&count.to_string())?;
    output.finish()?;
    Ok(if count == 0 { exit::NOTHING } else { exit::DONE })
}

/// Sends a change in requests of bearable size and sums up their counts.
pub(crate) fn send(
    engine: &mut Client,
    action: Action,
    selector: Selector,
    dry_run: bool,
) -> Result<u64, Failure> {
    let mut count = 0;
    for piece in in_pieces(selector) {
        let selector = left_of(piece, count);
        count += engine.ask(&Request::Change { action, selector, dry_run })?.finish()?;
    }
    Ok(count)
}

/// Asks a person before very much is changed.
fn confirmed(engine: &mut Client, action: Action, selector: &Selector) -> Result<bool, Failure> {
    let count = send(engine, action, selector.clone(), true)?;
    if count <= ASK_ABOVE {
        return Ok(true);
    }
    let mut stderr = std::io::stderr();
    let word = action.as_str().replace('_', " and ");
    write!(stderr, "{word} {count} messages? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
