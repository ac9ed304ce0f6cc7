//! What a sink is told: where it listens, and what it does at which stage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use mail::{EnhancedStatus, Reply};

/// Receive mail and throw it away; refuse, delay or drop some of it as told.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    postrider sink                                    take everything on 127.0.0.1:2526\n  \
    postrider sink --refuse 450@rcpt --refuse '550 5.1.1 no such user@rcpt:10%'\n  \
    postrider sink --lmtp --delay 200ms --count 1000  slow LMTP, ends after 1000 messages\n  \
    postrider sink --drop message:5%                  closes instead of the final answer, now and then\n\n\
    STAGE is one of connect, helo, mail, rcpt, data, message.")]
pub(crate) struct SinkArgs {
    /// Address and port to listen on [default: 127.0.0.1:2526, with --lmtp 127.0.0.1:2424]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// Speak LMTP, with one answer for each recipient
    #[arg(long)]
    pub(super) lmtp: bool,
    /// Stop after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Wait so long before an answer: DURATION, or DURATION@STAGE
    #[arg(long, value_name = "DELAY", default_value = "0s")]
    pub(super) delay: Delay,
    /// Refuse: 'CODE [STATUS] [TEXT]@STAGE[:PERCENT%]', or PERCENT% alone; may be repeated
    #[arg(long, value_name = "REFUSAL")]
    pub(super) refuse: Vec<Refusal>,
    /// Close the connection instead of answering: STAGE[:PERCENT%]; may be repeated
    #[arg(long, value_name = "STAGE")]
    pub(super) drop: Vec<Drop>,
    /// Keep each message as a file in this directory: N.eml, and N.json with its envelope
    #[arg(long, value_name = "DIR")]
    pub(super) dump: Option<PathBuf>,
    /// Seed of the chances
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Print nothing but the summary
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Print one JSON object for each message and for the summary
    #[arg(long)]
    pub(super) json: bool,
}

/// Where in a conversation something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Message,
}

impl FromStr for Stage {
    type Err = String;
    fn from_str(text: &str) -> Result<Stage, String> {
        match text.to_ascii_lowercase().as_str() {
            "connect" => Ok(Stage::Connect),
            "helo" | "ehlo" | "lhlo" => Ok(Stage::Helo),
            "mail" => Ok(Stage::Mail),
            "rcpt" => Ok(Stage::Rcpt),
            "data" => Ok(Stage::Data),
            "message" | "dot" => Ok(Stage::Message),
            _ => Err(format!("{text:?} is no stage: use connect, helo, mail, rcpt, data or message")),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Delay {
    pub(super) length: Duration,
    pub(super) stage: Stage,
}

impl FromStr for Delay {
    type Err = String;
    fn from_str(text: &str) -> Result<Delay, String> {
        let (length, stage) = text.rsplit_once('@').unwrap_or((text, "message"));
        let length =
            mail::parse_duration(length, Duration::from_secs(1)).map_err(|error| error.to_string())?;
        Ok(Delay { length, stage: stage.parse()? })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Drop {
    pub(super) stage: Stage,
    pub(super) percent: u64,
}

impl FromStr for Drop {
    type Err = String;
    fn from_str(text: &str) -> Result<Drop, String> {
        let (stage, percent) = split_percent(text)?;
        Ok(Drop { stage: stage.parse()?, percent })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) reply: Reply,
    pub(super) stage: Stage,
    pub(super) percent: u64,
}

impl FromStr for Refusal {
    type Err = String;
    fn from_str(text: &str) -> Result<Refusal, String> {
        let whole =
            if text.ends_with('%') && !text.contains(':') { format!(":{text}") } else { text.to_owned() };
        let (front, percent) = split_percent(&whole)?;
        let (reply, stage) = front.rsplit_once('@').unwrap_or((front, "rcpt"));
        Ok(Refusal { reply: parse_reply(reply)?, stage: stage.parse()?, percent })
    }
}

/// Splits `:10%` off the end; without it, 100.
fn split_percent(text: &str) -> Result<(&str, u64), String> {
    let Some((front, percent)) = text.strip_suffix('%').and_then(|text| text.rsplit_once(':')) else {
        return Ok((text, 100));
    };
    match percent.parse() {
        Ok(percent) if percent <= 100 => Ok((front, percent)),
        _ => Err(format!("{percent:?} is no percentage from 0 to 100")),
    }
}

/// `CODE [STATUS] [TEXT]`, with defaults for all of it.
fn parse_reply(text: &str) -> Result<Reply, String> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = match code {
        "" => 450,
        _ => code.parse().map_err(|_| format!("{code:?} is no reply code"))?,
    };
    if !(400..=599).contains(&code) {
        return Err(format!("{code} refuses nothing: use a code from 400 to 599"));
    }
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let (status, text) = match word.parse::<EnhancedStatus>() {
        Ok(status) => (status, text),
        Err(()) => (EnhancedStatus::new((code / 100) as u8, 0, 0), rest),
    };
    if u16::from(status.class()) != code / 100 {
        return Err(format!("{status} contradicts {code}"));
    }
    Ok(Reply::new(code, Some(status), if text.is_empty() { "Refused by the sink" } else { text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_as_they_are_written() {
        for (text, reply, stage, percent) in [
            ("450@rcpt", "450 4.0.0 Refused by the sink", Stage::Rcpt, 100),
            ("550 5.1.1 no@rcpt:10%", "550 5.1.1 no", Stage::Rcpt, 10),
            ("554 not here: never@message", "554 5.0.0 not here: never", Stage::Message, 100),
            ("25%", "450 4.0.0 Refused by the sink", Stage::Rcpt, 25),
            ("421@connect", "421 4.0.0 Refused by the sink", Stage::Connect, 100),
        ] {
            let refusal: Refusal = text.parse().unwrap();
            assert_eq!(
                (refusal.reply.one_line().as_str(), refusal.stage, refusal.percent),
                (reply, stage, percent)
            );
        }
        for text in ["250@rcpt", "450@nowhere", "450@rcpt:101%", "abc@rcpt", "450 5.1.1 no@rcpt"] {
            assert!(text.parse::<Refusal>().is_err(), "{text}");
        }
        assert!("message:5%".parse::<Drop>().is_ok() && "5%".parse::<Drop>().is_err());
        assert!("200ms@rcpt".parse::<Delay>().is_ok() && "x".parse::<Delay>().is_err());
    }
}
