//! Texts with words in them: `/var/mail/${domain}/${user}`, `--for=${recipient}`.
//!
//! Promises: a text is read once and either good or refused with its place; nothing that a value holds is
//! read as a word again. Refuses: knowing what a value may do where it ends up. Whoever makes a file name
//! or an argument of it checks that there ([`crate::maildir`], [`crate::pipe`]).

use std::fmt::Write;

/// A word of a template, with the meaning it has in pipe(8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    Recipient,
    OriginalRecipient,
    Mailbox,
    User,
    Extension,
    Domain,
    Sender,
    Nexthop,
    QueueId,
    Size,
    ClientAddress,
    ClientHelo,
    ClientProtocol,
    Envid,
}

const WORDS: [(&str, Word); 14] = [
    ("recipient", Word::Recipient),
    ("original_recipient", Word::OriginalRecipient),
    ("mailbox", Word::Mailbox),
    ("user", Word::User),
    ("extension", Word::Extension),
    ("domain", Word::Domain),
    ("sender", Word::Sender),
    ("nexthop", Word::Nexthop),
    ("queue_id", Word::QueueId),
    ("size", Word::Size),
    ("client_address", Word::ClientAddress),
    ("client_helo", Word::ClientHelo),
    ("client_protocol", Word::ClientProtocol),
    ("envid", Word::Envid),
];

impl Word {
    /// Whether its value differs from recipient to recipient.
    pub(crate) fn is_of_recipient(self) -> bool {
        matches!(
            self,
            Word::Recipient
                | Word::OriginalRecipient
                | Word::Mailbox
                | Word::User
                | Word::Extension
                | Word::Domain
        )
    }
}

/// Why a text is no template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// `${` with a name that is no word, or a word that has no meaning here.
    #[error("\"{text}\": ${{{name}}} is not known here; known are {known}")]
    Unknown {
        /// The whole text.
        text: String,
        /// The name.
        name: String,
        /// The words that are known, separated by commas.
        known: String,
    },
    /// A `$` that opens no word.
    #[error("\"{text}\": a word is written ${{name}}, and a dollar sign $$")]
    Dollar {
        /// The whole text.
        text: String,
    },
    /// A control character.
    #[error("\"{}\": control characters are not allowed", text.escape_debug())]
    Control {
        /// The whole text.
        text: String,
    },
    /// A folder that does not begin with the root.
    #[error("\"{text}\": a folder with its whole path is expected, such as /var/mail/${{domain}}/${{user}}")]
    NotAbsolute {
        /// The whole text.
        text: String,
    },
    /// A folder with `.` or `..` in its path.
    #[error("\"{text}\": . and .. are not allowed in the path of a folder")]
    Dots {
        /// The whole text.
        text: String,
    },
}

/// A piece of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Text(String),
    Word(Word),
}

/// A text with words in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template in which the words that `allowed` takes may stand.
    pub(crate) fn parse(text: &str, allowed: fn(Word) -> bool) -> Result<Template, TemplateError> {
        let whole = || text.to_owned();
        if text.contains(char::is_control) {
            return Err(TemplateError::Control { text: whole() });
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(behind) = behind.strip_prefix('$') {
                plain.push('$');
                rest = behind;
                continue;
            }
            let word = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let (name, behind) = word.ok_or_else(|| TemplateError::Dollar { text: whole() })?;
            let known = WORDS.iter().find(|(known, word)| *known == name && allowed(*word));
            let (_, word) = known.ok_or_else(|| TemplateError::Unknown {
                text: whole(),
                name: name.to_owned(),
                known: known_words(allowed),
            })?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Word(*word));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// Whether any word of it is about a single recipient.
    pub(crate) fn is_of_recipient(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Word(word) if word.is_of_recipient()))
    }

    /// The text with the values in place.
    pub(crate) fn expand(&self, value: impl Fn(Word) -> String) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Word(word) => text.push_str(&value(*word)),
            }
        }
        text
    }
}

fn known_words(allowed: fn(Word) -> bool) -> String {
    let mut text = String::new();
    for (name, _) in WORDS.iter().filter(|(_, word)| allowed(*word)) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}${{{name}}}");
    }
    text
}

/// The parts of a local part: `user` and what follows the delimiter. A delimiter in front is part of the
/// name (`recipient_delimiter` of postconf(5)).
pub(crate) fn user_and_extension<'l>(local: &'l str, delimiters: &str) -> (&'l str, &'l str) {
    let mut chars = local.char_indices().skip(1);
    match chars.find(|(_, c)| delimiters.contains(*c)) {
        Some((place, delimiter)) => (&local[..place], &local[place + delimiter.len_utf8()..]),
        None => (local, ""),
    }
}

/// A recipient taken apart for the words that are about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mailbox {
    pub(crate) recipient: String,
    /// The address that ORCPT gives, when it is one of mail.
    pub(crate) original: Option<String>,
    local: String,
    user: String,
    extension: String,
    domain: String,
}

impl Mailbox {
    /// `hostname` is the domain of `<postmaster>`.
    pub(crate) fn new(recipient: &mail::Recipient, hostname: &str, delimiters: &str) -> Mailbox {
        let local = recipient.address.unquoted_local_part();
        let (user, extension) = user_and_extension(&local, delimiters);
        let (user, extension) = (user.to_owned(), extension.to_owned());
        let original = recipient.orcpt.as_ref().map(|orcpt| orcpt.address.clone());
        let domain = recipient.address.site().unwrap_or_else(|| hostname.to_owned());
        Mailbox { recipient: recipient.address.to_string(), original, local, user, extension, domain }
    }

    /// The value of a word about the recipient; nothing for the others.
    pub(crate) fn value(&self, word: Word) -> Option<&str> {
        match word {
            Word::Recipient => Some(&self.recipient),
            Word::OriginalRecipient => Some(self.original.as_ref().unwrap_or(&self.recipient)),
            Word::Mailbox => Some(&self.local),
            Word::User => Some(&self.user),
            Word::Extension => Some(&self.extension),
            Word::Domain => Some(&self.domain),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expand(text: &str) -> Result<String, TemplateError> {
        let template = Template::parse(text, |word| word != Word::Size)?;
        Ok(template.expand(|word| match word {
            Word::User => "${user}".to_owned(),
            other => format!("<{other:?}>"),
        }))
    }

    #[test]
    fn words_stand_for_their_values_once() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${recipient}", "<Recipient>"),
            ("a${domain}b${user}c", "a<Domain>b${user}c"),
            ("$${user}$$", "${user}$"),
            ("${extension}${queue_id}", "<Extension><QueueId>"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for (text, part) in [
            ("$user", "written ${name}"),
            ("${user", "written ${name}"),
            ("a$", "written ${name}"),
            ("${size}", "${size} is not known here; known are ${recipient}, "),
            ("${}", "${} is not known"),
            ("a\0", "control"),
        ] {
            let error = expand(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_delimiter_parts_the_extension_from_the_user() {
        for (local, delimiters, user, extension) in [
            ("u", "+", "u", ""),
            ("u+x", "+", "u", "x"),
            ("u+x+y", "+", "u", "x+y"),
            ("+u", "+", "+u", ""),
            ("u-x+y", "+-", "u", "x+y"),
            ("u+x", "", "u+x", ""),
            ("", "+", "", ""),
        ] {
            assert_eq!(user_and_extension(local, delimiters), (user, extension), "{local}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_plain_text_stays(text in "\\PC{0,30}") {
            let read = expand(&text);
            if !text.contains('$') {
                prop_assert_eq!(read, Ok(text));
            }
        }
    }
}
