//! sendmail(1) and mailq(1): submission from standard input with -t -f -F -i -oi -B -N -R -V or as SMTP with
//! -bs, and -bp and -q with what may follow it. Other -o options are accepted and change nothing. As there,
//! all options are read before anything is done, the last mode wins, and what postqueue(1) does it does in
//! its name.
//!
//! Different: the message goes to the engine's SMTP front-end at once. When nobody listens there it is
//! refused with exit code 75 instead of being dropped into a directory for later.

use std::slice::Iter;

use mail::{Notify, ParameterError, Ret};

use super::super::complain;
use super::super::failure::{Failure, exit};
use super::postqueue;
use super::relay;
use super::submission::{self, Submission};
use super::submit;

/// What Postfix's sendmail ends with whenever it gives up, wrong usage included (EX_TEMPFAIL of
/// sysexits.h): whoever submits shall keep the message and try again.
const EX_TEMPFAIL: u8 = 75;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Mode {
    /// Take a message from standard input.
    Deliver,
    /// Show the queue.
    List,
    /// -q: try everything.
    Flush,
    /// -q with a time: starts a daemon, and that is running anyway.
    Interval,
    /// -bs: SMTP on standard input and output.
    Session,
    /// newaliases: there are no alias files here.
    Aliases,
}

/// Everything that the arguments say.
struct Asked {
    mode: Mode,
    /// -qR.
    site: Option<String>,
    /// -qI.
    id: Option<String>,
    submission: Submission,
}

/// Runs sendmail.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    carry_out(read(Mode::Deliver, arguments)?)
}

/// Runs mailq, which is sendmail with another mode to begin with.
pub(super) fn list(arguments: &[String]) -> Result<u8, Failure> {
    carry_out(read(Mode::List, arguments)?)
}

fn carry_out(mut asked: Asked) -> Result<u8, Failure> {
    let none = |text: &str, done: fn() -> Result<u8, Failure>| match asked.submission.recipients.is_empty() {
        true => Ok(postqueue(done())),
        false => Err(usage(format!("{text} requires no recipient"))),
    };
    match (asked.mode, &asked.site, &asked.id) {
        (Mode::Deliver, Some(_), _) if !asked.submission.recipients.is_empty() => {
            return Err(usage("flush site requires no recipient".to_owned()));
        }
        (Mode::Deliver, Some(site), _) => return Ok(postqueue(postqueue::flush_site(site))),
        (Mode::Deliver, None, Some(_)) if !asked.submission.recipients.is_empty() => {
            return Err(usage("flush queue_id requires no recipient".to_owned()));
        }
        (Mode::Deliver, None, Some(id)) => return Ok(postqueue(postqueue::flush_message(id))),
        (Mode::Deliver, None, None) => {}
        (_, Some(_), _) => return Err(delivery_only("qR")),
        (_, None, Some(_)) => return Err(delivery_only("qI")),
        _ if asked.submission.recipients_from_header => return Err(delivery_only("t")),
        (Mode::List, ..) => return none("display queue mode", postqueue::list),
        (Mode::Flush, ..) => return none("flush queue mode", postqueue::flush_all),
        (Mode::Aliases, ..) => return none("alias initialization mode", || Ok(exit::DONE)),
        (Mode::Session, ..) if asked.submission.recipients.is_empty() => return relay::run(),
        (Mode::Session, ..) => return Err(usage("stand-alone mode requires no recipient".to_owned())),
        (Mode::Interval, ..) => return Ok(exit::DONE),
    }
    let operands = std::mem::take(&mut asked.submission.recipients);
    asked.submission.recipients = operands.iter().flat_map(|text| submission::addresses(text)).collect();
    let message = submission::read(&mut std::io::stdin().lock(), &mut asked.submission)?;
    submit::submit(&asked.submission, &message)?;
    Ok(exit::DONE)
}

/// What postqueue came to, its failure told in its name.
fn postqueue(result: Result<u8, Failure>) -> u8 {
    result.unwrap_or_else(|failure| complain("postqueue: fatal", &failure))
}

/// Reads all arguments.
fn read(mode: Mode, arguments: &[String]) -> Result<Asked, Failure> {
    let mut asked = Asked { mode, site: None, id: None, submission: Submission::default() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            None => asked.submission.recipients.push(argument.clone()),
            Some("-") => asked.submission.recipients.extend(rest.by_ref().cloned()),
            Some("q") => asked.mode = Mode::Flush,
            Some(letters) => option(letters, &mut rest, &mut asked)?,
        }
    }
    Ok(asked)
}

/// One argument with options: letters that stand for themselves, the last one perhaps with a value.
fn option(letters: &str, rest: &mut Iter<'_, String>, asked: &mut Asked) -> Result<(), Failure> {
    for (place, letter) in letters.char_indices() {
        let attached = &letters[place + letter.len_utf8()..];
        let mut value = || match attached {
            "" => rest.next().cloned().ok_or_else(|| usage(format!("option -{letter} requires an argument"))),
            attached => Ok(attached.to_owned()),
        };
        let submission = &mut asked.submission;
        match letter {
            't' => submission.recipients_from_header = true,
            'i' => submission.dot_is_content = true,
            'I' => asked.mode = Mode::Aliases,
            'n' => return Err(usage("-n option not supported".to_owned())),
            'c' | 'm' | 'v' | 'x' | 'U' | 'G' => {}
            'b' => return value().and_then(|value| mode(&value)).map(|mode| asked.mode = mode),
            'q' => return value().and_then(|value| queue(&value, asked)),
            'o' => {
                submission.dot_is_content |= value()?.starts_with('i');
                return Ok(());
            }
            'f' | 'r' => return value().map(|value| submission.sender = Some(value)),
            'F' => return value().map(|value| submission.full_name = Some(value)),
            'N' => return value().map(|value| keep(&mut submission.notify, 'N', Notify::parse(&value))),
            'R' => return value().map(|value| keep(&mut submission.ret, 'R', Ret::parse(&value))),
            'B' => return value().and_then(|value| body_type(&value)),
            'V' => return value().map(|value| submission.envid = Some(value)),
            'A' | 'C' | 'L' | 'O' | 'e' | 'h' | 'p' => return value().map(drop),
            _ => return Err(usage(format!("unsupported: -{letter}{attached}"))),
        }
    }
    Ok(())
}

/// A wish about reports is no reason not to take the message: a malformed one is left out, as there.
fn keep<T>(place: &mut Option<T>, letter: char, value: Result<T, ParameterError>) {
    match value {
        Ok(value) => *place = Some(value),
        Err(error) => eprintln!("sendmail: warning: bad -{letter} option value -- ignored: {error}"),
    }
}

/// What stands behind -B; the front-end finds out by itself which one it is.
fn body_type(text: &str) -> Result<(), Failure> {
    let known = ["8BITMIME", "7BIT"].iter().any(|known| text.eq_ignore_ascii_case(known));
    if known { Ok(()) } else { Err(usage("-B option needs 8BITMIME or 7BIT".to_owned())) }
}

/// What stands behind -b; as there, its first letter says it.
fn mode(text: &str) -> Result<Mode, Failure> {
    match text.chars().next() {
        Some('p') => Ok(Mode::List),
        Some('m') => Ok(Mode::Deliver),
        Some('i') => Ok(Mode::Aliases),
        Some('s') => Ok(Mode::Session),
        _ => Err(usage(format!("unsupported: -b{text}"))),
    }
}

/// What stands behind -q.
fn queue(text: &str, asked: &mut Asked) -> Result<(), Failure> {
    let which = || text.chars().skip(1).collect::<String>();
    match text.chars().next() {
        Some('R' | 'I') if text.len() == 1 => {
            let what = if text == "R" { "sitename" } else { "queueid" };
            return Err(usage(format!("specify: -q{text}{what}")));
        }
        Some('R') => asked.site = Some(which()),
        Some('I') => asked.id = Some(which()),
        Some('0'..='9') => asked.mode = Mode::Interval,
        other => return Err(usage(format!("-q{} is not implemented", other.unwrap_or(' ')))),
    }
    Ok(())
}

fn delivery_only(option: &str) -> Failure {
    usage(format!("-{option} can be used only in delivery mode"))
}

fn usage(text: String) -> Failure {
    Failure::Told { code: EX_TEMPFAIL, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, Failure> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        read(Mode::Deliver, &arguments)
    }

    #[test]
    fn options_may_stand_together() {
        let read = asked("-ti -fa@b.test -F A -oem -em -p smtp").unwrap();
        let submission = read.submission;
        assert!(submission.recipients_from_header && submission.dot_is_content);
        assert_eq!(submission.sender.as_deref(), Some("a@b.test"));
        assert_eq!(submission.full_name.as_deref(), Some("A"));
        assert!(submission.recipients.is_empty());
        assert!(asked("-oi").unwrap().submission.dot_is_content);
        assert!(!asked("-t").unwrap().submission.dot_is_content);
        let reports = asked("-N success,failure -R hdrs -B 8bitmime u@x.test").unwrap().submission;
        assert_eq!(
            (reports.notify, reports.ret),
            (Notify::parse("SUCCESS,FAILURE").ok(), Some(Ret::Headers))
        );
        // Scripts relied on these being taken without the wish.
        for line in ["-N bad -R", "-N never,failure -R", "-N failure,bogus -R"] {
            let reports = asked(&format!("{line} bad u@x.test")).unwrap().submission;
            assert_eq!((reports.notify, reports.ret, reports.recipients.len()), (None, None, 1));
        }
        for line in ["-B bad u@x.test", "-n u@x.test", "-X log u@x.test"] {
            assert_eq!(asked(line).err().unwrap().code(), EX_TEMPFAIL);
        }
        assert_eq!(asked("-bv").err().unwrap().code(), EX_TEMPFAIL);
        assert_eq!(asked("-f").err().unwrap().code(), EX_TEMPFAIL);
    }

    #[test]
    fn the_last_mode_wins_wherever_it_stands() {
        for (line, mode) in [
            ("-q -bp", Mode::List),
            ("-bp -q", Mode::Flush),
            ("-vbpx", Mode::List),
            ("-bm -q -v", Mode::Flush),
            ("-q -bm", Mode::Deliver),
            ("-q15m", Mode::Interval),
            ("-bp -bi", Mode::Aliases),
            ("-I", Mode::Aliases),
        ] {
            assert_eq!(asked(line).unwrap().mode, mode, "{line}");
        }
        let site = asked("-v -qRexample.com").unwrap();
        assert_eq!((site.mode, site.site.as_deref()), (Mode::Deliver, Some("example.com")));
        assert_eq!(asked("-qI17").unwrap().id.as_deref(), Some("17"));
    }

    #[test]
    fn what_does_not_go_together_is_refused_before_anything_is_done() {
        for (line, said) in [
            ("-bp u@x.test", "display queue mode requires no recipient"),
            ("-q u@x.test", "flush queue mode requires no recipient"),
            ("-bs u@x.test", "stand-alone mode requires no recipient"),
            ("-bi u@x.test", "alias initialization mode requires no recipient"),
            ("-qRx.test u@x.test", "flush site requires no recipient"),
            ("-qI17 u@x.test", "flush queue_id requires no recipient"),
            ("-qRx.test -bp", "-qR can be used only in delivery mode"),
            ("-q -qI17", "-qI can be used only in delivery mode"),
            ("-q -t", "-t can be used only in delivery mode"),
            ("-qR", "specify: -qRsitename"),
            ("-qI", "specify: -qIqueueid"),
            ("-q!R", "-q! is not implemented"),
        ] {
            let failure = asked(line).and_then(carry_out).err().unwrap();
            assert_eq!((failure.lines(), failure.code()), (vec![said.to_owned()], EX_TEMPFAIL), "{line}");
        }
    }
}
