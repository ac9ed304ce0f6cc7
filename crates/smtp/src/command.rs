//! Commands: what a client says, one line each (RFC 5321 4.1 and its extensions).
//!
//! Promises: printing a command and reading it back gives the same command; addresses and parameter
//! values keep their spelling. Every refusal knows its own reply.
//! Refuses: control characters and bytes that are no UTF-8 anywhere, other letters than ASCII outside
//! MAIL and RCPT, parameters that this program does not implement (555), parameters given twice.
//! Lines come without their CRLF; whoever cuts them bounds their length.

use std::fmt;

use mail::limits::ENVID_BYTES_MAX;
use mail::{Address, BodyType, Notify, Orcpt, Recipient, Ret, decode_xtext, encode_xtext};
use mail::{EnhancedStatus, Reply};

use crate::path::{PathError, parse_forward_path, parse_reverse_path};

/// The word in front of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verb {
    /// HELO (RFC 5321 4.1.1.1).
    Helo,
    /// EHLO (RFC 5321 4.1.1.1).
    Ehlo,
    /// LHLO (RFC 2033 4.1).
    Lhlo,
    /// MAIL (RFC 5321 4.1.1.2).
    Mail,
    /// RCPT (RFC 5321 4.1.1.3).
    Rcpt,
    /// DATA (RFC 5321 4.1.1.4).
    Data,
    /// BDAT (RFC 3030 2).
    Bdat,
    /// RSET (RFC 5321 4.1.1.5).
    Rset,
    /// VRFY (RFC 5321 4.1.1.6).
    Vrfy,
    /// EXPN (RFC 5321 4.1.1.7).
    Expn,
    /// HELP (RFC 5321 4.1.1.8).
    Help,
    /// NOOP (RFC 5321 4.1.1.9).
    Noop,
    /// QUIT (RFC 5321 4.1.1.10).
    Quit,
    /// STARTTLS (RFC 3207 4).
    StartTls,
    /// ETRN (RFC 1985 5).
    Etrn,
    /// AUTH (RFC 4954 4).
    Auth,
}

impl Verb {
    const ALL: [(Verb, &'static str); 16] = [
        (Verb::Mail, "MAIL"),
        (Verb::Rcpt, "RCPT"),
        (Verb::Data, "DATA"),
        (Verb::Bdat, "BDAT"),
        (Verb::Helo, "HELO"),
        (Verb::Ehlo, "EHLO"),
        (Verb::Lhlo, "LHLO"),
        (Verb::Rset, "RSET"),
        (Verb::Vrfy, "VRFY"),
        (Verb::Expn, "EXPN"),
        (Verb::Help, "HELP"),
        (Verb::Noop, "NOOP"),
        (Verb::Quit, "QUIT"),
        (Verb::StartTls, "STARTTLS"),
        (Verb::Etrn, "ETRN"),
        (Verb::Auth, "AUTH"),
    ];

    /// The verb of a command line, in any letter case; nothing when there is no such verb.
    pub fn of(line: &[u8]) -> Option<Verb> {
        let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let word = &line[..end];
        Verb::ALL.iter().find(|(_, name)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(verb, _)| *verb)
    }

    /// The verb in capitals.
    pub fn name(self) -> &'static str {
        Verb::ALL.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }

    /// How the command is to be written, for replies.
    pub fn syntax(self) -> &'static str {
        match self {
            Verb::Helo => "HELO hostname",
            Verb::Ehlo => "EHLO hostname",
            Verb::Lhlo => "LHLO hostname",
            Verb::Mail => "MAIL FROM:<address>",
            Verb::Rcpt => "RCPT TO:<address>",
            Verb::Data => "DATA",
            Verb::Bdat => "BDAT count [LAST]",
            Verb::Rset => "RSET",
            Verb::Vrfy => "VRFY address",
            Verb::Expn => "EXPN list",
            Verb::Help => "HELP [topic]",
            Verb::Noop => "NOOP [string]",
            Verb::Quit => "QUIT",
            Verb::StartTls => "STARTTLS",
            Verb::Etrn => "ETRN domain",
            Verb::Auth => "AUTH mechanism [response]",
        }
    }
}

/// What follows `MAIL FROM:`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MailFrom {
    /// The reverse path; nothing is `<>`.
    pub sender: Option<Address>,
    /// SIZE: how many bytes the client means to send (RFC 1870 6); capped at the largest `u64`.
    pub size: Option<u64>,
    /// BODY (RFC 6152 3).
    pub body: Option<BodyType>,
    /// SMTPUTF8 (RFC 6531 3.4).
    pub smtputf8: bool,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID, decoded (RFC 3461 4.4).
    pub envid: Option<String>,
}

impl MailFrom {
    /// The reverse path without brackets; empty for `<>`.
    pub fn sender_text(&self) -> &str {
        self.sender.as_ref().map_or("", Address::as_str)
    }
}

/// What an ETRN command names (RFC 1985 5.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EtrnNode {
    /// One domain, as written.
    Domain(String),
    /// `@domain`: it and all its subdomains.
    Subdomains(String),
    /// `#queue`: a queue by its local name.
    Queue(String),
}

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// HELO with the client's name.
    Helo(String),
    /// EHLO with the client's name.
    Ehlo(String),
    /// LHLO with the client's name.
    Lhlo(String),
    /// MAIL FROM.
    Mail(MailFrom),
    /// RCPT TO with NOTIFY and ORCPT.
    Rcpt(Recipient),
    /// DATA.
    Data,
    /// BDAT: a chunk of `bytes` bytes follows.
    Bdat {
        /// Length of the chunk.
        bytes: u64,
        /// Whether the message ends with it.
        last: bool,
    },
    /// RSET.
    Rset,
    /// VRFY with whatever it asks for.
    Vrfy(String),
    /// EXPN with whatever it asks for.
    Expn(String),
    /// HELP with a topic, or with nothing.
    Help(String),
    /// NOOP with a text to be ignored, or with nothing.
    Noop(String),
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// ETRN.
    Etrn(EtrnNode),
    /// AUTH with its arguments; never implemented, but a command that is known.
    Auth(String),
}

/// Why a line is no command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// An empty line or an unknown verb.
    #[error("command not recognized")]
    Unknown,
    /// Bytes that are no UTF-8, or that are not ASCII where nothing else may stand.
    #[error("8-bit characters in a command")]
    EightBit,
    /// A control character: NUL, a bare CR, a tabulator.
    #[error("control characters in a command")]
    Control,
    /// Arguments missing or too many.
    #[error("Syntax: {}", .0.syntax())]
    Syntax(Verb),
    /// The sender of MAIL.
    #[error("Bad sender address syntax: {0}")]
    Sender(PathError),
    /// The recipient of RCPT.
    #[error("Bad recipient address syntax: {0}")]
    Recipient(PathError),
    /// A parameter that is known but has no good value, or stands there twice.
    #[error("Bad parameter {0}")]
    Parameter(&'static str),
    /// A parameter, or a value of one, that is not implemented.
    #[error("Unsupported option: {0}")]
    Unsupported(String),
}

impl CommandError {
    /// The reply that tells the client.
    pub fn reply(&self) -> Reply {
        let (code, subject, detail) = match self {
            CommandError::Unknown | CommandError::EightBit | CommandError::Control => (500, 5, 2),
            CommandError::Syntax(Verb::Etrn) => (500, 5, 4),
            CommandError::Syntax(_) | CommandError::Parameter(_) => (501, 5, 4),
            CommandError::Sender(_) => (501, 1, 7),
            CommandError::Recipient(_) => (501, 1, 3),
            CommandError::Unsupported(_) => (555, 5, 4),
        };
        Reply::new(code, Some(EnhancedStatus::new(5, subject, detail)), self.to_string())
    }
}

impl Command {
    /// Reads one line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
        let text = text_of(line)?;
        let verb = Verb::of(text.as_bytes()).ok_or(CommandError::Unknown)?;
        // Names in ETRN may come in either form: what they mean does not depend on SMTPUTF8.
        if !text.is_ascii() && !matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Etrn) {
            return Err(CommandError::EightBit);
        }
        let arguments = text[verb.name().len()..].trim_start_matches(' ');
        let syntax = CommandError::Syntax(verb);
        let bare = |command| if arguments.is_empty() { Ok(command) } else { Err(syntax.clone()) };
        let word = |make: fn(String) -> Command| match arguments {
            "" => Err(syntax.clone()),
            _ if arguments.contains(' ') => Err(syntax.clone()),
            _ => Ok(make(arguments.to_owned())),
        };
        match verb {
            Verb::Helo => word(Command::Helo),
            Verb::Ehlo => word(Command::Ehlo),
            Verb::Lhlo => word(Command::Lhlo),
            Verb::Mail => parse_mail(arguments),
            Verb::Rcpt => parse_rcpt(arguments),
            Verb::Data => bare(Command::Data),
            Verb::Bdat => parse_bdat(arguments).ok_or(syntax),
            Verb::Rset => bare(Command::Rset),
            Verb::Quit => bare(Command::Quit),
            Verb::StartTls => bare(Command::StartTls),
            Verb::Etrn => parse_etrn(arguments).ok_or(syntax),
            Verb::Help => Ok(Command::Help(arguments.to_owned())),
            Verb::Noop => Ok(Command::Noop(arguments.to_owned())),
            Verb::Vrfy | Verb::Expn | Verb::Auth if arguments.is_empty() => Err(syntax),
            Verb::Vrfy => Ok(Command::Vrfy(arguments.to_owned())),
            Verb::Expn => Ok(Command::Expn(arguments.to_owned())),
            Verb::Auth => Ok(Command::Auth(arguments.to_owned())),
        }
    }

    /// The verb of the command.
    pub fn verb(&self) -> Verb {
        match self {
            Command::Helo(_) => Verb::Helo,
            Command::Ehlo(_) => Verb::Ehlo,
            Command::Lhlo(_) => Verb::Lhlo,
            Command::Mail(_) => Verb::Mail,
            Command::Rcpt(_) => Verb::Rcpt,
            Command::Data => Verb::Data,
            Command::Bdat { .. } => Verb::Bdat,
            Command::Rset => Verb::Rset,
            Command::Vrfy(_) => Verb::Vrfy,
            Command::Expn(_) => Verb::Expn,
            Command::Help(_) => Verb::Help,
            Command::Noop(_) => Verb::Noop,
            Command::Quit => Verb::Quit,
            Command::StartTls => Verb::StartTls,
            Command::Etrn(_) => Verb::Etrn,
            Command::Auth(_) => Verb::Auth,
        }
    }
}

/// The line as text, spaces and tabulators at its end dropped.
fn text_of(line: &[u8]) -> Result<&str, CommandError> {
    let text = std::str::from_utf8(line).map_err(|_| CommandError::EightBit)?.trim_end_matches([' ', '\t']);
    if text.chars().any(char::is_control) { Err(CommandError::Control) } else { Ok(text) }
}

/// Strips `FROM:` or `TO:` in any letter case.
fn strip_label<'t>(arguments: &'t str, label: &str) -> Option<&'t str> {
    let front = arguments.get(..label.len())?;
    front.eq_ignore_ascii_case(label).then(|| &arguments[label.len()..])
}

/// The parameters of MAIL and RCPT: keyword and, behind the first `=`, value.
fn parameters(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    })
}

/// Sets a parameter that may stand once.
fn set<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), CommandError> {
    match (slot.is_some(), value) {
        (false, Some(value)) => {
            *slot = Some(value);
            Ok(())
        }
        _ => Err(CommandError::Parameter(name)),
    }
}

fn parse_mail(arguments: &str) -> Result<Command, CommandError> {
    let path = strip_label(arguments, "FROM:").ok_or(CommandError::Syntax(Verb::Mail))?;
    let (sender, rest) = parse_reverse_path(path).map_err(CommandError::Sender)?;
    let mut mail = MailFrom { sender, ..MailFrom::default() };
    for (keyword, value) in parameters(rest) {
        let given = value.unwrap_or_default();
        match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => set(&mut mail.size, "SIZE", parse_number(given))?,
            "BODY" => {
                let body = match given.to_ascii_uppercase().as_str() {
                    "7BIT" => BodyType::SevenBit,
                    "8BITMIME" => BodyType::EightBitMime,
                    _ => return Err(CommandError::Unsupported(format!("BODY={given}"))),
                };
                set(&mut mail.body, "BODY", Some(body))?;
            }
            "SMTPUTF8" if value.is_none() && !mail.smtputf8 => mail.smtputf8 = true,
            "SMTPUTF8" => return Err(CommandError::Parameter("SMTPUTF8")),
            "RET" => set(&mut mail.ret, "RET", Ret::parse(given).ok())?,
            "ENVID" => {
                let envid = decode_xtext(given).ok();
                let fits = |text: &String| !text.is_empty() && text.len() <= ENVID_BYTES_MAX;
                set(&mut mail.envid, "ENVID", envid.filter(fits))?;
            }
            _ => return Err(CommandError::Unsupported(keyword.to_owned())),
        }
    }
    Ok(Command::Mail(mail))
}

fn parse_rcpt(arguments: &str) -> Result<Command, CommandError> {
    let path = strip_label(arguments, "TO:").ok_or(CommandError::Syntax(Verb::Rcpt))?;
    let (address, rest) = parse_forward_path(path).map_err(CommandError::Recipient)?;
    let mut recipient = Recipient { address, orcpt: None, notify: None };
    for (keyword, value) in parameters(rest) {
        let given = value.unwrap_or_default();
        match keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" => set(&mut recipient.notify, "NOTIFY", Notify::parse(given).ok())?,
            "ORCPT" => set(&mut recipient.orcpt, "ORCPT", Orcpt::parse(given).ok())?,
            _ => return Err(CommandError::Unsupported(keyword.to_owned())),
        }
    }
    Ok(Command::Rcpt(recipient))
}

/// One to twenty digits (RFC 1870 3, RFC 3030 2). Twenty digits can exceed a `u64`, and whatever does
/// exceeds every limit as well.
fn parse_number(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn parse_bdat(arguments: &str) -> Option<Command> {
    let (count, last) = match arguments.split_once(' ') {
        Some((count, word)) if word.trim().eq_ignore_ascii_case("LAST") => (count, true),
        Some(_) => return None,
        None => (arguments, false),
    };
    Some(Command::Bdat { bytes: parse_number(count)?, last })
}

fn parse_etrn(arguments: &str) -> Option<Command> {
    if arguments.is_empty() || arguments.contains(' ') {
        return None;
    }
    Some(Command::Etrn(match arguments.as_bytes()[0] {
        b'@' => EtrnNode::Subdomains(arguments[1..].to_owned()),
        b'#' => EtrnNode::Queue(arguments[1..].to_owned()),
        _ => EtrnNode::Domain(arguments.to_owned()),
    }))
}

impl fmt::Display for MailFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sender {
            Some(sender) => write!(f, "MAIL FROM:<{sender}>")?,
            None => f.write_str("MAIL FROM:<>")?,
        }
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        match self.body {
            Some(BodyType::SevenBit) => f.write_str(" BODY=7BIT")?,
            Some(BodyType::EightBitMime) => f.write_str(" BODY=8BITMIME")?,
            None => {}
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        match &self.envid {
            Some(envid) => write!(f, " ENVID={}", encode_xtext(envid)),
            None => Ok(()),
        }
    }
}

/// The line without its CRLF.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb().name();
        match self {
            Command::Mail(mail) => write!(f, "{mail}"),
            Command::Rcpt(recipient) => {
                write!(f, "RCPT TO:<{}>", recipient.address)?;
                if let Some(notify) = recipient.notify {
                    write!(f, " NOTIFY={notify}")?;
                }
                match &recipient.orcpt {
                    Some(orcpt) => write!(f, " ORCPT={orcpt}"),
                    None => Ok(()),
                }
            }
            Command::Bdat { bytes, last } => write!(f, "BDAT {bytes}{}", if *last { " LAST" } else { "" }),
            Command::Etrn(EtrnNode::Domain(name)) => write!(f, "ETRN {name}"),
            Command::Etrn(EtrnNode::Subdomains(name)) => write!(f, "ETRN @{name}"),
            Command::Etrn(EtrnNode::Queue(name)) => write!(f, "ETRN #{name}"),
            Command::Data | Command::Rset | Command::Quit | Command::StartTls => f.write_str(verb),
            Command::Help(text) | Command::Noop(text) if text.is_empty() => f.write_str(verb),
            Command::Helo(text)
            | Command::Ehlo(text)
            | Command::Lhlo(text)
            | Command::Vrfy(text)
            | Command::Expn(text)
            | Command::Help(text)
            | Command::Noop(text)
            | Command::Auth(text) => write!(f, "{verb} {text}"),
        }
    }
}
