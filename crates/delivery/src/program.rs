//! What a pipe transport runs: program, arguments, user, folder.
//!
//! Promises: a program is named with its whole path and never looked for, nor is a shell asked; an argument
//! that a sender or recipient could turn into an option is refused. Refuses: running anything.

use std::path::PathBuf;

use crate::copy::Preparation;
use crate::words::{Mailbox, Piece, Template, TemplateError, Word};

/// A program and how it is run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<Template>,
    /// Whom it runs as: `user` or `user:group`; nothing means the engine's own user, who must not be root.
    pub user: Option<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// What is done to the message.
    pub preparation: Preparation,
}

/// Why a command is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProgramError {
    /// No words at all.
    #[error("a program is expected, as in [\"/usr/bin/program\", \"${{recipient}}\"]")]
    Empty,
    /// The program has no whole path.
    #[error("\"{program}\": a program with its whole path is expected, such as /usr/bin/program")]
    NotAbsolute {
        /// As written.
        program: String,
    },
    /// A word that is none.
    #[error("{0}")]
    Template(#[from] TemplateError),
}

/// An argument that a program might take for an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Optionlike {
    pub(crate) argument: String,
}

impl Program {
    /// Reads a command: a program and its arguments, which may hold the words of pipe(8).
    pub fn parse<S: AsRef<str>>(argv: &[S]) -> Result<Program, ProgramError> {
        let (program, arguments) = argv.split_first().ok_or(ProgramError::Empty)?;
        let program = program.as_ref();
        // Words are not known here: nobody but the operator says what is run.
        Template::parse(program, |_| false)?;
        if !program.starts_with('/') {
            return Err(ProgramError::NotAbsolute { program: program.to_owned() });
        }
        let arguments = arguments.iter().map(|argument| Template::parse(argument.as_ref(), |_| true));
        Ok(Program {
            path: program.into(),
            arguments: arguments.collect::<Result<_, _>>()?,
            user: None,
            directory: "/".into(),
            preparation: Preparation::default(),
        })
    }

    /// The same, run as this user.
    #[must_use]
    pub fn run_as(self, user: Option<String>) -> Program {
        Program { user, ..self }
    }

    /// The program.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether an argument made of this recipient could pass for an option.
    pub(crate) fn check_recipient(&self, mailbox: &Mailbox) -> Result<(), Optionlike> {
        let of_recipient = self.arguments.iter().filter(|argument| argument.is_of_recipient());
        of_recipient
            .map(|argument| checked(argument, |word| value(word, mailbox)))
            .try_for_each(|one| one.map(drop))
    }

    /// The arguments for these recipients. One with a word about the recipient in it stands once for each
    /// of them, as in pipe(8). `value` knows the other words.
    pub(crate) fn arguments(
        &self,
        mailboxes: &[Mailbox],
        other: impl Fn(Word) -> String,
    ) -> Result<Vec<String>, Optionlike> {
        let mut arguments = Vec::new();
        for argument in &self.arguments {
            if argument.is_of_recipient() {
                for mailbox in mailboxes {
                    let both = |word| mailbox.value(word).map_or_else(|| other(word), str::to_owned);
                    arguments.push(checked(argument, both)?);
                }
            } else {
                arguments.push(checked(argument, &other)?);
            }
        }
        Ok(arguments)
    }
}

fn value(word: Word, mailbox: &Mailbox) -> String {
    mailbox.value(word).unwrap_or_default().to_owned()
}

/// The argument, unless it begins with a hyphen that the operator did not write.
fn checked(template: &Template, value: impl Fn(Word) -> String) -> Result<String, Optionlike> {
    let argument = template.expand(value);
    let own = matches!(template.pieces.first(), Some(Piece::Text(_)));
    if argument.starts_with('-') && !own { Err(Optionlike { argument }) } else { Ok(argument) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Address, Recipient};

    fn mailbox(address: &str) -> Mailbox {
        let recipient = Recipient { address: Address::parse(address).unwrap(), orcpt: None, notify: None };
        Mailbox::new(&recipient, "host.test", "+")
    }

    fn arguments(argv: &[&str], recipients: &[&str]) -> Result<Vec<String>, Optionlike> {
        let program = Program::parse(argv).unwrap();
        let mailboxes: Vec<Mailbox> = recipients.iter().map(|address| mailbox(address)).collect();
        program
            .arguments(&mailboxes, |word| if word == Word::Sender { "-s@x.test".into() } else { "9".into() })
    }

    #[test]
    fn words_about_recipients_repeat_their_argument() {
        let argv = ["/bin/p", "-f", "--for=${recipient}", "${user}:${extension}:${size}", "end", "${size}"];
        assert_eq!(
            arguments(&argv, &["u+x@a.test", "V@B.test"]).unwrap(),
            ["-f", "--for=u+x@a.test", "--for=V@B.test", "u:x:9", "V::9", "end", "9"]
        );
    }

    #[test]
    fn nobody_but_the_operator_gives_options() {
        assert!(arguments(&["/bin/p", "${recipient}"], &["-oQ/tmp@x.test"]).is_err());
        assert!(arguments(&["/bin/p", "${extension}${user}"], &["-x@x.test"]).is_err());
        assert!(arguments(&["/bin/p", "${sender}"], &[]).is_err());
        assert!(arguments(&["/bin/p", "-f${sender}"], &[]).is_ok());
        let program = Program::parse(&["/bin/p", "${user}", "${size}"]).unwrap();
        assert!(program.check_recipient(&mailbox("-x@x.test")).is_err());
        assert!(program.check_recipient(&mailbox("x-@x.test")).is_ok());
    }

    #[test]
    fn commands_are_checked() {
        for (argv, part) in [
            (&[][..], "a program is expected"),
            (&["cat"], "whole path"),
            (&["/usr/bin/${user}"], "not known here"),
            (&["/bin/p", "${usr}"], "${usr} is not known here"),
            (&["/bin/p", "$recipient"], "written ${name}"),
            (&["/bin/p", "a\nb"], "control characters"),
        ] {
            let error = Program::parse(argv).expect_err(part).to_string();
            assert!(error.contains(part), "{argv:?}: {error}");
        }
    }
}
