//! sendmail(1): submission from standard input with -t -f -F -i -oi -B -N -R -V, and -bp and -q with what
//! may follow it. Other -o options are accepted and change nothing.
//!
//! Different: the message goes to the engine's SMTP front-end at once. When nobody listens there it is
//! refused with exit code 75 instead of being dropped into a directory for later.

use std::slice::Iter;

use super::super::failure::{Failure, exit};
use super::postqueue;
use super::submission::{self, Submission};
use super::submit;

/// What Postfix's sendmail ends with whenever it gives up, wrong usage included (EX_TEMPFAIL of
/// sysexits.h): whoever submits shall keep the message and try again.
const EX_TEMPFAIL: u8 = 75;

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let mut submission = Submission::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            None => submission.recipients.push(argument.clone()),
            Some("-") => submission.recipients.extend(rest.by_ref().cloned()),
            Some("bp") => return postqueue::list(),
            // newaliases: there are no alias files here.
            Some("bi" | "I") => return Ok(exit::DONE),
            Some(letters) if letters.starts_with('q') => return queue(&letters[1..]),
            Some(letters) => option(letters, &mut rest, &mut submission)?,
        }
    }
    let message = submission::read(&mut std::io::stdin().lock(), &mut submission)?;
    submit::submit(&submission, &message)?;
    Ok(exit::DONE)
}

/// One argument with options: letters that stand for themselves, the last one perhaps with a value.
fn option(letters: &str, rest: &mut Iter<'_, String>, submission: &mut Submission) -> Result<(), Failure> {
    for (place, letter) in letters.char_indices() {
        let attached = &letters[place + letter.len_utf8()..];
        let mut value = || match attached {
            "" => rest.next().cloned().ok_or_else(|| usage(format!("option -{letter} requires an argument"))),
            attached => Ok(attached.to_owned()),
        };
        match letter {
            't' => submission.recipients_from_header = true,
            'i' => submission.dot_is_content = true,
            'm' | 'n' | 'v' | 'x' | 'U' | 'G' => {}
            'b' if attached == "m" => return Ok(()),
            'o' => {
                submission.dot_is_content |= value()?.starts_with('i');
                return Ok(());
            }
            'f' | 'r' => return value().map(|value| submission.sender = Some(value)),
            'F' => return value().map(|value| submission.full_name = Some(value)),
            'N' => return value().map(|value| submission.notify = Some(value)),
            'R' => return value().map(|value| submission.ret = Some(value)),
            'V' => return value().map(|value| submission.envid = Some(value)),
            'A' | 'B' | 'C' | 'L' | 'O' | 'X' | 'h' => return value().map(drop),
            _ => return Err(usage(format!("unsupported: -{letter}{attached}"))),
        }
    }
    Ok(())
}

/// What stands behind -q.
fn queue(which: &str) -> Result<u8, Failure> {
    match which.chars().next() {
        None => postqueue::flush_all(),
        Some('R') => postqueue::flush_site(&which[1..]),
        Some('I') => postqueue::flush_message(&which[1..]),
        // An interval starts a daemon that is running anyway.
        Some('0'..='9') => Ok(exit::DONE),
        Some(_) => Err(usage(format!("-q{which} is not implemented"))),
    }
}

fn usage(text: String) -> Failure {
    Failure::Told { code: EX_TEMPFAIL, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_stand_together() {
        let read = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let mut submission = Submission::default();
            let mut rest = arguments.iter();
            while let Some(argument) = rest.next() {
                option(argument.strip_prefix('-').unwrap(), &mut rest, &mut submission)?;
            }
            Ok::<_, Failure>(submission)
        };
        let submission = read(&["-ti", "-fa@b.test", "-F", "A B", "-oem"]).unwrap();
        assert!(submission.recipients_from_header && submission.dot_is_content);
        assert_eq!(submission.sender.as_deref(), Some("a@b.test"));
        assert_eq!(submission.full_name.as_deref(), Some("A B"));
        assert!(read(&["-oi"]).unwrap().dot_is_content && !read(&["-t"]).unwrap().dot_is_content);
        assert_eq!(read(&["-bs"]).unwrap_err().code(), EX_TEMPFAIL);
        assert_eq!(read(&["-f"]).unwrap_err().code(), EX_TEMPFAIL);
    }
}
