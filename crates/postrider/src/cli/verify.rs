//! `postrider queue verify`: asks the engine, or reads the spool itself when none runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use control::{Client, ClientError, DamageItem, Deadlines, Item, ProgressItem, Request, VerifyItem};

use super::failure::{Failure, exit};
use super::output::Output;
use super::session;
use crate::config::{Settings, Sources};
use crate::format;

/// Verifies and tells.
pub(crate) fn run(repair: bool, json: bool, sources: &Sources) -> Result<u8, Failure> {
    let settings = session::settings(sources)?;
    let mut teller = Teller { output: Output::open(), json, unrepaired: 0 };
    match Client::connect(&settings.control.socket, Deadlines::default()) {
        Ok(mut engine) => {
            for item in engine.ask(&Request::Verify { repair })? {
                match item? {
                    Item::Progress(progress) => teller.progress(&progress),
                    Item::Damage(damage) => teller.damage(&damage)?,
                    Item::Verify(sums) => teller.sums(&sums)?,
                    _ => {}
                }
            }
        }
        Err(ClientError::NotRunning { .. }) if repair => {
            let text = "repairing needs the engine: start it with `postrider serve`, then try again";
            return Err(Failure::Told { code: exit::UNAVAILABLE, text: text.to_owned() });
        }
        Err(ClientError::NotRunning { .. }) => offline(&settings, &mut teller)?,
        Err(error) => return Err(error.into()),
    }
    teller.output.finish()?;
    Ok(if teller.unrepaired > 0 { exit::DATA } else { exit::DONE })
}

fn offline(settings: &Settings, teller: &mut Teller) -> Result<(), Failure> {
    let directory = &settings.spool.directory;
    if !directory.is_dir() {
        let text = format!("there is no spool in {}: check spool.directory", directory.display());
        return Err(Failure::Told { code: exit::IO, text });
    }
    let disk = Arc::new(spool::disk::RealDisk::new(directory));
    let report = spool::verify_offline(disk, &mut |step| {
        teller.progress(&ProgressItem { done: step.done, total: Some(step.total) });
    });
    let report = report.map_err(|error| Failure::Told { code: exit::IO, text: error.to_string() })?;
    let damaged = report.damaged.iter().map(|damage| (damage.id, &damage.reason));
    let unreadable = report.unreadable.iter().map(|(id, reason)| (*id, reason));
    let mut count = 0;
    for (id, reason) in damaged.chain(unreadable) {
        count += 1;
        teller.damage(&DamageItem {
            queue_id: Some(id.to_string()),
            place: format!("message {id}"),
            reason: reason.clone(),
            repaired: false,
        })?;
    }
    let sums = VerifyItem {
        records: report.messages,
        bytes: report.bytes,
        messages: report.messages,
        damaged: count,
        ..VerifyItem::default()
    };
    teller.sums(&sums)
}

struct Teller {
    output: Output,
    json: bool,
    unrepaired: u64,
}

impl Teller {
    /// Progress is for people, and not a result.
    fn progress(&self, progress: &ProgressItem) {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            let total = progress.total.unwrap_or(progress.done).max(1);
            let percent = progress.done.saturating_mul(100) / total;
            // A terminal that cannot be written to is no reason to stop verifying.
            let _ = write!(stderr, "\rverifying: {percent:3} %").and_then(|()| stderr.flush());
            if progress.done >= total {
                let _ = write!(stderr, "\r                 \r");
            }
        }
    }

    fn damage(&mut self, damage: &DamageItem) -> Result<(), Failure> {
        self.unrepaired += u64::from(!damage.repaired);
        let text = match self.json {
            true => format::json_of_kind("damage", damage),
            false => format::damage(damage),
        };
        Ok(self.output.line(&text)?)
    }

    fn sums(&mut self, sums: &VerifyItem) -> Result<(), Failure> {
        let text = match self.json {
            true => format::json_of_kind("verify", sums),
            false => format::verify(sums),
        };
        Ok(self.output.line(&text)?)
    }
}
