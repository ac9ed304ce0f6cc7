//! `postrider config …`.

use super::args::ConfigCommand;
use super::failure::{Failure, exit};
use super::output::Output;
use crate::config::{self, Sources};
use crate::serve;

/// Runs it.
pub(crate) fn run(command: &ConfigCommand, sources: &Sources) -> Result<u8, Failure> {
    let mut output = Output::open();
    match command {
        ConfigCommand::Check => {
            let loaded = sources.load()?;
            if let Some(table) = &loaded.settings.route.map_file {
                config::read_table(table, &loaded.settings.transports)?;
            }
            serve::check_files(&loaded.settings)?;
            let file = loaded.file.map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            output.line(&format!("the configuration is good ({file})"))?;
        }
        ConfigCommand::Show { json: false } => {
            output.bytes(config::effective(&sources.load()?.settings).as_bytes())?
        }
        ConfigCommand::Show { json: true } => {
            output.bytes(config::effective_json(&sources.load()?.settings).as_bytes())?;
        }
        ConfigCommand::Defaults => output.bytes(config::defaults().as_bytes())?,
        ConfigCommand::Page => output.bytes(config::page().as_bytes())?,
    }
    output.finish()?;
    Ok(exit::DONE)
}
