//! What a program's end means: the exit codes of sysexits.h and the first word of its output, as pipe(8)
//! reads them.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use mail::limits::REASON_BYTES_MAX;
use mail::{EnhancedStatus, Outcome, Scope};

/// Code, status and meaning (sysexits.h; statuses of RFC 3463 as Postfix gives them).
const CODES: [(i32, EnhancedStatus, &str); 15] = [
    (64, EnhancedStatus::new(5, 3, 0), "command line usage error"),
    (65, EnhancedStatus::new(5, 6, 0), "data format error"),
    (66, EnhancedStatus::new(5, 3, 0), "cannot open input"),
    (67, EnhancedStatus::new(5, 1, 1), "user unknown"),
    (68, EnhancedStatus::new(5, 1, 2), "host name unknown"),
    (69, EnhancedStatus::new(5, 3, 0), "service unavailable"),
    (70, EnhancedStatus::new(5, 3, 0), "internal software error"),
    (71, EnhancedStatus::new(5, 3, 0), "system resource problem"),
    (72, EnhancedStatus::new(5, 3, 0), "critical OS file missing"),
    (73, EnhancedStatus::new(5, 2, 0), "can't create user output file"),
    (74, EnhancedStatus::new(5, 3, 0), "input/output error"),
    (75, EnhancedStatus::new(4, 3, 0), "temporary failure"),
    (76, EnhancedStatus::new(5, 5, 0), "remote error in protocol"),
    (77, EnhancedStatus::new(5, 7, 0), "permission denied"),
    (78, EnhancedStatus::new(5, 3, 5), "local configuration error"),
];
const UNKNOWN: (EnhancedStatus, &str) = (EnhancedStatus::new(5, 3, 0), "unknown mail system error");

/// What the end of `program` decides for everybody. `service` is the transport's name.
pub(crate) fn outcome(status: ExitStatus, output: &[u8], service: &str, program: &str) -> Outcome {
    let output = printable(output);
    if status.success() {
        let said = if output.is_empty() { String::new() } else { format!(" ({output})") };
        return Outcome::sent(cut(format!("delivered via {service} service{said}")));
    }
    let Some(code) = status.code() else {
        let signal = status.signal().unwrap_or_default();
        return decided(
            EnhancedStatus::new(4, 3, 0),
            with(format!("{program} died of signal {signal}"), &output),
        );
    };
    let (word, rest) = output.split_once(' ').unwrap_or((&output, ""));
    if let Some(status) = word.parse::<EnhancedStatus>().ok().filter(|status| status.class() != 2) {
        let text =
            if rest.is_empty() { format!("{program} ended with status {code}") } else { rest.to_owned() };
        return decided(status, text);
    }
    let known = CODES.iter().find(|(known, ..)| *known == code);
    let (status, meaning) = known.map_or(UNKNOWN, |(_, status, meaning)| (*status, meaning));
    decided(status, with(format!("{meaning}: {program} ended with status {code}"), &output))
}

fn decided(status: EnhancedStatus, text: String) -> Outcome {
    let text = cut(text);
    match status.class() {
        4 => Outcome::deferred(Scope::Message, status, text),
        _ => Outcome::bounced(Scope::Recipient, status, text),
    }
}

fn with(text: String, output: &str) -> String {
    if output.is_empty() { text } else { format!("{text}. Command output: {output}") }
}

/// One line: what cannot be printed is a question mark, line breaks and runs of blanks are one blank.
fn printable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let words = text.split_whitespace();
    let clean = |word: &str| word.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    words.map(clean).collect::<Vec<_>>().join(" ")
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(wait_status: i32, output: &str) -> String {
        let outcome = outcome(ExitStatus::from_raw(wait_status), output.as_bytes(), "lists", "/bin/p");
        format!("{:?} {:?} {} {}", outcome.verdict, outcome.scope, outcome.status, outcome.text)
    }

    #[test]
    fn codes_mean_what_sysexits_says() {
        let code = |code: i32| code << 8;
        for (status, output, expected) in [
            (0, "", "Sent Recipient 2.0.0 delivered via lists service"),
            (0, "filed\nunder a\u{7}\n", "Sent Recipient 2.0.0 delivered via lists service (filed under a?)"),
            (code(75), "", "Deferred Message 4.3.0 temporary failure: /bin/p ended with status 75"),
            (code(67), "", "Bounced Recipient 5.1.1 user unknown: /bin/p ended with status 67"),
            (code(68), "", "Bounced Recipient 5.1.2 host name unknown: /bin/p ended with status 68"),
            (
                code(77),
                "no",
                "Bounced Recipient 5.7.0 permission denied: /bin/p ended with status 77. Command output: no",
            ),
            (code(1), "", "Bounced Recipient 5.3.0 unknown mail system error: /bin/p ended with status 1"),
            (code(1), "4.2.2 mailbox full\n", "Deferred Message 4.2.2 mailbox full"),
            (code(75), "5.7.1 go away", "Bounced Recipient 5.7.1 go away"),
            (code(67), "5.1.6", "Bounced Recipient 5.1.6 /bin/p ended with status 67"),
            (
                code(67),
                "2.0.0 fine",
                "Bounced Recipient 5.1.1 user unknown: /bin/p ended with status 67. Command output: 2.0.0 fine",
            ),
            (9, "", "Deferred Message 4.3.0 /bin/p died of signal 9"),
        ] {
            assert_eq!(ended(status, output), expected);
        }
    }

    #[test]
    fn long_output_is_cut() {
        assert!(ended(0, &"é".repeat(4000)).len() < REASON_BYTES_MAX + 100);
    }
}
