//! The program under the names of Postfix's: the same options, output and exit codes, as far as listed
//! in each file.

mod postcat;
mod postqueue;
mod postsuper;
mod qshape;
mod relay;
mod sendmail;
mod submission;
mod submit;

use std::ffi::OsString;

use super::failure::{Failure, exit};

/// More letters than this are no queue id of any release.
const FOREIGN_ID_LENGTH_MAX: usize = 100;

/// A program of Postfix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program {
    Mailq,
    Postqueue,
    Postsuper,
    Postcat,
    Qshape,
    Sendmail,
}

/// The program of this name.
pub(super) fn find(name: &str) -> Option<Program> {
    Some(match name {
        "mailq" => Program::Mailq,
        "postqueue" => Program::Postqueue,
        "postsuper" => Program::Postsuper,
        "postcat" => Program::Postcat,
        "qshape" => Program::Qshape,
        "sendmail" => Program::Sendmail,
        _ => return None,
    })
}

/// Runs it with its arguments, its own name first.
pub(super) fn run(program: Program, name: &str, arguments: Vec<OsString>) -> u8 {
    let arguments = arguments.into_iter().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let arguments: Vec<String> = arguments.collect();
    let result = match program {
        Program::Mailq => sendmail::list(&arguments),
        Program::Postqueue => postqueue::run(&arguments),
        Program::Postsuper => postsuper::run(&arguments),
        Program::Postcat => postcat::run(&arguments),
        Program::Qshape => qshape::run(&arguments),
        Program::Sendmail => sendmail::run(&arguments),
    };
    result.unwrap_or_else(|failure| super::complain(&format!("{name}: fatal"), &failure))
}

/// One option as getopt(3) sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Word {
    /// `-x`, with its argument if it takes one.
    Option(char, String),
    /// What is no option.
    Operand(String),
}

/// Splits arguments as getopt(3) does: `-ab`, `-sVALUE`, `-s VALUE`; `--` or the first operand ends the
/// options. `with_value` lists the letters that take an argument, `known` all of them. The failure has the
/// exit code that the program in question uses for usage errors.
fn words(
    arguments: &[String],
    known: &str,
    with_value: &str,
    (usage, code): (&str, u8),
) -> Result<Vec<Word>, Failure> {
    let wrong = |text: String| Failure::Told { code, text: format!("{text}; usage: {usage}") };
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            words.push(Word::Operand(argument.clone()));
            break;
        };
        if letters == "-" {
            break;
        }
        for (place, letter) in letters.char_indices() {
            if !known.contains(letter) || letter == ':' {
                return Err(wrong(format!("invalid option -- '{letter}'")));
            }
            if !with_value.contains(letter) {
                words.push(Word::Option(letter, String::new()));
                continue;
            }
            let attached = &argument[1 + place + letter.len_utf8()..];
            let value = match attached {
                "" => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| wrong(format!("option -{letter} requires an argument")))?,
                attached => attached.to_owned(),
            };
            words.push(Word::Option(letter, value));
            break;
        }
    }
    words.extend(rest.cloned().map(Word::Operand));
    Ok(words)
}

/// A queue id as Postfix writes it, in either of its forms. Scripts may still have some.
fn is_foreign_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= FOREIGN_ID_LENGTH_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The failure as Postfix's programs give it: whatever it was, exit code 69.
fn unavailable(failure: Failure) -> Failure {
    match failure {
        Failure::ReaderGone => Failure::ReaderGone,
        other => Failure::Told { code: exit::UNAVAILABLE, text: other.lines().join("; ") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_getopt_does() {
        let split = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            words(&arguments, "pjs", "s", ("x", 1))
        };
        let option = |letter, value: &str| Word::Option(letter, value.to_owned());
        let operand = |text: &str| Word::Operand(text.to_owned());
        assert_eq!(
            split(&["-pj", "-sa.test"]).unwrap(),
            [option('p', ""), option('j', ""), option('s', "a.test")]
        );
        assert_eq!(
            split(&["-ps", "b", "c", "-p"]).unwrap(),
            [option('p', ""), option('s', "b"), operand("c"), operand("-p")]
        );
        assert_eq!(split(&["-", "-p"]).unwrap(), [operand("-"), operand("-p")]);
        assert_eq!(split(&["--", "-p"]).unwrap(), [operand("-p")]);
        assert!(split(&["-x"]).is_err() && split(&["-s"]).is_err());
    }
}
