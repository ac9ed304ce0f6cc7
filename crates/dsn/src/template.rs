//! The texts of reports: templates in the form of bounce(5), with strict reading.
//!
//! Promises: a template that was read can be expanded, whatever the values; every error names its
//! line. The built-in texts are read by the same code.
//!
//! Differs from bounce(5): a name that does not exist is an error when the file is read; characters
//! beyond ASCII need `Charset: utf-8`; `$name` alone for a duration gives it in words.

use std::collections::BTreeSet;
use std::iter::Zip;
use std::ops::RangeFrom;

use crate::lines::LINE_BYTES_MAX;
use crate::values::{Name, Values};
use crate::{Audience, Kind};

/// The template file of the built-in texts, with comments that explain its form.
const BUILT_IN: &str = include_str!("templates.txt");

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Name(Name),
}

/// One text, read and checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Template {
    pub(crate) from_local_part: String,
    pub(crate) from_name: String,
    subject: String,
    postmaster_subject: Option<String>,
    body: Vec<Piece>,
}

impl Template {
    pub(crate) fn subject(&self, audience: Audience) -> &str {
        match (audience, &self.postmaster_subject) {
            (Audience::Postmaster, Some(subject)) => subject,
            _ => &self.subject,
        }
    }

    /// The body with its names replaced, lines ending in CRLF.
    pub(crate) fn expand(&self, values: &Values) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Name(name) => crate::lines::plain(&name.value(values), true),
        };
        self.body.iter().map(piece).collect()
    }
}

/// All texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Templates {
    failure: Template,
    delay: Template,
    success: Template,
    verify: Template,
}

/// Why a template file was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TemplateError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Default for Templates {
    /// The built-in texts.
    fn default() -> Templates {
        let blank = Template::default;
        let mut texts = Templates { failure: blank(), delay: blank(), success: blank(), verify: blank() };
        texts.replace(BUILT_IN).expect("the built-in texts are tested");
        texts
    }
}

impl Templates {
    /// Reads a template file. A text that is not in it stays the built-in one; so does a header line
    /// (`From:`, `Subject:`, `Postmaster-Subject:`) that a text does not have.
    pub fn parse(file: &str) -> Result<Templates, TemplateError> {
        let mut texts = Templates::default();
        texts.replace(file)?;
        Ok(texts)
    }

    /// The built-in texts as a file to start from.
    pub const fn built_in_file() -> &'static str {
        BUILT_IN
    }

    pub(crate) fn of(&self, kind: Kind) -> &Template {
        match kind {
            Kind::Failure => &self.failure,
            Kind::Delay => &self.delay,
            Kind::Success | Kind::DelayCleared => &self.success,
            Kind::Verify => &self.verify,
        }
    }

    /// The text with this name in a template file.
    fn named(&mut self, name: &str) -> Option<&mut Template> {
        match name {
            "failure_template" => Some(&mut self.failure),
            "delay_template" => Some(&mut self.delay),
            "success_template" => Some(&mut self.success),
            "verify_template" => Some(&mut self.verify),
            _ => None,
        }
    }

    /// Puts what the file has in the place of what is here.
    fn replace(&mut self, file: &str) -> Result<(), TemplateError> {
        let mut lines: Lines<'_> = (1..).zip(file.lines());
        let mut seen = BTreeSet::new();
        while let Some((at, line)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, end) = line
                .split_once('=')
                .and_then(|(name, rest)| Some((name.trim(), rest.trim().strip_prefix("<<")?.trim())))
                .ok_or_else(|| error(at, "a line such as failure_template = <<END is expected"))?;
            let known = "failure_template, delay_template, success_template or verify_template is expected";
            let text =
                self.named(name).ok_or_else(|| error(at, format!("unknown text {name:?}: {known}")))?;
            if end.is_empty() {
                return Err(error(at, "a word that ends the text is expected behind <<"));
            }
            if !seen.insert(name) {
                return Err(error(at, format!("{name} is given twice")));
            }
            read_template(at, end, &mut lines, text)?;
        }
        Ok(())
    }
}

/// Numbered from 1.
type Lines<'t> = Zip<RangeFrom<usize>, std::str::Lines<'t>>;

fn error(line: usize, problem: impl Into<String>) -> TemplateError {
    TemplateError { line, problem: problem.into() }
}

/// Reads a text up to the line `end` into `template`, whose header lines stay where it has none.
fn read_template(
    begin: usize,
    end: &str,
    lines: &mut Lines<'_>,
    template: &mut Template,
) -> Result<(), TemplateError> {
    let unfinished = || error(begin, format!("the text that begins here is not ended by a line {end:?}"));
    let mut utf8 = false;
    loop {
        let (at, line) = lines.next().ok_or_else(unfinished)?;
        if line == end {
            return Err(error(at, "an empty line and a body are expected before the end of the text"));
        }
        if line.trim().is_empty() {
            break;
        }
        read_header(at, line, &mut utf8, template)?;
    }
    template.body.clear();
    loop {
        let (at, line) = lines.next().ok_or_else(unfinished)?;
        if line == end {
            return Ok(());
        }
        check_text(at, line, utf8)?;
        read_body_line(at, line, &mut template.body)?;
    }
}

fn read_header(at: usize, line: &str, utf8: &mut bool, template: &mut Template) -> Result<(), TemplateError> {
    let known = "Charset:, From:, Subject: or Postmaster-Subject: is expected";
    let (name, value) = line.split_once(':').ok_or_else(|| error(at, known))?;
    let value = value.trim();
    if value.is_empty() {
        return Err(error(at, format!("{name}: has no value")));
    }
    check_text(at, value, *utf8)?;
    match name.to_ascii_lowercase().as_str() {
        "charset" if value.eq_ignore_ascii_case("us-ascii") => *utf8 = false,
        "charset" if value.eq_ignore_ascii_case("utf-8") => *utf8 = true,
        "charset" => {
            return Err(error(at, format!("unknown charset {value:?}: us-ascii or utf-8 is expected")));
        }
        "from" => (template.from_local_part, template.from_name) = read_from(at, value)?,
        "subject" => template.subject = value.to_owned(),
        "postmaster-subject" => template.postmaster_subject = Some(value.to_owned()),
        _ => return Err(error(at, known)),
    }
    Ok(())
}

/// `local-part (name)` or `name <local-part>`; the domain is always `$myhostname`.
fn read_from(at: usize, value: &str) -> Result<(String, String), TemplateError> {
    let parts = if let Some(rest) = value.strip_suffix(')') {
        rest.split_once('(')
    } else {
        value.strip_suffix('>').and_then(|rest| rest.split_once('<')).map(|(name, local)| (local, name))
    };
    let (local, name) = parts.unwrap_or((value, ""));
    let (local, name) = (local.trim(), name.trim());
    let atom = |c: char| c.is_ascii_alphanumeric() || "-_.+=".contains(c);
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    if local.is_empty() || dots || !local.chars().all(atom) {
        return Err(error(at, "From: takes the form MAILER-DAEMON (Mail Delivery System), without a domain"));
    }
    Ok((local.to_owned(), name.to_owned()))
}

fn check_text(at: usize, line: &str, utf8: bool) -> Result<(), TemplateError> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(error(at, "control character"));
    }
    if !utf8 && !line.is_ascii() {
        return Err(error(at, "a character beyond ASCII needs Charset: utf-8 in front"));
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(error(at, format!("a line of more than {LINE_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn read_body_line(at: usize, line: &str, body: &mut Vec<Piece>) -> Result<(), TemplateError> {
    let mut rest = line;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{').or_else(|| after.strip_prefix('(')) {
            Some(inner) => {
                let close =
                    inner.find(['}', ')']).ok_or_else(|| error(at, "a name in braces is not closed"))?;
                (&inner[..close], &inner[close + 1..])
            }
            None => after.split_at(
                after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()),
            ),
        };
        let known = Name::parse(name)
            .ok_or_else(|| error(at, format!("unknown name ${name}; write $$ for a dollar sign")))?;
        body.push(Piece::Text(std::mem::take(&mut text)));
        body.push(Piece::Name(known));
        rest = after;
    }
    text.push_str(rest);
    text.push_str("\r\n");
    body.push(Piece::Text(text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn values() -> Values {
        Values {
            myhostname: "mail.src.test".into(),
            mydomain: "src.test".into(),
            mail_name: "Postrider".into(),
            delay: Duration::from_secs(4 * 3600 + 5),
            delay_warning_time: Duration::from_secs(4 * 3600),
            maximal_queue_lifetime: Duration::from_secs(5 * 86_400),
            bounce_queue_lifetime: Duration::from_secs(86_400),
        }
    }

    fn with_body(body: &str) -> String {
        format!("# mine\n\nfailure_template = <<EOF\nFrom: Post <post>\nSubject: S\n\n{body}\nEOF\n")
    }

    #[test]
    fn names_are_expanded() {
        let body = "$myhostname ${mydomain}x $(mail_name) $$5 $delay $delay_warning_time_hours h \
                    $maximal_queue_lifetime_days d $maximal_queue_lifetime $bounce_queue_lifetime_weeks";
        let templates = Templates::parse(&with_body(body)).unwrap();
        assert_eq!(
            templates.failure.expand(&values()),
            "mail.src.test src.testx Postrider $5 4 hours 4 h 5 d 5 days 0\r\n"
        );
        assert_eq!((&*templates.failure.from_name, &*templates.failure.from_local_part), ("Post", "post"));
        assert_eq!(templates.failure.subject(Audience::Sender), "S");
        let built_in = Templates::default();
        let postmaster = built_in.failure.subject(Audience::Postmaster);
        assert_eq!(templates.failure.subject(Audience::Postmaster), postmaster, "as it is not given");
        assert_eq!(templates.delay, Templates::default().delay, "others stay built in");
    }

    #[test]
    fn errors_name_their_line() {
        let twice = with_body("x") + &with_body("y");
        for (text, line, problem) in [
            ("hello", 1, "is expected"),
            ("\n#\nother_template = <<EOF\n", 3, "unknown text"),
            ("failure_template = <<\n", 1, "a word"),
            ("failure_template = <<EOF\nSubject: x\n", 1, "not ended"),
            ("failure_template = <<EOF\nFrom: x\n\nbody\n EOF\n", 1, "not ended"),
            ("failure_template = <<EOF\nFrom: x\nEOF\n", 3, "an empty line"),
            ("failure_template = <<EOF\nFrom: x@y.test\n", 2, "without a domain"),
            ("failure_template = <<EOF\nBcc: x\n", 2, "is expected"),
            ("failure_template = <<EOF\nCharset: latin-1\n", 2, "unknown charset"),
            ("failure_template = <<EOF\nSubject:\n", 2, "no value"),
            ("failure_template = <<EOF\nSubject: grün\n", 2, "Charset"),
            (&with_body("a\nb $nothing"), 8, "unknown name $nothing"),
            (&with_body("${delay"), 7, "not closed"),
            (&with_body("5$"), 7, "unknown name"),
            (&with_body("a\u{7}"), 7, "control"),
            (&with_body(&"x".repeat(999)), 7, "998"),
            (&twice, 11, "twice"),
        ] {
            let error = Templates::parse(text).unwrap_err();
            assert!(error.line == line && error.problem.contains(problem), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_built_in_file_is_a_template_file() {
        assert_eq!(Templates::parse(Templates::built_in_file()), Ok(Templates::default()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in "(\\PC|[$\n{}]){0,60}") {
            let _ = Templates::parse(&body);
            if let Ok(templates) = Templates::parse(&with_body(&body)) {
                prop_assert!(templates.failure.expand(&values()).ends_with("\r\n"));
            }
        }
    }
}
