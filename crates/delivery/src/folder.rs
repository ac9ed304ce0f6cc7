//! Which folder is a recipient's Maildir.
//!
//! Promises: a value fills at most one component of the path and never leaves it; what can be no name of a
//! folder is refused. Refuses: looking at the disk.

use std::path::PathBuf;

use crate::words::{Mailbox, Piece, Template, TemplateError, Word};

/// Longest name of a file or folder (NAME_MAX of Linux).
const NAME_BYTES_MAX: usize = 255;

/// The next hop of a Maildir transport: `/var/mail/${domain}/${user}`.
///
/// `${recipient}`, `${mailbox}`, `${user}`, `${extension}` and `${domain}` stand for the recipient's, in
/// lower case. A component with `${extension}` in it is left out when there is no extension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    components: Vec<Template>,
}

/// A recipient that no folder can be called by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NoName {
    pub(crate) name: String,
}

/// The path of a Maildir.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MaildirPath {
    /// The part that is the same for every recipient: it has to be there.
    pub(crate) root: PathBuf,
    /// The names of the folders below it; at least one.
    pub(crate) below: Vec<String>,
}

impl MaildirPath {
    pub(crate) fn whole(&self) -> PathBuf {
        self.below.iter().fold(self.root.clone(), |path, name| path.join(name))
    }
}

impl Folder {
    /// Reads the template of a folder.
    pub fn parse(text: &str) -> Result<Folder, TemplateError> {
        let path =
            text.strip_prefix('/').ok_or_else(|| TemplateError::NotAbsolute { text: text.to_owned() })?;
        let mut components = Vec::new();
        for component in path.split('/').filter(|component| !component.is_empty()) {
            if matches!(component, "." | "..") {
                return Err(TemplateError::Dots { text: text.to_owned() });
            }
            components.push(Template::parse(component, names_folders)?);
        }
        if components.is_empty() {
            return Err(TemplateError::NotAbsolute { text: text.to_owned() });
        }
        Ok(Folder { components })
    }

    /// The folder of a recipient.
    pub(crate) fn path(&self, mailbox: &Mailbox) -> Result<MaildirPath, NoName> {
        let fixed = self.components.iter().take_while(|component| is_plain(component)).count();
        // A folder that is the same for everybody is a mailbox all the same, and not the root.
        let fixed = fixed.min(self.components.len() - 1);
        let (root, below) = self.components.split_at(fixed);
        let root = root.iter().map(|component| component.expand(|_| String::new())).collect::<Vec<_>>();
        let root = root.iter().fold(PathBuf::from("/"), |path, name| path.join(name));
        let mut names = Vec::new();
        for component in below {
            names.extend(name(component, mailbox)?);
        }
        if names.is_empty() {
            return Err(NoName { name: String::new() });
        }
        Ok(MaildirPath { root, below: names })
    }
}

fn names_folders(word: Word) -> bool {
    word.is_of_recipient() && word != Word::OriginalRecipient
}

fn is_plain(component: &Template) -> bool {
    component.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
}

/// The name that a component has for this recipient; nothing when it is left out.
fn name(component: &Template, mailbox: &Mailbox) -> Result<Option<String>, NoName> {
    let has_extension = component.pieces.contains(&Piece::Word(Word::Extension));
    if has_extension && mailbox.value(Word::Extension).is_none_or(str::is_empty) {
        return Ok(None);
    }
    let name = component.expand(|word| mailbox.value(word).unwrap_or_default().to_lowercase());
    // A dot in front hides a folder, and has a meaning in some mail stores: only a template may ask for it.
    let own_dot = matches!(component.pieces.first(), Some(Piece::Text(text)) if text.starts_with('.'));
    let good = !name.is_empty()
        && !matches!(&*name, "." | "..")
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(|c: char| c == '/' || c.is_control())
        && (own_dot || !name.starts_with('.'));
    if good { Ok(Some(name)) } else { Err(NoName { name }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Address, Recipient};
    use proptest::prelude::*;

    fn mailbox(address: &str) -> Mailbox {
        let recipient = Recipient { address: Address::parse(address).unwrap(), orcpt: None, notify: None };
        Mailbox::new(&recipient, "host.test", "+")
    }

    fn path(template: &str, address: &str) -> Result<String, NoName> {
        let path = Folder::parse(template).unwrap().path(&mailbox(address))?;
        Ok(format!("{} {}", path.root.display(), path.below.join("/")))
    }

    #[test]
    fn values_fill_their_component() {
        for (template, address, expected) in [
            ("/var/mail/${domain}/${user}", "U+x@Sub.X.test", "/var/mail sub.x.test/u"),
            ("/home/${user}/Maildir/.${extension}", "u+Lists@x.test", "/home u/Maildir/.lists"),
            ("/home/${user}/Maildir/.${extension}", "u@x.test", "/home u/Maildir"),
            ("/m/${recipient}", "\"a b\"@x.test", "/m \"a b\"@x.test"),
            ("/m/${mailbox}", "\"a b\"@x.test", "/m a b"),
            ("/m/${domain}", "postmaster", "/m host.test"),
            ("/m/${domain}", "u@[IPv6:::1]", "/m [ipv6:::1]"),
            ("//srv//all/", "u@x.test", "/srv all"),
            ("/all", "u@x.test", "/ all"),
        ] {
            assert_eq!(path(template, address).as_deref(), Ok(expected), "{template} {address}");
        }
    }

    #[test]
    fn nothing_leaves_its_component() {
        for address in [
            "\"..\"@x.test",
            "\".\"@x.test",
            "\"\"@x.test",
            "\"../../etc/cron.d\"@x.test",
            "a/b@x.test",
            "\".ssh\"@x.test",
            "\"..+x\"@x.test",
        ] {
            assert!(path("/m/${user}", address).is_err(), "{address}");
            assert!(path("/m/${user}/Maildir", address).is_err(), "{address}");
        }
        assert!(path("/m/.${extension}", "\"u+.\"@x.test").is_err_and(|no| no.name == ".."));
        assert!(path("/m/${extension}", "u@x.test").is_err());
        assert!(path("/m/${mailbox}${mailbox}", &format!("{}@x.test", "a".repeat(128))).is_err());
    }

    #[test]
    fn templates_are_checked() {
        for (template, part) in [
            ("", "whole path"),
            ("/", "whole path"),
            ("mail/${user}", "whole path"),
            ("/mail/../etc/${user}", ". and .."),
            ("/mail/${sender}", "${sender} is not known here"),
            ("/mail/${original_recipient}", "not known here"),
            ("/mail/$user", "written ${name}"),
        ] {
            let error = Folder::parse(template).expect_err(template).to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_recipient_leaves_the_root(local in "[./a+\\\\ ~-]{0,12}", shape in 0usize..3) {
            let quoted = local.replace('\\', "\\\\");
            let template = ["/m/${user}", "/m/${user}/.${extension}", "/m/x${mailbox}"][shape];
            if let Ok(address) = Address::parse(&format!("\"{quoted}\"@x.test")) {
                let path = Folder::parse(template).unwrap().path(&mailbox(address.as_str()));
                if let Ok(path) = path {
                    let whole = path.whole();
                    prop_assert!(whole.starts_with("/m") && whole.components().count() == 2 + path.below.len());
                    prop_assert!(whole.components().all(|part| part != std::path::Component::ParentDir));
                }
            }
        }
    }
}
